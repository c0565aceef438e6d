/** Making Parallels images ("WithouFreSpacExt"). */
import { BlockError } from "../../base/error.js";
import { alignUp, divCeil, MiB } from "../../base/int.js";
import type { CreateContext, CreateOption } from "../../block/context.js";
import { truncate, writeGrow, zeroGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { takeSize } from "../../block/take.js";
import { buildHeader, HEADER_BYTES, SECTOR } from "./header.js";

const MAX_CLUSTERS = 4294967296;
const MAX_CLUSTER_BYTES = Math.floor(0x7fffffff / 513) * SECTOR;
/** Tables up to this size are written as zeros, larger ones left to the file system's sparse zeros. */
const WRITTEN_TABLE = 16 * MiB;

export const createOptions: readonly CreateOption[] = [
  { name: "size", type: "size", help: "Virtual disk size" },
  { name: "cluster_size", type: "size", help: "Parallels image cluster size", default: "1048576" },
];

export function* create(context: CreateContext): Op<void> {
  const { file } = context;
  if (context.size < 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Image creation needs a size parameter");
  const wanted = takeSize({ ...context.options }, "cluster_size") ?? MiB;
  if (context.strict === true) {
    if (context.size % SECTOR !== 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Image size must be a multiple of 512 bytes");
    if (wanted % SECTOR !== 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Cluster size must be a multiple of 512 bytes");
    if (wanted === 0) throw new BlockError("ERR_TOO_LARGE", "Image size is too large for this cluster size");
  }
  const clusterBytes = alignUp(wanted, SECTOR);
  const size = alignUp(context.size, SECTOR);
  if (clusterBytes === 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Cluster size must not be zero");
  // QEMU would create larger clusters, and then refuse to open the image.
  if (clusterBytes > MAX_CLUSTER_BYTES) throw new BlockError("ERR_INVALID_ARGUMENT", "Cluster size is too large");
  const entries = divCeil(size, clusterBytes);
  if (entries >= MAX_CLUSTERS || entries > 0x7fffffff / 4) {
    throw new BlockError("ERR_TOO_LARGE", "Image size is too large for this cluster size");
  }
  const dataStart = alignUp(HEADER_BYTES + entries * 4, clusterBytes);
  if (dataStart / SECTOR > 0xffffffff) throw new BlockError("ERR_TOO_LARGE", "Image size is too large for this cluster size");
  yield* writeGrow(file, buildHeader(clusterBytes / SECTOR, entries, size / SECTOR, dataStart / SECTOR), 0);
  if (dataStart <= WRITTEN_TABLE) yield* zeroGrow(file, HEADER_BYTES, dataStart - HEADER_BYTES);
  else yield* truncate(file, dataStart, { preallocation: "off" });
}
