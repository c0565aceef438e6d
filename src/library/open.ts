/** `open` and `openSync`. */
import { BlockError, prefixError } from "../base/error.js";
import type { BlockdevOptions, Environment } from "../block/context.js";
import type { Node } from "../block/node.js";
import { openNode } from "../block/open.js";
import { runAsync, runSync, type Op } from "../block/op.js";
import { storageNode } from "../block/storage-node.js";
import { checkOptions } from "../image/arguments.js";
import { qemuSpelling } from "../image/camel.js";
import { Image } from "../image/image.js";
import { closeQuietly } from "../image/open.js";
import { SyncImage } from "../image/sync-image.js";
import { arriving, checkFormat, environmentOf, givenTwice, isPromise, leaveOpen } from "./environment.js";
import type { Library } from "./functions.js";
import { OPEN, pickCommon, type CommonOptions, type OpenOptions, type Platform } from "./options.js";

/** A driver's options as QEMU spells them, children's too. Most have dashes; the lists know those that have underscores. */
function runtimeOptions(environment: Environment, given: object): BlockdevOptions {
  const names = [...environment.drivers.values()].flatMap((driver) => driver.runtimeOptions ?? []);
  const spelt = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(spelt);
    if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
    const options: Record<string, unknown> = {};
    for (const [key, item] of Object.entries(value)) {
      const name = qemuSpelling(key, names, "-");
      if (Object.hasOwn(options, name)) throw givenTwice(name);
      options[name] = spelt(item);
    }
    return options;
  };
  return spelt({ ...given }) as BlockdevOptions;
}

/** Opens the file of an image: by name through the protocols, or over a storage. */
export function* openOp<Source>(platform: Platform<Source>, source: Source, options: OpenOptions<Source>): Op<Node> {
  checkOptions("open", options, OPEN);
  const environment = environmentOf(platform, options);
  if (options.format !== undefined) checkFormat(environment, "driver", options.format);
  const flags = {
    write: options.writable === true,
    unmap: options.writable === true,
    noBacking: options.noBacking === true,
    forceShare: options.forceShare === true,
  };
  const found = platform.toStorage(source, options.writable === true);
  const driver = options.format === undefined ? {} : { driver: options.format };
  const given = runtimeOptions(environment, options.options ?? {});
  if (typeof found === "string") {
    try {
      return yield* openNode(environment, { filename: found, ...driver, options: given, flags });
    } catch (error) {
      const prefix = `Could not open '${found}': `;
      throw error instanceof BlockError && error.message.startsWith(prefix) ? error : prefixError(prefix, error);
    }
  }
  if (given["file"] !== undefined)
    throw new BlockError("ERR_INVALID_ARGUMENT", "The option 'file' contradicts the source, which is the image's file");
  const storage = yield* arriving("Opening the source", found);
  const file = yield* storageNode(environment, storage, { write: flags.write, forceShare: flags.forceShare });
  if (!isPromise(found)) leaveOpen(file);
  try {
    return yield* openNode(environment, { ...driver, options: { ...given, file }, flags });
  } finally {
    yield* closeQuietly(file);
  }
}

/** Does something with an image: one that is open, or that is opened for this time. */
export async function using<Source, T>(
  platform: Platform<Source>,
  source: Image | Source,
  options: CommonOptions<Source>,
  work: (image: Image) => Promise<T>,
): Promise<T> {
  if (source instanceof Image) return work(source);
  const image = new Image(await runAsync(openOp(platform, source, pickCommon(options))));
  try {
    return await work(image);
  } finally {
    await image.close();
  }
}

export function makeOpen<Source>(platform: Platform<Source>): Library<Source>["open"] {
  return async (source, options = {}) => new Image(await runAsync(openOp(platform, source, options)));
}

export function makeOpenSync<Source>(platform: Platform<Source>): Library<Source>["openSync"] {
  return (source, options = {}) => new SyncImage(runSync(openOp(platform, source, options)));
}
