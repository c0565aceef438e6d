/** The content of persistent bitmaps: a table per bitmap, whose entries are all zeros, all ones, or a cluster of bits. */
import { allocate } from "../../base/allocate.js";
import { BlockError } from "../../base/error.js";
import { viewOf, writeU64BE } from "../../base/bytes.js";
import { divCeil, MiB } from "../../base/int.js";
import type { DirtyBitmap } from "../../block/dirty-bitmap.js";
import { readBytes, writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import type { StoredBitmap } from "./bitmap-directory.js";
import type { Qcow2 } from "./image.js";
import { OFFSET_HI, OFFSET_LO } from "./layout.js";

const ALL_ONES = 1;
const RESERVED_HI = 0xff000000;
const RESERVED_LO = 0x1fe;
/** Table entries looked at in one go. */
const WINDOW = 65536;

/** A place in the file that was allocated for a bitmap. */
export interface Allocation {
  offset: number;
  length: number;
}

/** Calls `each` with index and host offset (0: none) and the all-ones flag of every entry. */
function* eachEntry(
  image: Qcow2,
  stored: StoredBitmap,
  each: (index: number, host: number, ones: boolean) => Op<void> | void,
): Op<void> {
  for (let from = 0; from < stored.tableEntries; from += WINDOW) {
    const count = Math.min(WINDOW, stored.tableEntries - from);
    const at = stored.tableOffset + from * 8;
    if (at >= image.file.size) throw unreadable(stored, at);
    const view = viewOf(yield* readBytes(image.file, at, count * 8));
    for (let i = 0; i < count; i++) {
      const hi = view.getUint32(i * 8);
      const lo = view.getUint32(i * 8 + 4);
      if (hi === 0 && lo === 0) continue;
      const host = (hi & OFFSET_HI) * 4294967296 + ((lo & OFFSET_LO) >>> 0);
      const ones = (lo & ALL_ONES) !== 0;
      if ((hi & RESERVED_HI) !== 0 || (lo & RESERVED_LO) !== 0 || (host !== 0 && (ones || host % image.clusterSize !== 0))) {
        throw unreadable(stored, at + i * 8);
      }
      const work = each(from + i, host, ones);
      if (work !== undefined) yield* work;
    }
  }
}

function unreadable(stored: StoredBitmap, offset: number): BlockError {
  return new BlockError(
    "ERR_CORRUPT",
    `Could not read bitmap_table table from image for bitmap '${stored.name}': Invalid argument`,
    { offset },
  );
}

/** Whether its table lies in the file. */
export const isReachable = (image: Qcow2, stored: StoredBitmap): boolean => stored.tableOffset < image.file.size;

/** Reads the table, and no bits. @throws BlockError ERR_CORRUPT when there are entries that cannot be */
export function checkBitmapTable(image: Qcow2, stored: StoredBitmap): Op<void> {
  return eachEntry(image, stored, () => {});
}

/** Marks in `into` what the image holds. */
export function* loadBitmap(image: Qcow2, stored: StoredBitmap, into: DirtyBitmap): Op<void> {
  const size = image.clusterSize;
  if (stored.tableEntries !== divCeil(into.byteLength, size)) {
    throw new BlockError("ERR_CORRUPT", `Could not read bitmap '${stored.name}' from image: Invalid argument`, {
      node: image.node.nodeName,
    });
  }
  yield* eachEntry(image, stored, (index, host, ones) => {
    if (ones) into.setBytes(index * size, size);
    return host === 0 ? undefined : loadCluster(image, host, into, index * size);
  });
}

function* loadCluster(image: Qcow2, host: number, into: DirtyBitmap, at: number): Op<void> {
  into.orBytes(yield* readBytes(image.file, host, image.clusterSize), at);
}

/** Writes table and clusters to new places, which are added to `made`. Nothing points to them yet. */
export function* storeBitmap(
  image: Qcow2,
  bits: DirtyBitmap,
  made: Allocation[],
): Op<{ tableOffset: number; tableEntries: number }> {
  const size = image.clusterSize;
  const entries = divCeil(bits.byteLength, size);
  const table = allocate(entries * 8);
  const view = viewOf(table);
  const perRun = Math.max(1, Math.floor(MiB / size));
  for (let index = 0; index < entries;) {
    const kind = bits.kindOf(index * size, size);
    if (kind === "ones") view.setUint32(index * 8 + 4, ALL_ONES);
    if (kind !== "mixed") {
      index++;
      continue;
    }
    let count = 1;
    while (count < perRun && index + count < entries && bits.kindOf((index + count) * size, size) === "mixed") count++;
    const bytes = allocate(count * size);
    bits.readBytes(bytes, index * size);
    const host = yield* place(image, bytes, made);
    for (let i = 0; i < count; i++) writeU64BE(view, (index + i) * 8, host + i * size);
    index += count;
  }
  return { tableOffset: yield* place(image, table, made), tableEntries: entries };
}

/** Writes bytes to newly allocated clusters. */
export function* place(image: Qcow2, bytes: Uint8Array, made: Allocation[]): Op<number> {
  const clusters = divCeil(bytes.length, image.clusterSize);
  const offset = yield* image.allocator.allocate(clusters);
  made.push({ offset, length: clusters * image.clusterSize });
  yield* image.checkOverlap(offset, clusters * image.clusterSize, null);
  yield* writeGrow(image.file, bytes, offset);
  image.barrierNeeded = true;
  return offset;
}

/** Gives up the clusters of a stored bitmap that the image does not name any more. A table that cannot be read leaks what it names. */
export function* freeBitmap(image: Qcow2, stored: StoredBitmap): Op<void> {
  const freed: number[] = [];
  try {
    yield* eachEntry(image, stored, (_index, host) => {
      if (host !== 0) freed.push(host);
    });
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    freed.length = 0;
  }
  for (const host of freed) image.allocator.free(host, image.clusterSize, "other");
  if (isReachable(image, stored)) image.allocator.free(stored.tableOffset, stored.tableEntries * 8, "other");
}
