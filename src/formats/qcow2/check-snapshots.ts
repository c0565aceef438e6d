/** The snapshot table as a check sees it: where the L1 tables of snapshots are, and which entries want mending. */
import { prefixError } from "../../base/error.js";
import { viewOf } from "../../base/bytes.js";
import type { Op } from "../../block/op.js";
import { hex64, type CheckState } from "./check-state.js";
import { MAX_L1_BYTES, MAX_SNAPSHOTS } from "./layout.js";
import { MAX_EXTRA, NEEDED_EXTRA, readSnapshotTable, tooBig, type Snapshot, type TableRepair } from "./snapshot-table.js";

export interface CheckedSnapshots {
  /** All that can be kept, in order. */
  readonly kept: readonly Snapshot[];
  /** Those whose L1 tables can be walked. */
  readonly usable: readonly Snapshot[];
  /** Bytes of the table as it is, up to the end of the last entry that is kept. */
  readonly bytes: number;
  /** Entries beyond what a table can have: a repair drops them. */
  readonly overhanging: number;
  /** Entries that a repair writes in another form. */
  readonly mendable: number;
}

/** Reads and judges the snapshot table. @throws BlockError when it cannot be read at all, or only by a repair */
export function* readSnapshots(state: CheckState): Op<CheckedSnapshots> {
  const { image } = state;
  const { header } = image;
  const { snapshotCount: count, snapshotsOffset: offset } = header;
  if (count === 0) return { kept: [], usable: [], bytes: 0, overhanging: 0, mendable: 0 };
  const repairing = state.options.fix === "all";
  if (count > MAX_SNAPSHOTS && !repairing) throw tooBig("ERROR snapshot table too large", count - MAX_SNAPSHOTS, 60);
  if (offset % image.clusterSize !== 0 || !Number.isFinite(offset)) throw state.fail("ERROR snapshot table offset invalid", 64);
  let overhanging = 0;
  let mendable = 0;
  const drop = (dropped: number, why: string): void => {
    overhanging += dropped;
    state.corruption("snapshots", `Discarding ${dropped} overhanging snapshots${why}`, offset);
    state.corruptions.snapshots += dropped - 1;
  };
  const repair: TableRepair = {
    extraCut(index, extra) {
      mendable++;
      const text = `Discarding too much extra metadata in snapshot table entry ${index} (${extra} > ${MAX_EXTRA})`;
      state.corruption("snapshots", text, offset);
    },
    overhanging: (dropped) => drop(dropped, " (snapshot table is too big)"),
  };
  if (count > MAX_SNAPSHOTS) drop(count - MAX_SNAPSHOTS, "");
  const { snapshots, bytes } = yield* readTable(state, Math.min(count, MAX_SNAPSHOTS), repairing ? repair : undefined);
  if (image.hasDataFile) state.corruption("entries", `ERROR ${count} snapshots in image with data file`);
  const usable = snapshots.filter((snapshot, index) => {
    if (header.version >= 3 && viewOf(snapshot.bytes).getUint32(36) < NEEDED_EXTRA) {
      mendable++;
      state.corruption("snapshots", `${repairing ? "Repairing" : "ERROR"} snapshot table entry ${index} is incomplete`, offset);
    }
    return isUsable(state, snapshot);
  });
  return { kept: snapshots, usable, bytes, overhanging, mendable };
}

function* readTable(
  state: CheckState,
  snapshotCount: number,
  repair: TableRepair | undefined,
): ReturnType<typeof readSnapshotTable> {
  const { file, header } = state.image;
  try {
    return yield* readSnapshotTable(file, { ...header, snapshotCount }, repair);
  } catch (error) {
    throw prefixError("ERROR failed to read the snapshot table: ", error);
  }
}

function isUsable(state: CheckState, { id, name, l1Entries, bytes }: Snapshot): boolean {
  const view = viewOf(bytes);
  const wrong = (text: string): boolean => {
    state.corruption("entries", `ERROR snapshot ${id} (${name}) ${text}; snapshot table entry corrupted`);
    return false;
  };
  if (view.getUint32(4) % state.image.clusterSize !== 0)
    return wrong(`l1_offset=0x${hex64(view.getUint32(0), view.getUint32(4))}: L1 table is not cluster aligned`);
  if (l1Entries * 8 > MAX_L1_BYTES) return wrong(`l1_size=0x${l1Entries.toString(16)}: L1 table is too large`);
  return true;
}
