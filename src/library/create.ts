/** `create` and `createOverlay`. */
import { BlockError } from "../base/error.js";
import type { CreateOption, Environment } from "../block/context.js";
import { createImage as createInto } from "../block/create.js";
import { runAsync, type Op } from "../block/op.js";
import { storageNode } from "../block/storage-node.js";
import { checkSize } from "../image/arguments.js";
import { qemuSpelling } from "../image/camel.js";
import { createImage as createNamed } from "../image/create.js";
import { createOptionTable, formatForCreate, protocolForCreate, readCreateOptions } from "../image/create-options.js";
import { Image } from "../image/image.js";
import { closeQuietly } from "../image/open.js";
import type { Opt } from "../qapi/options.js";
import { arriving, checkFormat, environmentOf, givenTwice, isPromise } from "./environment.js";
import type { Library } from "./functions.js";
import { openOp } from "./open.js";
import { CREATE, pickCommon, type CommonOptions, type CreateOptions, type Platform } from "./options.js";

/** Creation options as the format spells them, values as text. @throws BlockError ERR_INVALID_ARGUMENT for one in two spellings */
export function optsOf(environment: Environment, format: string, options: Readonly<Record<string, unknown>> | undefined): Opt[] {
  const names = (environment.drivers.get(format)?.createOptions ?? []).map(({ name }) => name);
  const opts: Opt[] = [];
  const add = (key: string, value: unknown): void => {
    const name = key === "compression" ? "compression_type" : qemuSpelling(key, names, "_");
    if (value === undefined || value === null) return;
    if (opts.some((opt) => opt.name === name)) throw givenTwice(name);
    opts.push({ name, value: value === true ? "on" : value === false ? "off" : String(value) });
  };
  for (const [key, value] of Object.entries(options ?? {})) {
    if (typeof value !== "object" || value === null) add(key, value);
    else for (const [inner, item] of Object.entries(value)) add(`${key}.${inner}`, item);
  }
  return opts;
}

function checkCreateOptions(format: string, table: readonly CreateOption[], opts: readonly Opt[]): void {
  for (const { name } of opts) {
    if (!table.some((option) => option.name === name))
      throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid parameter '${name}'`, {
        hint: `An image of the format ${format} takes: ${table.map((option) => option.name).join(", ")}.`,
      });
  }
}

/** Makes an image. @returns the options of its format */
export function* createOp<Source>(platform: Platform<Source>, target: Source, options: CreateOptions<Source>): Op<Opt[]> {
  const environment = environmentOf(platform, options);
  checkFormat(environment, "file format", options.format);
  if (options.size !== undefined) checkSize(options.size);
  const own = Object.entries(options).filter(([key]) => !CREATE.has(key));
  const opts = optsOf(environment, options.format, Object.fromEntries(own));
  if (target instanceof Uint8Array || target instanceof ArrayBuffer)
    throw new BlockError("ERR_READ_ONLY", "A new image does not fit into given bytes", {
      hint: "Pass `const storage = memoryStorage(0)`, and take the image's bytes with `storage.toBytes()`.",
    });
  const found = platform.toStorage(target, true);
  const driver = formatForCreate(environment, options.format);
  const table = createOptionTable(driver, typeof found === "string" ? protocolForCreate(environment, found) : null);
  checkCreateOptions(options.format, table, opts);
  if (typeof found === "string") {
    yield* createNamed(environment, {
      filename: found,
      format: options.format,
      size: options.size,
      backingFile: options.backing,
      backingFormat: options.backingFormat,
      options: opts,
    });
    return opts;
  }
  const values = readCreateOptions(table, opts);
  if (options.backing !== undefined) values["backing_file"] = options.backing;
  if (options.backingFormat !== undefined) values["backing_fmt"] = options.backingFormat;
  if (options.size === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "Image creation needs a size parameter");
  const storage = yield* arriving("Opening the target", found);
  if (storage.readOnly) throw new BlockError("ERR_READ_ONLY", `'${storage.name}' cannot be written`, { errno: "EPERM" });
  const file = yield* storageNode(environment, storage);
  try {
    yield* createInto(environment, { driver, filename: storage.name, size: options.size, options: values, file });
  } finally {
    // What the caller brought is to be opened as an image now: the node goes, the storage stays open. What took opening was opened here.
    if (isPromise(found)) yield* closeQuietly(file);
    else file.references = 0;
  }
  return opts;
}

export function makeCreate<Source>(platform: Platform<Source>): Library<Source>["create"] {
  return async (target, options) => void (await runAsync(createOp(platform, target, options)));
}

export function makeCreateOverlay<Source>(platform: Platform<Source>): Library<Source>["createOverlay"] {
  return async (target, options) => {
    const format = options.format ?? "qcow2";
    await runAsync(createOp(platform, target, { references: "allow", ...options, format }));
    const common = pickCommon(options as CommonOptions<Source>);
    return new Image(await runAsync(openOp(platform, target, { references: "allow", ...common, format, writable: true })));
  };
}
