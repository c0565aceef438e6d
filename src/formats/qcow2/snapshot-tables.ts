/**
 * L1 and L2 tables as snapshots see them: adding and taking away the references a whole L1 table holds, and tables whose COPIED
 * flags agree with refcounts that are about to change. Tables are read straight from the file, where everything is by then.
 */
import { allocate } from "../../base/allocate.js";
import { BlockError } from "../../base/error.js";
import { viewOf, writeU64BE } from "../../base/bytes.js";
import { alignUp } from "../../base/int.js";
import { readPadded, writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import type { Qcow2 } from "./image.js";
import { COMPRESSED_HI, COPIED_HI, OFFSET_HI, OFFSET_LO } from "./layout.js";

export const offsetOf = (hi: number, lo: number): number => (hi & OFFSET_HI) * 4294967296 + ((lo & OFFSET_LO) >>> 0);

/** Host clusters that lost their last reference: what may be given back to the file, as far as it is worth remembering. */
export class FreedRuns {
  readonly runs: [first: number, count: number][] = [];
  static readonly MAX = 65536;
  add(first: number, count: number): void {
    const last = this.runs[this.runs.length - 1];
    if (last !== undefined && last[0] + last[1] === first) last[1] += count;
    else if (this.runs.length < FreedRuns.MAX) this.runs.push([first, count]);
  }
}

/** Reads an L2 table into `into` (one cluster). */
export function* readTable(image: Qcow2, offset: number, into: Uint8Array): Op<void> {
  if (offset % image.clusterSize !== 0) throw image.corruption(`L2 table offset 0x${offset.toString(16)} unaligned`, offset);
  if (offset >= image.file.size)
    throw image.corruption(`L2 table offset 0x${offset.toString(16)} lies behind the end of the image file`, offset);
  yield* readPadded(image.file, into, offset);
}

/** Adds `delta` to the refcounts of everything an L1 table refers to (not to those of its own clusters). All, or nothing, or an error that makes the caller abandon its replacement. */
export function* updateReferences(image: Qcow2, l1: DataView, delta: 1 | -1, freed: FreedRuns | null): Op<void> {
  const table = allocate(image.clusterSize);
  const view = viewOf(table);
  for (let at = 0; at < l1.byteLength; at += 8) {
    const l2 = offsetOf(l1.getUint32(at), l1.getUint32(at + 4));
    if (l2 === 0) continue;
    yield* readTable(image, l2, table);
    yield* updateEntries(image, view, delta, freed);
    yield* updateRun(image, l2 / image.clusterSize, 1, delta, freed);
  }
}

function* updateEntries(image: Qcow2, view: DataView, delta: 1 | -1, freed: FreedRuns | null): Op<void> {
  const { clusterSize, entrySize, clusterBits } = image;
  const sectorBits = clusterBits - 8;
  const offsetHiBits = 62 - sectorBits - 32;
  let first = -1;
  let count = 0;
  for (let at = 0; at < clusterSize; at += entrySize) {
    const hi = view.getUint32(at);
    const lo = view.getUint32(at + 4);
    if (hi === 0 && lo === 0) continue;
    let cluster: number;
    let clusters = 1;
    if ((hi & COMPRESSED_HI) !== 0) {
      const host = ((hi & ((1 << offsetHiBits) - 1)) >>> 0) * 4294967296 + lo;
      const length = (((hi & 0x3fffffff) >>> offsetHiBits) + 1) * 512 - (host % 512);
      cluster = Math.floor(host / clusterSize);
      clusters = Math.floor((host + length - 1) / clusterSize) - cluster + 1;
    } else {
      const host = offsetOf(hi, lo);
      if (host === 0) continue;
      if (host % clusterSize !== 0) throw image.corruption(`Cluster allocation offset 0x${host.toString(16)} unaligned`, host);
      cluster = host / clusterSize;
    }
    if (cluster === first + count && first >= 0) count += clusters;
    else {
      if (first >= 0) yield* updateRun(image, first, count, delta, freed);
      first = cluster;
      count = clusters;
    }
  }
  if (first >= 0) yield* updateRun(image, first, count, delta, freed);
}

export function* updateRun(image: Qcow2, first: number, count: number, delta: 1 | -1, freed: FreedRuns | null): Op<void> {
  const { allocator } = image;
  if (delta > 0 && allocator.blockOffset(Math.floor((first + count - 1) / allocator.blockEntries)) === 0) {
    // Refcounts of clusters in use exist already: a reference to somewhere else must not make the file grow without bound.
    throw image.corruption(`Reference to cluster ${first + count - 1}, which has no refcount`, first * image.clusterSize);
  }
  yield* allocator.update(first, count, delta);
  if (delta > 0 || freed === null || freed.runs.length === FreedRuns.MAX) return;
  yield* allocator.freeRuns(first, count, (from, clusters) => freed.add(from, clusters));
}

/** Takes the COPIED flags out of an L2 table; true when there were any. */
export function clearFlags(image: Qcow2, table: DataView): boolean {
  let changed = false;
  for (let at = 0; at < image.clusterSize; at += image.entrySize) {
    const hi = table.getUint32(at);
    if ((hi & COPIED_HI) === 0) continue;
    table.setUint32(at, (hi & ~COPIED_HI) >>> 0);
    changed = true;
  }
  return changed;
}

/** Makes the COPIED flags of an L2 table agree with the refcounts; true when any changed. */
export function* adjustFlags(image: Qcow2, table: DataView): Op<boolean> {
  const { allocator, kernel, clusterSize, entrySize } = image;
  const { sliceEntries, order } = allocator;
  let changed = false;
  // Neighbouring entries mostly have their refcounts in one slice.
  let base = -1;
  let pointer = -1;
  for (let at = 0; at < clusterSize; at += entrySize) {
    const hi = table.getUint32(at);
    if ((hi & COMPRESSED_HI) !== 0) continue;
    const host = offsetOf(hi, table.getUint32(at + 4));
    if (host === 0) continue;
    const cluster = host / clusterSize;
    const index = cluster % sliceEntries;
    if (cluster - index !== base) {
      base = cluster - index;
      pointer = yield* allocator.slice(cluster);
    }
    const alone = pointer >= 0 && kernel.refGet(pointer, index, order) === 1;
    if (alone === ((hi & COPIED_HI) !== 0)) continue;
    table.setUint32(at, (alone ? hi | COPIED_HI : hi & ~COPIED_HI) >>> 0);
    changed = true;
  }
  return changed;
}

/** Puts an entry into an L1 table. */
export function setEntry(l1: DataView, index: number, l2: number, copied: boolean): void {
  writeU64BE(l1, index * 8, l2);
  if (copied) l1.setUint32(index * 8, (l1.getUint32(index * 8) | COPIED_HI) >>> 0);
}

/** Writes a table to fresh clusters, padded with zeros to whole sectors. */
export function* writeFresh(image: Qcow2, offset: number, bytes: Uint8Array): Op<void> {
  if (bytes.length === 0) return;
  const padded = allocate(alignUp(bytes.length, 512));
  padded.set(bytes);
  yield* writeGrow(image.file, padded, offset);
}

/** Space for a table of `bytes`, checked not to hit other metadata; 0 for a table of none. */
export function* placeFresh(image: Qcow2, bytes: number): Op<number> {
  if (bytes === 0) return 0;
  const clusters = Math.ceil(bytes / image.clusterSize);
  const offset = yield* image.allocator.allocate(clusters);
  yield* image.checkOverlap(offset, clusters * image.clusterSize, null);
  // Whatever was cached of the place in another life.
  image.l2.drop(offset, clusters * image.clusterSize);
  return offset;
}

/** The L1 table of a snapshot, after its place and size were judged. */
export function checkSnapshotL1(image: Qcow2, snapshot: { l1Offset: number; l1Entries: number }, most: number): void {
  const bad = (text: string): BlockError =>
    new BlockError("ERR_CORRUPT", text, { errno: "EINVAL", node: image.node.nodeName, offset: snapshot.l1Offset });
  if (snapshot.l1Entries * 8 > most)
    throw new BlockError("ERR_TOO_LARGE", "Snapshot L1 table too large", { errno: "EFBIG", node: image.node.nodeName });
  if (snapshot.l1Offset % image.clusterSize !== 0 || !Number.isFinite(snapshot.l1Offset))
    throw bad("Snapshot L1 table offset invalid");
  if (snapshot.l1Entries > 0 && snapshot.l1Offset >= image.file.size) throw bad("Snapshot L1 table offset invalid");
}
