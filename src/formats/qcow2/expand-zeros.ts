/**
 * Zero clusters become ordinary ones, in the active layer and in all snapshots: version 2 has no zero clusters.
 *
 * Tables are read and written where they are; the zeros are on disk, and counted, before an entry says that they are data.
 */
import { allocate } from "../../base/allocate.js";
import { viewOf, writeU64BE } from "../../base/bytes.js";
import { readBytes, writeGrow, zeroGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import type { Qcow2 } from "./image.js";
import { COMPRESSED_HI, COPIED_HI, MAX_L1_BYTES, OFFSET_HI, OFFSET_LO, ZERO_LO } from "./layout.js";
import { readSnapshotTable } from "./snapshot-table.js";
import { checkSnapshotL1, offsetOf, readTable } from "./snapshot-tables.js";
import type { Progress } from "./replace-refcounts.js";

/** Every L1 table of the image, the active one first. Nothing is dirty; the lock is held. */
function* allL1Tables(image: Qcow2): Op<Uint8Array[]> {
  const tables = [image.l1];
  for (const snapshot of (yield* readSnapshotTable(image.file, image.header)).snapshots) {
    checkSnapshotL1(image, snapshot, MAX_L1_BYTES);
    tables.push(yield* readBytes(image.file, snapshot.l1Offset, snapshot.l1Entries * 8));
  }
  return tables;
}

/** Whether there is a compressed cluster anywhere. */
export function* hasCompressedClusters(image: Qcow2): Op<boolean> {
  const table = allocate(image.clusterSize);
  const view = viewOf(table);
  for (const l1 of yield* allL1Tables(image)) {
    const l1View = viewOf(l1);
    for (let at = 0; at < l1.length; at += 8) {
      const l2 = offsetOf(l1View.getUint32(at), l1View.getUint32(at + 4));
      if (l2 === 0) continue;
      yield* readTable(image, l2, table);
      for (let i = 0; i < table.length; i += image.entrySize) if ((view.getUint32(i) & COMPRESSED_HI) !== 0) return true;
    }
  }
  return false;
}

/** The lock is held and nothing is dirty; nothing is dirty afterwards. Progress counts L1 entries. */
export function* expandZeroClusters(image: Qcow2, progress: Progress): Op<void> {
  const tables = yield* allL1Tables(image);
  const total = tables.reduce((sum, l1) => sum + l1.length / 8, 0);
  let visited = 0;
  const bytes = allocate(image.clusterSize);
  try {
    for (const l1 of tables) {
      const view = viewOf(l1);
      for (let at = 0; at < l1.length; at += 8) {
        const l2 = offsetOf(view.getUint32(at), view.getUint32(at + 4));
        if (l2 !== 0) {
          yield* readTable(image, l2, bytes);
          if (yield* expandTable(image, l2, bytes)) {
            yield* image.allocator.writeBack();
            yield* image.barrier();
            yield* writeGrow(image.file, bytes, l2);
            yield* image.barrier();
            yield* image.allocator.releaseFreed();
          }
        }
        progress(++visited, total);
      }
    }
  } finally {
    image.l2.dropAll();
  }
}

/** Changes the entries of one table in memory; true when there was something to change. */
function* expandTable(image: Qcow2, l2: number, bytes: Uint8Array): Op<boolean> {
  const { clusterSize, allocator } = image;
  const view = viewOf(bytes);
  const backed = image.node.backing !== null || image.header.backingFile !== null;
  let sharers = 0;
  let changed = false;
  for (let at = 0; at < bytes.length; at += 8) {
    const hi = view.getUint32(at);
    const lo = view.getUint32(at + 4);
    if ((hi & COMPRESSED_HI) !== 0 || (lo & ZERO_LO) === 0) continue;
    changed = true;
    const host = (hi & OFFSET_HI) * 4294967296 + ((lo & OFFSET_LO) >>> 0);
    if (host === 0 && !backed) {
      writeU64BE(view, at, 0);
      continue;
    }
    if (host % clusterSize !== 0)
      throw image.corruption(
        `Cluster allocation offset 0x${host.toString(16)} unaligned (L2 offset: 0x${l2.toString(16)}, L2 index: 0x${(at / 8).toString(16)})`,
        host,
      );
    if (sharers === 0) sharers = Math.max(1, yield* allocator.refcount(l2 / clusterSize));
    // The reserved cluster may still be data of somebody else, who must not find zeros there.
    const reuse = host !== 0 && (yield* allocator.refcount(host / clusterSize)) <= sharers;
    let to = host;
    if (!reuse) {
      to = yield* allocator.allocate(1);
      for (let i = 1; i < sharers; i++) yield* allocator.update(to / clusterSize, 1, 1);
      if (host !== 0) for (let i = 0; i < sharers; i++) allocator.free(host, clusterSize, "other");
    }
    yield* image.checkOverlap(to, clusterSize, null);
    yield* zeroGrow(image.file, to, clusterSize);
    image.barrierNeeded = true;
    writeU64BE(view, at, to);
    if (reuse ? (hi & COPIED_HI) !== 0 : sharers === 1) view.setUint32(at, (view.getUint32(at) | COPIED_HI) >>> 0);
  }
  return changed;
}
