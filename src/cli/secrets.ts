/** `--object secret,id=…`: passphrases for encrypted images, given in the open, in base64, in a file, or wrapped by another secret. */
import { readFileSync } from "node:fs";
import { BlockError, prefixError } from "../base/error.js";
import { PLATFORM_OBJECTS } from "../nbd/node-objects.js";
import { isJsonObject, parseJson, type JsonObject } from "../qapi/json.js";
import { checkId, optsToObject, parseOpts, scalarText } from "../qapi/options.js";

const KNOWN = ["qom-type", "id", "data", "file", "format", "keyid", "iv"];

/** The options of an object, `key=value` or JSON. */
export function objectOptions(text: string): JsonObject {
  if (!text.startsWith("{")) return optsToObject(parseOpts(text, "qom-type"));
  const value = parseJson(text);
  if (!isJsonObject(value)) throw new BlockError("ERR_INVALID_ARGUMENT", "Invalid JSON object given");
  return value;
}

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

/** The secrets among the objects, by id. Throws for other kinds of objects and for wrong options. */
export function readSecrets(objects: readonly string[]): Map<string, Uint8Array> {
  const secrets = new Map<string, Uint8Array>();
  for (const text of objects) {
    const options = objectOptions(text);
    const get = (name: string): string | undefined => {
      const value = options[name];
      return value === undefined ? undefined : scalarText(value);
    };
    const type = get("qom-type");
    if (type === undefined) throw fail("Parameter 'qom-type' is missing");
    // `readThrottleGroups` and `readPlatformObjects` read theirs; threads have no meaning here.
    if (type === "iothread" || type === "throttle-group" || PLATFORM_OBJECTS.includes(type)) continue;
    if (type !== "secret") throw fail(`Parameter 'qom-type' does not accept value '${type}'`);
    for (const name of Object.keys(options)) if (!KNOWN.includes(name)) throw fail(`Parameter '${name}' is unexpected`);
    const id = get("id");
    if (id === undefined) throw fail("Parameter 'id' is missing");
    checkId(id);
    if (secrets.has(id)) throw fail(`attempt to add duplicate property '${id}' to object (type 'container')`);
    secrets.set(id, readSecret(get, secrets));
  }
  return secrets;
}

function readSecret(get: (name: string) => string | undefined, others: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const data = get("data");
  const file = get("file");
  if (data !== undefined && file !== undefined) throw fail("'file' and 'data' are mutually exclusive");
  if (data === undefined && file === undefined) throw fail("Either 'file' or 'data' must be provided");
  let bytes: Uint8Array;
  if (file !== undefined) {
    try {
      bytes = readFileSync(file);
    } catch (error) {
      throw prefixError(`Unable to read ${file}: Failed to open file “${file}”: `, error);
    }
  } else {
    bytes = Buffer.from(data!, "utf8");
  }
  const format = get("format") ?? "raw";
  if (format !== "raw" && format !== "base64") throw fail(`Parameter 'format' does not accept value '${format}'`);
  const keyId = get("keyid");
  if (keyId !== undefined) return unwrap(format === "base64" ? fromBase64(bytes) : bytes, keyId, get("iv"), others);
  return format === "base64" ? fromBase64(bytes) : bytes;
}

function fromBase64(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes).toString("latin1").replace(/\s+/g, "");
  // As QEMU: only strange characters are an error, an end that is cut off is not.
  if (!/^[A-Za-z0-9+/=]*$/.test(text)) throw fail("Base64 data is not valid");
  return Buffer.from(text, "base64");
}

/** AES-256-CBC with PKCS#7 padding, as QEMU's documentation of secrets has it. */
function unwrap(bytes: Uint8Array, keyId: string, iv: string | undefined, others: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const key = others.get(keyId);
  if (key === undefined) throw fail(`No secret with id '${keyId}'`);
  if (key.length !== 32) throw fail(`Key should be 32 bytes in length`);
  if (iv === undefined) throw fail("IV is required to decrypt secret");
  const start = fromBase64(Buffer.from(iv));
  if (start.length !== 16) throw fail(`IV should be 16 bytes in length not ${start.length}`);
  try {
    const decipher = process.getBuiltinModule("node:crypto").createDecipheriv("aes-256-cbc", key, start);
    return Buffer.concat([decipher.update(bytes), decipher.final()]);
  } catch (error) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Could not decrypt secret data", { cause: error });
  }
}
