/** The snapshot table as a check sees it: where the L1 tables of snapshots are, and which entries are incomplete. */
import { BlockError } from "../../base/error.js";
import { readText, readU64BE, viewOf } from "../../base/bytes.js";
import { alignUp } from "../../base/int.js";
import { readBytes } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import type { CheckState } from "./check-state.js";
import { MAX_L1_BYTES, MAX_SNAPSHOTS, MAX_SNAPSHOT_TABLE_BYTES } from "./layout.js";

export interface CheckedSnapshot {
  readonly id: string;
  readonly name: string;
  readonly l1Offset: number;
  readonly l1Entries: number;
}

export interface CheckedSnapshots {
  /** Those whose L1 tables can be walked. */
  readonly usable: CheckedSnapshot[];
  /** Bytes of the table as it is. */
  readonly bytes: number;
  /** Entries in a version 3 image without the fields that version needs. */
  readonly incomplete: number;
  /** The table read, when `incomplete` is not 0. */
  readonly table: Uint8Array;
}

const ENTRY = 40;
const MAX_EXTRA = 1024;
/** VM state size and disk size: what a version 3 image must have. */
export const NEEDED_EXTRA = 16;

/** Offsets of the parts of the snapshot entry at `at`; null when it does not end inside the table. */
export interface SnapshotEntry {
  readonly at: number;
  readonly extra: number;
  readonly idAt: number;
  readonly nameAt: number;
  readonly end: number;
}

/** Reads and judges the snapshot table. @throws BlockError when it cannot be read at all */
export function* readSnapshots(state: CheckState): Op<CheckedSnapshots> {
  const { image } = state;
  const { snapshotCount: count, snapshotsOffset: offset } = image.header;
  const nothing: CheckedSnapshots = { usable: [], bytes: 0, incomplete: 0, table: new Uint8Array(0) };
  if (count === 0) return nothing;
  if (count > MAX_SNAPSHOTS) throw state.fail("ERROR snapshot table too large");
  if (offset % image.clusterSize !== 0 || !Number.isFinite(offset)) throw state.fail("ERROR snapshot table offset invalid", 64);
  const { table, entries } = yield* readTable(state, offset, count);
  const view = viewOf(table);
  const usable: CheckedSnapshot[] = [];
  let incomplete = 0;
  if (image.hasDataFile) state.corruption("entries", `ERROR ${count} snapshots in image with data file`);
  entries.forEach((entry, index) => {
    if (image.header.version >= 3 && entry.extra < NEEDED_EXTRA) {
      incomplete++;
      const fix = state.options.fix === "all";
      state.corruption(
        "snapshots",
        `${fix ? "Repairing" : "ERROR"} snapshot table entry ${index} is incomplete`,
        offset + entry.at,
      );
    }
    const snapshot: CheckedSnapshot = {
      id: readText(table.subarray(entry.idAt, entry.nameAt)),
      name: readText(table.subarray(entry.nameAt, entry.nameAt + view.getUint16(entry.at + 14))),
      l1Offset: readU64BE(view, entry.at),
      l1Entries: view.getUint32(entry.at + 8),
    };
    const label = `snapshot ${snapshot.id} (${snapshot.name})`;
    if (view.getUint32(entry.at + 4) % image.clusterSize !== 0) {
      state.corruption(
        "entries",
        `ERROR ${label} l1_offset=0x${hexAt(view, entry.at)}: L1 table is not cluster aligned; snapshot table entry corrupted`,
      );
    } else if (snapshot.l1Entries * 8 > MAX_L1_BYTES) {
      state.corruption(
        "entries",
        `ERROR ${label} l1_size=0x${snapshot.l1Entries.toString(16)}: L1 table is too large; snapshot table entry corrupted`,
      );
    } else usable.push(snapshot);
  });
  return { usable, bytes: table.length, incomplete, table: incomplete > 0 ? table : nothing.table };
}

/** The entries of the table, and its bytes up to the end of the last one. */
function* readTable(state: CheckState, offset: number, count: number): Op<{ table: Uint8Array; entries: SnapshotEntry[] }> {
  const { image } = state;
  // Read in growing pieces, as far as the entries ask for it; behind the end of the file there are zeros.
  const most = MAX_SNAPSHOT_TABLE_BYTES;
  let length = 64 * 1024;
  for (;;) {
    const table = yield* readBytes(image.file, offset, length);
    const entries = parseEntries(state, table, count);
    if (entries !== null)
      return { table: table.subarray(0, entries.length === 0 ? 0 : entries[entries.length - 1]!.end), entries };
    if (length === most) throw new BlockError("ERR_TOO_LARGE", "Snapshot table is too big", { errno: "EFBIG", offset });
    length = Math.min(most, length * 8);
  }
}

export function parseEntries(state: CheckState, table: Uint8Array, count: number): SnapshotEntry[] | null {
  const view = viewOf(table);
  const entries: SnapshotEntry[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    at = alignUp(at, 8);
    if (at + ENTRY > table.length) return null;
    const extra = view.getUint32(at + 36);
    if (extra > MAX_EXTRA) throw state.fail(`Too much extra metadata in snapshot table entry ${i}`, at);
    const idAt = at + ENTRY + extra;
    const nameAt = idAt + view.getUint16(at + 12);
    const end = nameAt + view.getUint16(at + 14);
    if (end > table.length) return null;
    entries.push({ at, extra, idAt, nameAt, end });
    at = end;
  }
  return entries;
}

function hexAt(view: DataView, at: number): string {
  const hi = view.getUint32(at);
  const lo = view.getUint32(at + 4);
  return hi === 0 ? lo.toString(16) : hi.toString(16) + lo.toString(16).padStart(8, "0");
}
