/** Objects of `object-add`: secrets, throttle groups, and I/O threads (accepted; there is one thread). */
import { BlockError, prefixError } from "../base/error.js";
import { encodeText } from "../base/bytes.js";
import { takeLimits } from "../block/throttle.js";
import { checkId } from "../qapi/options.js";
import type { JsonObject } from "../qapi/json.js";
import type { ThrottleGroupList } from "./throttle-groups.js";

export interface QomObject {
  readonly id: string;
  readonly type: string;
  readonly properties: JsonObject;
  /** Content of a secret. */
  readonly secret: Uint8Array | null;
  /** What the platform made of it (TLS credentials, authorization). */
  readonly made: unknown;
}

/** Makes objects that only a platform can: of `type`, with the properties that QMP has checked. */
export type MakeObject = (type: string, properties: JsonObject, findSecret: (id: string) => Uint8Array | null) => unknown;

/** Types that `MakeObject` is asked for. */
const PLATFORM_TYPES = /^(?:tls-creds|authz)-/;

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

export class ObjectList {
  readonly #objects = new Map<string, QomObject>();
  readonly #readFile: ((path: string) => Uint8Array) | null;
  readonly #groups: ThrottleGroupList;
  readonly #make: MakeObject | null;

  constructor(readFile: ((path: string) => Uint8Array) | null, groups: ThrottleGroupList, make: MakeObject | null = null) {
    this.#readFile = readFile;
    this.#groups = groups;
    this.#make = make;
  }

  find(id: string): QomObject | null {
    return this.#objects.get(id) ?? null;
  }
  all(): QomObject[] {
    return [...this.#objects.values()];
  }
  secret(id: string): Uint8Array | null {
    return this.#objects.get(id)?.secret ?? null;
  }

  /** `properties` have passed the ObjectOptions schema. */
  add(properties: JsonObject): void {
    const type = properties["qom-type"] as string;
    const id = properties["id"] as string;
    checkId(id);
    if (this.#objects.has(id)) throw fail(`attempt to add duplicate property '${id}' to object (type 'container')`);
    const secret = type === "secret" ? this.#readSecret(properties) : null;
    const made = PLATFORM_TYPES.test(type) ? this.#makeObject(type, properties) : null;
    if (type === "throttle-group") this.#groups.addObject(id, takeLimits({ ...withoutNames(properties) }));
    this.#objects.set(id, { id, type, properties, secret, made });
  }

  remove(id: string): void {
    const found = this.#objects.get(id);
    if (found === undefined) throw new BlockError("ERR_NOT_FOUND", `object '${id}' not found`);
    if (found.type === "throttle-group") this.#groups.removeObject(id);
    this.#objects.delete(id);
  }

  #makeObject(type: string, properties: JsonObject): unknown {
    if (this.#make === null) throw new BlockError("ERR_UNSUPPORTED", `Objects of type '${type}' cannot be made here`);
    return this.#make(type, withoutNames(properties), (id) => this.secret(id));
  }

  #readSecret(properties: JsonObject): Uint8Array {
    const data = properties["data"] as string | undefined;
    const file = properties["file"] as string | undefined;
    if (data !== undefined && file !== undefined) throw fail("'file' and 'data' are mutually exclusive");
    if (data === undefined && file === undefined) throw fail("Either 'file' or 'data' must be provided");
    if (properties["keyid"] !== undefined)
      throw new BlockError("ERR_UNSUPPORTED", "Secrets wrapped by another secret are only taken from the command line");
    let bytes: Uint8Array;
    if (data !== undefined) bytes = encodeText(data);
    else {
      if (this.#readFile === null) throw new BlockError("ERR_UNSUPPORTED", "Secrets in files cannot be read here: give 'data'");
      try {
        bytes = this.#readFile(file!);
      } catch (error) {
        throw prefixError(`Unable to read ${file}: `, error);
      }
    }
    return properties["format"] === "base64" ? fromBase64(bytes) : bytes;
  }
}

function withoutNames({ "qom-type": _type, id: _id, ...rest }: JsonObject): JsonObject {
  return rest;
}

function fromBase64(bytes: Uint8Array): Uint8Array {
  const text = String.fromCharCode(...bytes).replace(/\s+/g, "");
  // As QEMU: only strange characters are an error, an end that is cut off is not.
  if (!/^[A-Za-z0-9+/=]*$/.test(text)) throw fail("Base64 data is not valid");
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
