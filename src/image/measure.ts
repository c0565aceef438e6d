/** How many bytes a new image would need. */
import { encodeText } from "../base/bytes.js";
import { BlockError } from "../base/error.js";
import { alignUp } from "../base/int.js";
import type { Environment } from "../block/context.js";
import type { Measure } from "../block/driver.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import type { Opt } from "../qapi/options.js";
import { createOptionTable, readCreateOptions } from "./create-options.js";
import { imageSize } from "./open.js";

export interface MeasureRequest {
  /** Format of the image to be. */
  format: string;
  options?: readonly Opt[];
  /** Virtual size in bytes; or the image whose content is to be converted. */
  size?: number;
  source?: Node;
}

export function* measureImage(environment: Environment, request: MeasureRequest): Op<Measure> {
  const driver = environment.drivers.get(request.format);
  if (driver === undefined)
    throw new BlockError("ERR_UNSUPPORTED", `Unknown file format '${request.format}'`, { errno: "EINVAL" });
  if (driver.createOptions === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", `Format driver '${request.format}' does not support image creation`, {
      errno: "ENOTSUP",
    });
  }
  const options = readCreateOptions(createOptionTable(driver, environment.drivers.get("file") ?? null), request.options ?? []);
  if (driver.measure === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", `Block driver '${request.format}' does not support size measurement`, {
      errno: "ENOTSUP",
    });
  }
  const source = request.source ?? null;
  const size = source !== null ? imageSize(source) : (request.size ?? (options["size"] as number | undefined) ?? 0);
  const result = yield* driver.measure({ environment, options, size, source });
  if (!Number.isSafeInteger(result.fullyAllocated) && result.fullyAllocated !== size)
    throw new BlockError("ERR_TOO_LARGE", "The image size is too large", { errno: "EFBIG" });
  if (
    result.bitmaps === undefined &&
    source !== null &&
    source.driver.name === "qcow2" &&
    driver.name === "qcow2" &&
    canHoldBitmaps(options["compat"])
  ) {
    result.bitmaps = bitmapBytes(source, (options["cluster_size"] as number | undefined) ?? 65536);
  }
  return result;
}

const canHoldBitmaps = (compat: unknown): boolean => compat !== "0.10" && compat !== "v2";

/** Bytes of the persistent bitmaps of `source` in an image with this cluster size: data, tables, directory. */
function bitmapBytes(source: Node, clusterSize: number): number {
  const impl = source.impl;
  const bitmaps = impl.shape === "mapped" ? (impl.bitmaps?.list() ?? []) : [];
  let bytes = 0;
  let directory = 0;
  for (const { name, granularity, flags } of bitmaps) {
    if (flags.includes("in-use")) continue;
    const clusters = Math.ceil(Math.ceil(imageSize(source) / granularity) / 8 / clusterSize);
    bytes += clusters * clusterSize + alignUp(clusters * 8, clusterSize);
    directory += alignUp(24 + encodeText(name).length, 8);
  }
  return bytes + alignUp(directory, clusterSize);
}
