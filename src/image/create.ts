/** Making new images, with everything qemu-img create finds out on the way: backing file, its size, format options. */
import { BlockError, prefixError } from "../base/error.js";
import type { Environment } from "../block/context.js";
import { resolveReference } from "../block/filename.js";
import { backingChain } from "../block/graph.js";
import { imageName } from "../block/node-filename.js";
import type { Node } from "../block/node.js";
import { openNode } from "../block/open.js";
import type { Op } from "../block/op.js";
import type { Opt } from "../qapi/options.js";
import { createFileWithImage } from "./create-file.js";
import {
  createOptionTable,
  formatCreateOptions,
  formatForCreate,
  protocolForCreate,
  readCreateOptions,
} from "./create-options.js";
import { closeQuietly, imageSize } from "./open.js";

export interface CreateImageRequest {
  filename: string;
  format: string;
  /** Virtual size in bytes; the backing file's when absent. */
  size?: number | undefined;
  backingFile?: string | undefined;
  backingFormat?: string | undefined;
  /** Format options as the user gave them. */
  options?: readonly Opt[] | undefined;
  /** Do not open the backing file. */
  unsafe?: boolean | undefined;
  /** Gets the "Formatting 'x', fmt=…" line just before the image is made. */
  onFormatting?: ((line: string) => void) | undefined;
}

export function* createImage(environment: Environment, request: CreateImageRequest): Op<void> {
  const { filename, format } = request;
  const driver = formatForCreate(environment, format);
  const protocol = protocolForCreate(environment, filename);
  const table = createOptionTable(driver, protocol);
  const opts = [...(request.options ?? [])];
  const values = readCreateOptions(table, opts);
  if (request.backingFile !== undefined) {
    if (!table.some((option) => option.name === "backing_file")) {
      throw new BlockError("ERR_UNSUPPORTED", `Backing file not supported for file format '${format}'`, { errno: "EINVAL" });
    }
    values["backing_file"] = request.backingFile;
  }
  if (request.backingFormat !== undefined) {
    if (!table.some((option) => option.name === "backing_fmt")) {
      throw new BlockError("ERR_UNSUPPORTED", `Backing format not supported for file format '${format}'`, { errno: "EINVAL" });
    }
    values["backing_fmt"] = request.backingFormat;
  }
  const backingFile = values["backing_file"] as string | undefined;
  const backingFormat = values["backing_fmt"] as string | undefined;
  if (backingFile === filename) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Error: Trying to create an image with the same filename as the backing file");
  }
  if (backingFile === "") throw new BlockError("ERR_INVALID_ARGUMENT", "Expected backing file name, got empty string");
  if (values["size"] !== undefined && request.size !== undefined)
    throw new BlockError("ERR_INVALID_ARGUMENT", "The image size must be specified only once");
  let size = (values["size"] as number | undefined) ?? request.size;
  if (backingFile !== undefined) {
    if (request.unsafe !== true) {
      const found = yield* backingSize(environment, filename, backingFile, backingFormat);
      size ??= found;
    } else if (backingFormat === undefined) {
      throw new BlockError("ERR_INVALID_ARGUMENT", "Backing file specified without backing format");
    }
  }
  if (size === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "Image creation needs a size parameter");
  values["size"] = size;
  if (!Number.isSafeInteger(size)) {
    throw new BlockError("ERR_TOO_LARGE", `The image size is too large for file format '${format}'`, { errno: "EFBIG" });
  }
  const words = formatCreateOptions(table, values, opts);
  request.onFormatting?.(`Formatting '${filename}', fmt=${format}${words === "" ? "" : ` ${words}`}`);
  const { size: _size, ...options } = values;
  try {
    yield* createFileWithImage(environment, driver, filename, size, options);
  } catch (error) {
    if (error instanceof BlockError && error.errno === "EFBIG") {
      const hint =
        "cluster_size" in values || table.some((option) => option.name === "cluster_size")
          ? " (try using a larger cluster size)"
          : "";
      throw new BlockError("ERR_TOO_LARGE", `The image size is too large for file format '${format}'${hint}`, {
        errno: "EFBIG",
        cause: error,
      });
    }
    throw error;
  }
}

/** Opens the backing file to learn its size, as a proof that it is there; refuses to guess its format. */
function* backingSize(
  environment: Environment,
  filename: string,
  backingFile: string,
  backingFormat: string | undefined,
): Op<number> {
  let size: number;
  let detected: string;
  let chain: string[];
  try {
    const node = yield* openChain(environment, resolveReference(filename, backingFile), backingFormat);
    size = imageSize(node);
    detected = node.driver.name;
    chain = backingChain(node).map(imageName);
    yield* closeQuietly(node);
  } catch (error) {
    const failure = prefixError("", error);
    throw new BlockError(failure.code, failure.message, {
      errno: failure.errno,
      hint: `${failure.hint === undefined ? "" : `${failure.hint}\n`}Could not open backing image.`,
      cause: failure,
    });
  }
  if (chain.includes(filename)) {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      "Error: Trying to create an image with the same filename as the backing file of the backing file",
    );
  }
  if (backingFormat === undefined) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Backing file specified without backing format", {
      hint: `Detected format of ${detected}.`,
    });
  }
  return size;
}

/** An image with what is below it: an overlay of a chain that is broken or a loop is of no use. */
function* openChain(environment: Environment, filename: string, format: string | undefined): Op<Node> {
  const spec = { filename, ...(format === undefined ? {} : { driver: format }) };
  // Sizes and names are all that is asked for, whoever writes to it.
  const flags = { noIO: true, forceShare: true };
  try {
    return yield* openNode(environment, { ...spec, flags });
  } catch (error) {
    // Who may not follow what images name gets by with the file that was named here.
    if ((error as BlockError).code !== "ERR_DENIED") throw error;
    return yield* openNode(environment, { ...spec, flags: { ...flags, noBacking: true } });
  }
}
