/**
 * Repairing the snapshot table: entries beyond what a table can have go, extra data beyond what an entry can have is cut, and what
 * version 3 of the format needs is added.
 */
import type { Op } from "../../block/op.js";
import type { Census } from "./census.js";
import type { CheckedSnapshots } from "./check-snapshots.js";
import type { CheckState } from "./check-state.js";
import { encodeSnapshotTable, WITH_EXTRA } from "./snapshot-table.js";
import { placeFresh, writeFresh } from "./snapshot-tables.js";

/** Before refcounts are looked at: what the last entries refer to does not count any more. */
export function* dropOverhanging(state: CheckState, { kept, overhanging }: CheckedSnapshots): Op<void> {
  if (overhanging === 0) return;
  const { image } = state;
  yield* image.updateHeader({ snapshotCount: kept.length });
  yield* image.barrier();
  state.corruptions.snapshots -= overhanging;
  state.corruptionsFixed += overhanging;
}

/** The refcounts are right by now: the new table is written to fresh clusters before the header points to it. */
export function* repairSnapshotTable(census: Census, snapshots: CheckedSnapshots): Op<void> {
  const { image, state } = census;
  const old = image.header.snapshotsOffset;
  const bytes = encodeSnapshotTable(snapshots.kept, WITH_EXTRA);
  const offset = yield* placeFresh(image, bytes.length);
  yield* writeFresh(image, offset, bytes);
  yield* image.allocator.writeBack();
  yield* image.barrier();
  yield* image.updateHeader({ snapshotsOffset: offset });
  yield* image.barrier();
  // A table that goes on far behind the end of the file was not counted.
  if (!census.isOutside(old, snapshots.bytes)) image.allocator.free(old, snapshots.bytes, "other");
  yield* image.allocator.releaseFreed();
  yield* image.allocator.writeBack();
  yield* image.barrier();
  state.corruptionsFixed += state.corruptions.snapshots;
  state.corruptions.snapshots = 0;
}
