/**
 * Emptying an image after its content went into its backing file: an empty L1 table takes the place of the active one with one write
 * of the header, so that a crash leaves everything or nothing. Then the clusters are given back, and where nothing else holds the
 * image together (no snapshots) what is left moves to the front and the file shrinks.
 */
import { allocate } from "../../base/allocate.js";
import { divCeil } from "../../base/int.js";
import { debugEvent } from "../../block/debug.js";
import { discard, writeZeroes } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { readEntry } from "./entries.js";
import type { Qcow2 } from "./image.js";
import { Autoclear } from "./layout.js";
import { replaceRefcounts } from "./replace-refcounts.js";
import { trimFile } from "./resize.js";
import { offsetOf, placeFresh, writeFresh } from "./snapshot-tables.js";
import { releaseEntry } from "./write.js";

export function* makeEmpty(image: Qcow2): Op<void> {
  const { requests } = image.node;
  const lease = yield* requests.acquire(0, Math.max(image.size, 1), 1);
  try {
    const release = yield* image.lock.acquire();
    try {
      yield* image.markCorrupt();
      yield* image.beginModifying();
      yield* dropContent(image);
      yield* image.flushLocked();
      yield* image.flushLocked();
      if (image.header.snapshotCount === 0 && !image.allocator.hasPendingFrees) yield* compact(image);
      yield* trimFile(image);
    } finally {
      release();
    }
  } finally {
    requests.release(lease);
  }
}

function* dropContent(image: Qcow2): Op<void> {
  const { header, clusterSize } = image;
  // Raw external data reads as zeros where the image says nothing.
  if (image.hasDataFile && (header.autoclear.lo & Autoclear.rawDataFile) !== 0) {
    const length = Math.min(image.size, image.dataFile.size);
    if (length > 0) yield* writeZeroes(image.dataFile, 0, length, { mayUnmap: true });
  }
  yield* image.flushLocked();
  yield* debugEvent(image.file, "empty_image_prepare");
  const old = image.l1;
  const oldView = image.l1View;
  const oldOffset = header.l1Offset;
  if (old.every((byte) => byte === 0)) return;
  const empty = allocate(old.length);
  yield* switchL1(image, empty);
  for (let index = 0; index < old.length / 8; index++) {
    const l2 = offsetOf(oldView.getUint32(index * 8), oldView.getUint32(index * 8 + 4));
    if (l2 === 0) continue;
    yield* releaseTable(image, l2);
    image.l2.drop(l2, clusterSize);
    image.allocator.free(l2, clusterSize, "other");
    // What is freed is taken off now and then, so that the list of it stays short.
    if (index % 16 === 15) yield* image.flushLocked();
  }
  image.allocator.free(oldOffset, old.length, "other");
  if (image.hasDataFile && image.dataFile.size > 0) yield* discard(image.dataFile, 0, image.dataFile.size);
}

function* releaseTable(image: Qcow2, l2: number): Op<void> {
  const size = image.l2.slotSize;
  for (let at = 0; at < image.clusterSize; at += size) {
    const pointer = yield* image.l2.get(l2 + at, true);
    for (let index = 0; index < image.sliceEntries; index++) {
      const entry = readEntry(image, pointer, index);
      if (entry.host !== 0) releaseEntry(image, entry, "request");
    }
  }
}

/** Puts an L1 table, which is written to a new place first, in the place of the active one. */
function* switchL1(image: Qcow2, table: Uint8Array): Op<void> {
  const offset = yield* placeFresh(image, table.length);
  yield* writeFresh(image, offset, table);
  yield* image.allocator.writeBack();
  yield* image.barrier();
  yield* image.updateHeader({ l1Offset: offset });
  // In force from here on, though the barrier should fail.
  image.replaceL1(table);
  yield* image.barrier();
}

/** Moves refcount structures and L1 table to the front of the file. */
function* compact(image: Qcow2): Op<void> {
  const { header } = image;
  yield* image.allocator.writeBack();
  yield* image.barrier();
  yield* replaceRefcounts(image, header.refcountOrder);
  const { l1Offset } = header;
  const length = divCeil(image.l1.length, image.clusterSize) * image.clusterSize;
  if (length === 0) return;
  const offset = yield* image.allocator.allocate(length / image.clusterSize);
  yield* image.allocator.undo(offset, length);
  if (offset >= l1Offset) return;
  yield* switchL1(image, image.l1.slice());
  image.allocator.free(l1Offset, length, "other");
  yield* image.flushLocked();
  yield* image.flushLocked();
}
