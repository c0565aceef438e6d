/**
 * Guest writes: plan (allocate), the chokepoint moves the data, then link. Until `commitWrite` nothing points at fresh clusters;
 * `abortWrite` takes them back.
 */
import { alignDown, alignUp } from "../../base/int.js";
import type { WritePiece, WritePlan } from "../../block/driver.js";
import type { Op } from "../../block/op.js";
import { type Entry, readEntry, sliceForWrite, writeEntry, writeNewEntries } from "./entries.js";
import type { Qcow2 } from "./image.js";
import { COMPRESSED_HI, COPIED_HI, OFFSET_HI, OFFSET_LO } from "./layout.js";

/** A piece of fresh space with what to link it with. */
interface FreshPiece extends WritePiece {
  /** The clusters were allocated by this plan (else they were there: reserved zero clusters, free subclusters). */
  allocated: boolean;
}

/** Guest bytes one plan covers at most: bounds what a failure leaks and how long the lock is held. */
const PLAN_LIMIT = 16 * 1024 * 1024;

export function* prepareWrite(image: Qcow2, offset: number, length: number): Op<WritePlan> {
  const release = yield* image.lock.acquire();
  try {
    yield* image.markCorrupt();
    yield* image.beginModifying();
    const end = Math.min(
      offset + length,
      alignDown(offset, image.sliceCoverage) + image.sliceCoverage,
      alignDown(offset, image.clusterSize) + PLAN_LIMIT,
    );
    const plan: WritePlan = { length: end - offset, pieces: [] };
    const pieces: FreshPiece[] = [];
    try {
      yield* planRange(image, offset, end, pieces);
    } catch (error) {
      yield* undoAllocations(image, pieces);
      throw error;
    }
    plan.pieces = pieces;
    return plan;
  } finally {
    release();
  }
}

/** [offset, end) lies in one slice: its table is found once, and again only behind what may have moved it. */
function* planRange(image: Qcow2, offset: number, end: number, pieces: FreshPiece[]): Op<void> {
  const size = image.clusterSize;
  let at = offset;
  while (at < end) {
    const pointer = yield* sliceForWrite(image, at);
    const first = alignDown(at, size);
    const from = image.sliceIndex(at);
    const limit = image.sliceIndex(end - 1) + 1;
    const host = ownHost(image, pointer, from);
    const own = host >= 0;
    // All clusters of one kind that follow: our own as far as they are in a row, or those that need space, which get it in one run.
    let index = from + 1;
    while (
      index < limit &&
      (own ? ownHost(image, pointer, index) === host + (index - from) * size : ownHost(image, pointer, index) < 0)
    )
      index++;
    const count = index - from;
    const stop = Math.min(end, first + count * size);
    if (own) {
      const entries: Entry[] = [];
      for (let i = from; i < index; i++) entries.push(readEntry(image, pointer, i));
      if (!image.hasDataFile) yield* image.checkOverlap(host, count * size, null);
      planOwn(image, entries, at, stop, pieces);
    } else {
      yield* planFresh(image, at, stop, first, count, pieces);
    }
    at = stop;
  }
}

function planOwn(image: Qcow2, entries: readonly Entry[], at: number, stop: number, pieces: FreshPiece[]): void {
  const size = image.clusterSize;
  for (const entry of entries) {
    const clusterEnd = Math.min(stop, alignDown(at, size) + size);
    planInPlace(image, entry, at, clusterEnd, pieces);
    at = clusterEnd;
  }
}

/** Offset of the host cluster of an entry that nobody shares; -1 when there is none. */
function ownHost(image: Qcow2, pointer: number, index: number): number {
  const { view } = image.kernel;
  const at = pointer + index * image.entrySize;
  const hi = view.getUint32(at);
  if ((hi & COPIED_HI) === 0 || (hi & COMPRESSED_HI) !== 0) return -1;
  const host = (hi & OFFSET_HI) * 4294967296 + ((view.getUint32(at + 4) & OFFSET_LO) >>> 0);
  // With an external data file offset 0 is a place like any other.
  return host !== 0 || image.hasDataFile ? host : -1;
}

/** Has a host cluster that nobody shares. */
function isOwn(image: Qcow2, entry: Entry): boolean {
  if (entry.kind === "compressed") return false;
  const placed = entry.host !== 0 || (image.hasDataFile && entry.copied);
  return placed && entry.copied;
}

function planInPlace(image: Qcow2, entry: Entry, at: number, stop: number, pieces: FreshPiece[]): void {
  const within = at % image.clusterSize;
  const unit = image.subclusterSize;
  const stored = (guest: number): boolean =>
    image.extended ? ((entry.allocated >>> Math.floor((guest % image.clusterSize) / unit)) & 1) !== 0 : entry.kind === "data";
  // Edges that have no content of their own yet are filled up to their (sub)cluster.
  const from = stored(at) ? at : alignDown(at, unit);
  const to = stored(stop - 1) ? stop : alignUp(stop, unit);
  let fresh = from !== at || to !== stop;
  for (let guest = at; guest < stop && !fresh; guest = alignDown(guest, unit) + unit) fresh = !stored(guest);
  const host = entry.host + within - (at - from);
  const last = pieces[pieces.length - 1];
  if (
    last !== undefined &&
    last.fresh === fresh &&
    !last.allocated &&
    last.start + last.length === from &&
    last.host + last.length === host
  ) {
    last.length += to - from;
    return;
  }
  pieces.push({ start: from, length: to - from, file: image.dataFile, host, fresh, allocated: false });
}

function* planFresh(image: Qcow2, at: number, stop: number, first: number, clusters: number, pieces: FreshPiece[]): Op<void> {
  const size = image.clusterSize;
  let cluster = first;
  let left = clusters;
  while (left > 0) {
    let host: number;
    let got = left;
    if (image.hasDataFile) {
      host = cluster;
    } else {
      host = yield* image.allocator.allocate(left);
      got = left;
      yield* image.checkOverlap(host, got * size, null);
    }
    const from = Math.max(at, cluster);
    const to = Math.min(stop, cluster + got * size);
    const pointer = yield* sliceForWrite(image, cluster);
    const head = edgeStart(image, readEntry(image, pointer, image.sliceIndex(cluster)), from, cluster);
    const lastCluster = cluster + (got - 1) * size;
    const tail = edgeEnd(image, readEntry(image, pointer, image.sliceIndex(lastCluster)), to, lastCluster + size);
    pieces.push({
      start: head,
      length: tail - head,
      file: image.dataFile,
      host: host + (head - cluster),
      fresh: true,
      allocated: !image.hasDataFile,
    });
    cluster += got * size;
    left -= got;
  }
}

/** Where copying begins in the first cluster: whole clusters, or from the subcluster where nothing of the old content must come along. */
function edgeStart(image: Qcow2, entry: Entry, from: number, cluster: number): number {
  if (!image.extended || entry.kind === "compressed" || entry.kind === "data") return cluster;
  return alignDown(from, image.subclusterSize);
}
function edgeEnd(image: Qcow2, entry: Entry, to: number, clusterEnd: number): number {
  if (!image.extended || entry.kind === "compressed" || entry.kind === "data") return clusterEnd;
  return alignUp(to, image.subclusterSize);
}

export function* commitWrite(image: Qcow2, plan: WritePlan): Op<void> {
  const pieces = (plan.pieces as FreshPiece[]).filter((piece) => piece.fresh);
  if (pieces.length === 0) return;
  const release = yield* image.lock.acquire();
  try {
    for (const piece of pieces) yield* linkPiece(image, piece);
    image.barrierNeeded = true;
  } finally {
    release();
  }
}

function* linkPiece(image: Qcow2, piece: FreshPiece): Op<void> {
  const size = image.clusterSize;
  const end = piece.start + piece.length;
  for (let cluster = alignDown(piece.start, size); cluster < end;) {
    const pointer = yield* sliceForWrite(image, cluster);
    // Nothing yields below: the table stays where it is to the end of its slice.
    const stop = Math.min(end, alignDown(cluster, image.sliceCoverage) + image.sliceCoverage);
    let index = image.sliceIndex(cluster);
    if (!image.extended && piece.allocated) {
      const count = writeNewEntries(
        image,
        pointer,
        index,
        Math.ceil((stop - cluster) / size),
        piece.host + (cluster - piece.start),
      );
      index += count;
      cluster += count * size;
    }
    for (; cluster < stop; cluster += size) linkCluster(image, piece, pointer, index++, cluster);
  }
}

function linkCluster(image: Qcow2, piece: FreshPiece, pointer: number, index: number, cluster: number): void {
  const old = readEntry(image, pointer, index);
  const host = piece.host + (cluster - piece.start);
  const written = subclusterMask(
    image,
    Math.max(piece.start, cluster) - cluster,
    Math.min(piece.start + piece.length, cluster + image.clusterSize) - cluster,
  );
  if (!piece.allocated && isOwn(image, old)) {
    writeEntry(image, pointer, index, {
      host: old.host,
      copied: true,
      allocated: old.allocated | written,
      zeros: old.zeros & ~written,
    });
    return;
  }
  const keepBits = image.extended && old.kind !== "compressed" && old.kind !== "data";
  writeEntry(image, pointer, index, { host, copied: true, allocated: written, zeros: keepBits ? old.zeros & ~written : 0 });
  releaseEntry(image, old, "other");
}

function subclusterMask(image: Qcow2, from: number, to: number): number {
  if (!image.extended) return 0;
  const first = Math.floor(from / image.subclusterSize);
  const last = Math.ceil(to / image.subclusterSize);
  return (rangeMask(last) & ~rangeMask(first)) >>> 0;
}
const rangeMask = (bits: number): number => (bits >= 32 ? 0xffffffff : (1 << bits) - 1) >>> 0;

/** The reference an entry held is gone. */
export function releaseEntry(image: Qcow2, entry: Entry, reason: "request" | "snapshot" | "other"): void {
  if (entry.kind === "compressed") {
    image.allocator.free(entry.host, entry.compressedLength, reason);
    image.decompressed.clear();
  } else if (entry.host !== 0 && !image.hasDataFile) {
    image.allocator.free(entry.host, image.clusterSize, reason);
  }
}

export function* abortWrite(image: Qcow2, plan: WritePlan): Op<void> {
  const release = yield* image.lock.acquire();
  try {
    yield* undoAllocations(image, plan.pieces as FreshPiece[]);
  } finally {
    release();
  }
}

function* undoAllocations(image: Qcow2, pieces: readonly FreshPiece[]): Op<void> {
  const size = image.clusterSize;
  for (const piece of pieces) {
    if (!piece.allocated) continue;
    const within = piece.start % size;
    yield* image.allocator.undo(piece.host - within, alignUp(within + piece.length, size));
  }
}
