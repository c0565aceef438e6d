/** Growing and shrinking the guest disk, and preallocation. */
import { allocate } from "../../base/allocate.js";
import { BlockError, errnoError, toBlockError } from "../../base/error.js";
import { alignDown, alignUp, divCeil } from "../../base/int.js";
import type { MappedImpl, TruncateOptions } from "../../block/driver.js";
import { debugEvent } from "../../block/debug.js";
import { truncate, writeGrow, writeLeased, zeroGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import type { Preallocation } from "../../storage/storage.js";
import { readEntry, sliceForRead, sliceForWrite, writeEntry } from "./entries.js";
import type { Qcow2 } from "./image.js";
import { Autoclear, CryptMethod, MAX_L1_BYTES } from "./layout.js";
import { releaseEntry } from "./write.js";
import { endOfUse } from "./refcount-survey.js";
import { zeroRange } from "./zero.js";

export function* resize(image: Qcow2, size: number, options: TruncateOptions): Op<void> {
  if (size % 512 !== 0) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "The new size must be a multiple of 512", { errno: "EINVAL" });
  }
  if (image.header.snapshotCount > 0 && image.header.version < 3) {
    throw new BlockError("ERR_UNSUPPORTED", "Can't resize a v2 image which has snapshots", { errno: "ENOTSUP" });
  }
  if (image.bitmaps !== null) yield* image.bitmaps.prepareResize();
  const old = image.size;
  if (size < old) yield* shrink(image, size, options);
  else if (size > old || options.preallocation !== "off") yield* grow(image, old, size, options.preallocation);
}

function* grow(image: Qcow2, old: number, size: number, asked: Preallocation): Op<void> {
  // What others write into the raw file must show in the image: it is mapped from the beginning.
  const isRaw = image.hasDataFile && (image.header.autoclear.lo & Autoclear.rawDataFile) !== 0;
  const preallocation = isRaw && asked === "off" ? "metadata" : asked;
  const release = yield* image.lock.acquire();
  try {
    yield* image.markCorrupt();
    yield* image.beginModifying();
    yield* growL1(image, divCeil(size, image.l2Coverage));
    // Left behind the end by a shrink that a crash cut short, or saved VM state: none of the guest's business.
    yield* dropBehind(image, alignUp(old, image.clusterSize));
  } finally {
    release();
  }
  // A larger backing file must not show through in the new area, nor old content behind the end in the last cluster.
  const backing = image.node.backing;
  const hidden = backing !== null && backing.size > old;
  const start = Math.min(alignUp(old, image.clusterSize), size);
  yield* clearEdge(image, old, start, hidden);
  if (preallocation !== "off") {
    yield* preallocate(image, old, size, preallocation);
    // Nobody need look at the holes behind the clusters: they say themselves that they are zeros, as QEMU's do.
    if (hidden && preallocation === "metadata" && image.header.version >= 3) yield* zeroClusters(image, start, size);
  } else if (hidden) {
    // Before the new size holds: if it cannot be done nothing has changed.
    yield* zeroClusters(image, start, size);
  } else if (image.hasDataFile && image.dataFile.size < size) {
    // It need not be longer than its last cluster, but is, as QEMU makes it.
    yield* truncate(image.dataFile, size, { preallocation: "off" });
  }
  yield* setSize(image, size);
}

function* zeroClusters(image: Qcow2, start: number, end: number): Op<void> {
  if (end <= start) return;
  try {
    yield* zeroRange(image, start, end - start, {});
  } catch (error) {
    throw errnoError(toBlockError(error).errno, "Failed to zero out new clusters", { cause: error });
  }
}

/** Zeros behind the old end in its cluster: it may hold bytes from before an earlier shrink, or show the backing file. */
function* clearEdge(image: Qcow2, from: number, to: number, hidden: boolean): Op<void> {
  if (to <= from) return;
  let kind = "unallocated";
  let host = 0;
  let copied = false;
  const release = yield* image.lock.acquire();
  try {
    const pointer = yield* sliceForRead(image, from);
    if (pointer >= 0) ({ kind, host, copied } = readEntry(image, pointer, image.sliceIndex(from)));
  } finally {
    release();
  }
  if (kind === "unallocated" ? !hidden : kind === "zero-plain" && !image.extended) return;
  if (kind === "data" && copied && !image.extended && image.header.cryptMethod === CryptMethod.none) {
    // In place, as bytes: a part of one cluster is not worth an extent of its own. Behind the end of the file are zeros already.
    const at = host + (from % image.clusterSize);
    const length = Math.min(to - from, image.dataFile.size - at);
    if (length > 0) yield* writeGrow(image.dataFile, allocate(length), at);
    return;
  }
  yield* writeLeased(image.node, image.node.impl as MappedImpl, allocate(to - from), from);
}

function* setSize(image: Qcow2, size: number): Op<void> {
  const release = yield* image.lock.acquire();
  try {
    yield* image.commitMetadata();
    yield* image.barrier();
    yield* image.updateHeader({ size });
    yield* image.barrier();
    yield* image.allocator.releaseFreed();
  } finally {
    release();
  }
}

/** Makes room for `entries` L1 entries: the new table is on disk before the header points to it, the old one is freed after. */
export function* growL1(image: Qcow2, entries: number): Op<void> {
  if (entries <= image.l1Entries) return;
  if (entries * 8 > MAX_L1_BYTES) {
    throw new BlockError("ERR_TOO_LARGE", "The image size is too large (try using a larger cluster size)", { errno: "EFBIG" });
  }
  const oldOffset = image.header.l1Offset;
  const oldBytes = image.l1.length;
  const table = allocate(entries * 8);
  // Pending L1 changes go along: everything they point to must be on disk first.
  yield* image.commitMetadata();
  table.set(image.l1);
  const clusters = divCeil(table.length, image.clusterSize);
  yield* debugEvent(image.file, "l1_grow_alloc_table");
  const offset = yield* image.allocator.allocate(clusters);
  try {
    yield* image.checkOverlap(offset, clusters * image.clusterSize, null);
    yield* image.allocator.writeBack();
    const padded = allocate(alignUp(table.length, 512));
    padded.set(table);
    yield* debugEvent(image.file, "l1_grow_write_table");
    yield* writeGrow(image.file, image.file.size >= offset + padded.length ? padded : table, offset);
    yield* image.barrier();
    yield* debugEvent(image.file, "l1_grow_activate_table");
    yield* image.updateHeader({ l1Offset: offset, l1Entries: entries });
  } catch (error) {
    // A header that may be in the file after all must find its table there.
    if (!image.lost) yield* image.allocator.undo(offset, table.length);
    throw error;
  }
  image.replaceL1(table);
  if (oldOffset > 0 && oldBytes > 0) image.allocator.free(oldOffset, oldBytes, "other");
  yield* image.barrier();
  yield* image.allocator.releaseFreed();
}

/** Allocates all clusters of [old, size). */
function* preallocate(image: Qcow2, old: number, size: number, mode: Preallocation): Op<void> {
  let end = 0;
  if (image.hasDataFile) {
    yield* truncate(image.dataFile, size, { preallocation: mode === "metadata" ? "off" : mode });
  }
  for (let at = alignDown(old, image.clusterSize); at < size;) {
    const stop = Math.min(alignUp(size, image.clusterSize), alignDown(at, image.sliceCoverage) + image.sliceCoverage);
    const release = yield* image.lock.acquire();
    try {
      end = Math.max(end, yield* preallocateSlice(image, at, stop, size, mode));
    } finally {
      release();
    }
    at = stop;
  }
  if (image.hasDataFile) return;
  // The data clusters exist in the file too.
  if (mode === "metadata") {
    if (end > image.file.size) yield* truncate(image.file, end, { preallocation: "off" });
    return;
  }
  const tail = Math.max(end, image.file.size);
  if (tail > image.file.size) yield* truncate(image.file, tail, { preallocation: mode });
}

/** @param diskSize where the disk is to end @returns where the data ends in the file */
function* preallocateSlice(image: Qcow2, at: number, stop: number, diskSize: number, mode: Preallocation): Op<number> {
  const size = image.clusterSize;
  let end = 0;
  let cluster = at;
  while (cluster < stop) {
    const pointer = yield* sliceForWrite(image, cluster);
    const free = (guest: number): boolean => readEntry(image, pointer, image.sliceIndex(guest)).kind === "unallocated";
    const there = readEntry(image, pointer, image.sliceIndex(cluster));
    if (there.kind !== "unallocated") {
      if (there.kind === "data" && there.host < image.file.size) end = Math.max(end, there.host + size);
      cluster += size;
      continue;
    }
    let count = 1;
    while (cluster + count * size < stop && free(cluster + count * size)) count++;
    const host = image.hasDataFile ? cluster : yield* image.allocator.allocate(count);
    // What the file held there before must not appear: space inside the file is cleared.
    if (!image.hasDataFile && host < image.file.size)
      yield* zeroGrow(image.file, host, Math.min(count * size, image.file.size - host));
    // No entry on disk points behind the end of the file. Only the disk's bytes are made to exist: tables are when they are written.
    const behind = host + count * size;
    const dataEnd = Math.min(behind, host + diskSize - cluster);
    if (!image.hasDataFile) {
      if (host > image.file.size) yield* truncate(image.file, host, { preallocation: "off" });
      if (dataEnd > image.file.size) yield* truncate(image.file, dataEnd, { preallocation: mode === "metadata" ? "off" : mode });
      if (behind > image.file.size) yield* truncate(image.file, behind, { preallocation: "off" });
      // The rest of the last cluster is zeros and no hole, as QEMU's.
      if (mode === "metadata" && dataEnd < behind) yield* writeGrow(image.file, allocate(behind - dataEnd), dataEnd);
    }
    image.barrierNeeded = true;
    const again = yield* sliceForWrite(image, cluster);
    for (let i = 0; i < count; i++) {
      const stored = image.extended && mode === "metadata" ? 0 : 0xffffffff;
      writeEntry(image, again, image.sliceIndex(cluster) + i, {
        host: host + i * size,
        copied: true,
        allocated: image.extended ? stored : 0,
      });
    }
    end = Math.max(end, behind);
    cluster += count * size;
  }
  return end;
}

function* shrink(image: Qcow2, size: number, options: TruncateOptions): Op<void> {
  if (options.preallocation !== "off") {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Preallocation can't be used for shrinking an image", { errno: "EINVAL" });
  }
  const release = yield* image.lock.acquire();
  try {
    yield* image.markCorrupt();
    yield* image.beginModifying();
    // The header goes first: a crash then leaves clusters behind the end, which nothing reads (growing again drops them).
    yield* image.commitMetadata();
    yield* image.barrier();
    yield* image.updateHeader({ size });
    yield* image.barrier();
    yield* dropBehind(image, alignUp(size, image.clusterSize));
    yield* image.flushLocked();
    yield* image.flushLocked();
    if (!image.allocator.hasPendingFrees) yield* image.allocator.dropEmptyBlocks();
    yield* trimFile(image);
  } finally {
    release();
  }
  if (image.hasDataFile && (image.header.autoclear.lo & Autoclear.rawDataFile) !== 0)
    yield* truncate(image.dataFile, size, { preallocation: "off" });
}

/** Lets go of every cluster and L2 table behind guest offset `from`. */
export function* dropBehind(image: Qcow2, from: number): Op<void> {
  const firstWhole = divCeil(from, image.l2Coverage);
  for (let index = image.l1Index(from); index < image.l1Entries; index++) {
    const l2 = image.l2Offset(index);
    if (l2 === 0) continue;
    const whole = index >= firstWhole;
    const start = Math.max(from, index * image.l2Coverage);
    const stop = (index + 1) * image.l2Coverage;
    if (whole && !image.l2IsCopied(index)) {
      // Shared with a snapshot: only our reference to the table goes; its clusters lose one reference each too.
      yield* releaseTable(image, start, stop);
    } else {
      for (let at = start; at < stop; at += image.clusterSize) {
        const look = yield* sliceForRead(image, at);
        const seen = readEntry(image, look, image.sliceIndex(at));
        if (seen.kind === "unallocated") continue;
        const pointer = yield* sliceForWrite(image, at);
        const old = readEntry(image, pointer, image.sliceIndex(at));
        writeEntry(image, pointer, image.sliceIndex(at), { host: 0, copied: false });
        releaseEntry(image, old, "request");
      }
    }
    if (whole) {
      const table = image.l2Offset(index);
      image.setL1(index, 0, false);
      image.l2.drop(table, image.clusterSize);
      image.allocator.free(table, image.clusterSize, "other");
    }
  }
}

function* releaseTable(image: Qcow2, start: number, stop: number): Op<void> {
  for (let at = start; at < stop; at += image.clusterSize) {
    const pointer = yield* sliceForRead(image, at);
    releaseEntry(image, readEntry(image, pointer, image.sliceIndex(at)), "request");
  }
}

/** Cuts the file behind its last used cluster. */
export function* trimFile(image: Qcow2): Op<void> {
  if (image.allocator.isDirty) {
    yield* image.allocator.writeBack();
    yield* image.barrier();
  }
  const end = yield* endOfUse(image);
  if (end < image.file.size) yield* truncate(image.file, end, { preallocation: "off" });
}
