/** L2 entries, one at a time: finding the table for writing, classifying, changing. The metadata lock is held throughout. */
import { debugEvent } from "../../block/debug.js";
import type { Op } from "../../block/op.js";
import type { Qcow2 } from "./image.js";
import { COMPRESSED_HI, COPIED_HI, OFFSET_HI, OFFSET_LO, ZERO_LO } from "./layout.js";

export type EntryKind = "unallocated" | "zero-plain" | "zero-allocated" | "data" | "compressed";

export interface Entry {
  kind: EntryKind;
  /** Host offset of the cluster (of compressed: of its bytes); 0 when there is none. */
  host: number;
  /** Bytes of a compressed cluster, to the end of its last sector. */
  compressedLength: number;
  copied: boolean;
  /** Extended L2: bits 0-31 allocated, and reads-as-zeros subclusters. For standard entries all or nothing. */
  allocated: number;
  zeros: number;
}

const ALL = 0xffffffff;

/** Reads entry `index` of the slice at `pointer`. */
export function readEntry(image: Qcow2, pointer: number, index: number): Entry {
  const view = image.kernel.view;
  const at = pointer + index * image.entrySize;
  const hi = view.getUint32(at);
  const lo = view.getUint32(at + 4);
  const zeros = image.extended ? view.getUint32(at + 8) : 0;
  const allocated = image.extended ? view.getUint32(at + 12) : 0;
  const copied = (hi & COPIED_HI) !== 0;
  if ((hi & COMPRESSED_HI) !== 0) {
    // Descriptor: offset in the low x bits, sectors in the rest (x = 62 - (cluster_bits - 8)).
    const sectorBits = image.clusterBits - 8;
    const offsetHiBits = 62 - sectorBits - 32;
    const host = ((hi & ((1 << offsetHiBits) - 1)) >>> 0) * 4294967296 + lo;
    const sectors = ((hi & 0x3fffffff) >>> offsetHiBits) + 1;
    return { kind: "compressed", host, compressedLength: sectors * 512 - (host % 512), copied: false, allocated: ALL, zeros: 0 };
  }
  const host = (hi & OFFSET_HI) * 4294967296 + ((lo & OFFSET_LO) >>> 0);
  if (image.extended) {
    const kind: EntryKind =
      host === 0 && !(image.hasDataFile && copied)
        ? zeros !== 0
          ? "zero-plain"
          : "unallocated"
        : allocated !== 0
          ? "data"
          : "zero-allocated";
    return { kind, host, compressedLength: 0, copied, allocated, zeros };
  }
  if ((lo & ZERO_LO) !== 0 && image.header.version >= 3) {
    return { kind: host === 0 ? "zero-plain" : "zero-allocated", host, compressedLength: 0, copied, allocated: 0, zeros: ALL };
  }
  // With an external data file offset 0 is a place like any other; the COPIED flag tells.
  if (host === 0 && !(image.hasDataFile && copied))
    return { kind: "unallocated", host, compressedLength: 0, copied, allocated: 0, zeros: 0 };
  return { kind: "data", host, compressedLength: 0, copied, allocated: ALL, zeros: 0 };
}

/** Stores an entry; `allocated` and `zeros` count for extended entries only, `zero` is the flag of standard ones. */
export function writeEntry(
  image: Qcow2,
  pointer: number,
  index: number,
  entry: { host: number; copied: boolean; zero?: boolean; allocated?: number; zeros?: number },
): void {
  const view = image.kernel.view;
  const offset = index * image.entrySize;
  const hi = Math.floor(entry.host / 4294967296);
  view.setUint32(pointer + offset, (entry.copied ? hi | COPIED_HI : hi) >>> 0);
  view.setUint32(pointer + offset + 4, ((entry.host % 4294967296) | (!image.extended && entry.zero ? ZERO_LO : 0)) >>> 0);
  if (image.extended) {
    view.setUint32(pointer + offset + 8, (entry.zeros ?? 0) >>> 0);
    view.setUint32(pointer + offset + 12, (entry.allocated ?? 0) >>> 0);
  }
  image.l2.markDirty(pointer, offset, image.entrySize);
}

/**
 * Stores standard entries for `count` clusters that follow each other from host offset `host`, up to the first entry that holds
 * something already. Returns how many were stored.
 */
export function writeNewEntries(image: Qcow2, pointer: number, index: number, count: number, host: number): number {
  const { view } = image.kernel;
  const size = image.clusterSize;
  const from = pointer + index * 8;
  let at = from;
  for (const stop = from + count * 8; at < stop; at += 8) {
    if (view.getUint32(at) !== 0 || view.getUint32(at + 4) !== 0) break;
    view.setUint32(at, (Math.floor(host / 4294967296) | COPIED_HI) >>> 0);
    view.setUint32(at + 4, host % 4294967296);
    host += size;
  }
  if (at > from) image.l2.markDirty(pointer, index * 8, at - from);
  return (at - from) / 8;
}

/** Stores the descriptor of a compressed cluster of `length` bytes at host byte `host`. */
export function writeCompressedEntry(image: Qcow2, pointer: number, index: number, host: number, length: number): void {
  const view = image.kernel.view;
  const offset = index * image.entrySize;
  const sectorBits = image.clusterBits - 8;
  const sectors = Math.floor((host + length - 1) / 512) - Math.floor(host / 512);
  const hi = COMPRESSED_HI | (sectors << (62 - sectorBits - 32)) | Math.floor(host / 4294967296);
  view.setUint32(pointer + offset, hi >>> 0);
  view.setUint32(pointer + offset + 4, (host % 4294967296) >>> 0);
  if (image.extended) {
    view.setUint32(pointer + offset + 8, 0);
    view.setUint32(pointer + offset + 12, 0);
  }
  image.l2.markDirty(pointer, offset, image.entrySize);
}

/** Pointer to the slice for `guest` in an L2 table that may be modified: made or copied first if need be. Good until the next yield. */
export function* sliceForWrite(image: Qcow2, guest: number): Op<number> {
  const index = image.l1Index(guest);
  if (image.l2Offset(index) === 0 || !image.l2IsCopied(index)) yield* ownL2(image, index);
  return yield* image.l2.get(image.sliceOffset(image.l2Offset(index), guest), true);
}

/** Pointer to the slice for `guest`, or -1 when there is no L2 table. Good until the next yield. */
export function* sliceForRead(image: Qcow2, guest: number): Op<number> {
  const l2 = image.l2Offset(image.l1Index(guest));
  if (l2 === 0) return -1;
  if (l2 % image.clusterSize !== 0) {
    throw image.corruption(
      `L2 table offset 0x${l2.toString(16)} unaligned (L1 index: 0x${image.l1Index(guest).toString(16)})`,
      l2,
    );
  }
  return yield* image.l2.get(image.sliceOffset(l2, guest), true);
}

/** Gives L1 entry `index` an L2 table of its own: new, or a copy of the one shared with snapshots. */
function* ownL2(image: Qcow2, index: number): Op<void> {
  const old = image.l2Offset(index);
  if (old % image.clusterSize !== 0) {
    throw image.corruption(`L2 table offset 0x${old.toString(16)} unaligned (L1 index: 0x${index.toString(16)})`, old);
  }
  const fresh = yield* image.allocator.allocate(1, "L2 table");
  try {
    // Where refcounts may lag behind (lazy refcounts) those of tables do not: as in QEMU.
    if (image.isDirty) yield* image.allocator.writeBack();
    yield* image.checkOverlap(fresh, image.clusterSize, null);
    const size = image.l2.slotSize;
    for (let at = 0; at < image.clusterSize; at += size) {
      if (old !== 0) yield* debugEvent(image.file, "l2_alloc_cow_read");
      const source =
        old === 0
          ? null
          : image.kernel.memory.slice(yield* image.l2.get(old + at, true), (yield* image.l2.get(old + at, true)) + size);
      const pointer = yield* image.l2.create(fresh + at);
      if (source !== null) image.kernel.memory.set(source, pointer);
    }
    yield* debugEvent(image.file, "l2_alloc_write");
  } catch (error) {
    image.l2.drop(fresh, image.clusterSize);
    yield* image.allocator.undo(fresh, image.clusterSize);
    throw error;
  }
  image.setL1(index, fresh, true);
  if (old !== 0) image.allocator.free(old, image.clusterSize, "other");
}
