/** Making new images: the file by its protocol, then the format into it. */
import { BlockError } from "../base/error.js";
import type { CreateContext, Environment } from "./context.js";
import type { Driver } from "./driver.js";
import { directoryOf, filenameToOptions } from "./filename.js";
import { flush } from "./io.js";
import type { Node } from "./node.js";
import { openNode } from "./open.js";
import type { Op } from "./op.js";

export interface CreateRequest {
  /** Format driver. */
  driver: Driver;
  filename: string;
  /** Virtual size in bytes; -1: the format's own default or the backing file's. */
  size: number;
  options: Readonly<Record<string, unknown>>;
  /** Write into this empty node instead of making `filename`. */
  file?: Node;
  /** Empty nodes to use instead of making files of these names. */
  files?: ReadonlyMap<string, Node>;
  /** Empty nodes for the extents of the image, in order, instead of making files for them. */
  extents?: readonly Node[];
  /** The size where `size` is not exact, for messages. */
  exactSize?: bigint;
  /** Odd values are refused instead of being rounded up. */
  strict?: boolean;
}

/** Creates an image; on failure the half-made file stays for the caller to remove. */
export function* createImage(environment: Environment, request: CreateRequest): Op<void> {
  const { driver, filename } = request;
  if (driver.create === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", `Format driver '${driver.name}' does not support image creation`, {
      errno: "ENOTSUP",
    });
  }
  const file = request.file?.ref() ?? (yield* createFile(environment, filename));
  const made: Node[] = [file];
  const context: CreateContext = {
    environment,
    file,
    filename,
    size: request.size,
    options: request.options,
    strict: request.strict ?? false,
    ...(request.exactSize === undefined ? {} : { exactSize: request.exactSize }),
    ...(request.extents === undefined ? {} : { extents: request.extents }),
    createSibling: (name) => context.createFile(directoryOf(filename) + name),
    *createFile(name) {
      const other = request.files?.get(name)?.ref() ?? (yield* createFile(environment, name));
      made.push(other);
      return other;
    },
    openImage: (name, format) =>
      openNode(environment, {
        filename: name,
        ...(format === null ? {} : { driver: format }),
        flags: { noIO: true, noBacking: true },
      }),
  };
  let failure: unknown;
  try {
    yield* driver.create(context);
    for (const node of made) yield* flush(node);
  } catch (error) {
    failure = error;
  }
  for (const node of made) {
    try {
      yield* node.unref();
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
}

/** Makes (or empties) the file `filename` of whatever protocol it names. */
export function* createFile(environment: Environment, filename: string): Op<Node> {
  const options = filenameToOptions(filename, environment.drivers);
  const name = String(options["driver"]);
  const protocol = environment.drivers.get(name);
  if (protocol === undefined) throw new BlockError("ERR_UNSUPPORTED", `Unknown protocol '${name}'`, { errno: "EINVAL" });
  if (protocol.createFile === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", `Protocol driver '${name}' does not support image creation`, { errno: "ENOTSUP" });
  }
  return yield* protocol.createFile(environment, filename);
}
