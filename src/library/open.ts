/** `open` and `openSync`. */
import { BlockError, prefixError } from "../base/error.js";
import type { Node } from "../block/node.js";
import { openNode } from "../block/open.js";
import { runAsync, runSync, type Op } from "../block/op.js";
import { storageNode } from "../block/storage-node.js";
import { checkOptions } from "../image/arguments.js";
import { Image } from "../image/image.js";
import { closeQuietly } from "../image/open.js";
import { SyncImage } from "../image/sync-image.js";
import { arriving, checkFormat, environmentOf, isPromise, leaveOpen } from "./environment.js";
import type { Library } from "./functions.js";
import { OPEN, pickCommon, type CommonOptions, type OpenOptions, type Platform } from "./options.js";

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
  if (typeof found === "string") {
    try {
      return yield* openNode(environment, { filename: found, ...driver, options: { ...options.options }, flags });
    } catch (error) {
      const prefix = `Could not open '${found}': `;
      throw error instanceof BlockError && error.message.startsWith(prefix) ? error : prefixError(prefix, error);
    }
  }
  const storage = yield* arriving("Opening the source", found);
  const file = yield* storageNode(environment, storage, { write: flags.write, forceShare: flags.forceShare });
  if (!isPromise(found)) leaveOpen(file);
  try {
    return yield* openNode(environment, { ...driver, options: { ...options.options, file }, flags });
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
