/** Rewriting a snapshot table whose entries lack the fields that version 3 of the format needs. */
import { viewOf, writeU64BE } from "../../base/bytes.js";
import { alignUp } from "../../base/int.js";
import { writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { NEEDED_EXTRA, parseEntries, type CheckedSnapshots } from "./check-snapshots.js";
import type { CheckState } from "./check-state.js";

/** With the instruction count, which is not known: what new entries have. */
const FULL_EXTRA = 24;

/** The refcounts are right by now: the new table is written to fresh clusters before the header points to it. */
export function* repairSnapshotTable(state: CheckState, snapshots: CheckedSnapshots): Op<void> {
  const { image } = state;
  const old = snapshots.table;
  const oldView = viewOf(old);
  const entries = parseEntries(state, old, image.header.snapshotCount) ?? [];
  let length = 0;
  for (const { at, end, extra } of entries)
    length = alignUp(length, 8) + (end - at) + (extra < NEEDED_EXTRA ? FULL_EXTRA - extra : 0);
  const table = new Uint8Array(length);
  const view = viewOf(table);
  let to = 0;
  for (const { at, end, extra, idAt } of entries) {
    to = alignUp(to, 8);
    const head = idAt - at;
    table.set(old.subarray(at, idAt), to);
    let grown = head;
    if (extra < NEEDED_EXTRA) {
      // VM state size as the old field has it unless the new one was there; the disk was as large as it is now.
      if (extra < 8) writeU64BE(view, to + 40, oldView.getUint32(at + 32));
      writeU64BE(view, to + 48, image.size);
      table.fill(0xff, to + 56, to + 64);
      view.setUint32(to + 36, FULL_EXTRA);
      grown = 40 + FULL_EXTRA;
    }
    table.set(old.subarray(idAt, end), to + grown);
    to += grown + (end - idAt);
  }
  const clusters = Math.ceil(table.length / image.clusterSize);
  const oldOffset = image.header.snapshotsOffset;
  const offset = yield* image.allocator.allocate(clusters);
  yield* image.checkOverlap(offset, clusters * image.clusterSize, null);
  yield* image.allocator.writeBack();
  const padded = new Uint8Array(alignUp(table.length, 512));
  padded.set(table);
  yield* writeGrow(image.file, padded, offset);
  yield* image.barrier();
  image.header.snapshotsOffset = offset;
  yield* image.writeHeader();
  yield* image.barrier();
  if (oldOffset > 0) image.allocator.free(oldOffset, snapshots.bytes, "other");
  yield* image.allocator.releaseFreed();
  yield* image.allocator.writeBack();
  yield* image.barrier();
  state.corruptionsFixed += state.corruptions.snapshots;
  state.corruptions.snapshots = 0;
}
