/** The block layer as one call of the package sees it: formats, codecs, secrets, and the gate that `references` stands for. */
import { BlockError } from "../base/error.js";
import type { Environment, Gate, GateDecision, Reference } from "../block/context.js";
import type { Node } from "../block/node.js";
import { done, foreign, type Op } from "../block/op.js";
import { storageNode } from "../block/storage-node.js";
import { offerJsonNames } from "../block/json-names.js";
import { jsonNames } from "../block/json-names-qapi.js";
import { offerKernelModule } from "../kernel/kernel.js";
import { kernelModule } from "../kernel/module.inline.js";
import { closeStorage } from "../platform/sources.js";
import type { Storage } from "../storage/storage.js";
import type { CommonOptions, Platform, References, SecretSource } from "./options.js";

const DEFAULT_BUDGET = 16 * 1024 * 1024;

/** @throws BlockError ERR_INVALID_ARGUMENT */
export function checkReferences(value: unknown): void {
  if (typeof value !== "function" && value !== "deny" && value !== "allow")
    throw new BlockError("ERR_INVALID_ARGUMENT", 'references must be "deny", "allow" or a function');
}

/** The error for an option that came in QEMU's spelling and in camelCase. */
export function givenTwice(name: string): BlockError {
  return new BlockError("ERR_INVALID_ARGUMENT", `Parameter '${name}' is given twice`);
}

/**
 * @param what QEMU's noun for it in this call
 * @throws BlockError ERR_INVALID_ARGUMENT, ERR_UNSUPPORTED
 */
export function checkFormat(environment: Environment, what: "driver" | "file format", format: unknown): void {
  if (typeof format === "string" && environment.drivers.has(format)) return;
  const known = [...environment.drivers.values()].filter(({ category }) => category === "format").map(({ name }) => name);
  throw new BlockError(
    format === undefined ? "ERR_INVALID_ARGUMENT" : "ERR_UNSUPPORTED",
    format === undefined ? "Parameter 'format' is missing" : `Unknown ${what} '${String(format)}'`,
    { errno: "EINVAL", hint: `Known are: ${known.join(", ")}.` },
  );
}

/** @throws BlockError ERR_INVALID_ARGUMENT */
export function environmentOf<Source>(platform: Platform<Source>, options: CommonOptions<Source>): Environment {
  offerKernelModule(kernelModule);
  offerJsonNames(jsonNames);
  const formats = options.formats ?? platform.formats;
  const { references = "deny" } = options;
  checkReferences(references);
  if (formats.length === 0) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "No formats were given", {
      hint: "This entry knows no format by itself: pass { formats: [qcow2, raw] }.",
    });
  }
  const environment: Environment = {
    drivers: new Map([...formats, ...platform.protocols].map((driver) => [driver.name, driver])),
    codecs: options.codecs ?? platform.codecs,
    crypto: platform.crypto,
    gate: (reference) => decide(platform, environment, references, reference),
    secrets: (id) => secretOf(options.secrets ?? {}, id),
    now: () => Date.now(),
    memoryBudget: options.memoryBudget ?? platform.memoryBudget ?? DEFAULT_BUDGET,
    warn: options.onWarning ?? (() => {}),
  };
  return environment;
}

function* decide<Source>(
  platform: Platform<Source>,
  environment: Environment,
  references: References<Source>,
  reference: Reference,
): ReturnType<Gate> {
  if (references === "deny") return false;
  const answer =
    typeof references === "function"
      ? yield* maybe("Asking whether a reference may be opened", () => references(reference))
      : references === "allow";
  if (answer === true && platform.byName === undefined) return true;
  if (answer === null || answer === undefined || answer === false) return false;
  const source = answer === true ? byName(platform, reference) : platform.toStorage(answer as Source, false);
  // A backing file is an image, the others are plain bytes.
  const isImage = reference.kind === "backing" || reference.kind === "parent";
  if (typeof source === "string") {
    const file = { driver: "file", filename: source };
    return (isImage ? { file } : file) as GateDecision;
  }
  const node = yield* storageNode(environment, yield* arriving("Opening a reference", source), { write: false });
  if (answer !== true && !isPromise(source)) leaveOpen(node);
  return isImage ? { file: node } : node;
}

function byName<Source>(platform: Platform<Source>, { filename, resolved }: Reference): Storage | Promise<Storage> {
  const found = platform.byName!(resolved);
  if (found !== null) return found;
  throw new BlockError("ERR_UNSUPPORTED", `There are no files here that could be opened by the name '${filename}'`, {
    hint: "Let `references` answer with what to open.",
  });
}

/** A storage, handle or object that the caller brought is the caller's to close. */
export function leaveOpen(node: Node): void {
  const impl = node.impl;
  if (impl.shape === "storage") impl.close = () => done(undefined);
}

/** A value that may be a promise; a promise cannot be waited for where calls are synchronous. */
export function* maybe<T>(what: string, make: () => T | Promise<T>): Op<T> {
  const value = make();
  if (!isPromise(value)) return value;
  return yield* foreign(what, null, () => value);
}

/** A storage that may have to be waited for. */
export function* arriving(what: string, found: Storage | Promise<Storage>): Op<Storage> {
  try {
    return yield* maybe(what, () => found);
  } catch (error) {
    // A synchronous call cannot wait for it: then nobody will close it.
    if (isPromise(found)) found.then(closeStorage).catch(() => {});
    throw error;
  }
}
export function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof (value as { then?: unknown } | null)?.then === "function";
}

export function* secretOf(secrets: SecretSource, id: string): Op<Uint8Array | null> {
  const secret = Object.hasOwn(secrets, id) ? secrets[id] : undefined;
  if (secret === undefined) return yield* done(null);
  const value = typeof secret === "function" ? yield* maybe("Asking for a passphrase", secret) : secret;
  return typeof value === "string" ? new TextEncoder().encode(value) : value;
}
