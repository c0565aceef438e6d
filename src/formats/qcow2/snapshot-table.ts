/**
 * The snapshot table: a list of entries of variable length, each with the L1 table of a snapshot and what a user calls it.
 *
 * Entries are kept byte for byte where we do not understand them (extra data of later versions), so that writing the table back
 * loses nothing.
 */
import { BlockError } from "../../base/error.js";
import { encodeText, readText, readU64BE, viewOf, writeU64BE } from "../../base/bytes.js";
import { alignUp } from "../../base/int.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import type { SnapshotInfo } from "../../block/types.js";
import type { Header } from "./header.js";
import { MAX_SNAPSHOT_TABLE_BYTES } from "./layout.js";

export interface Snapshot {
  /** Host offset of its L1 table; Infinity when that is none we can reach. */
  readonly l1Offset: number;
  readonly l1Entries: number;
  readonly id: string;
  readonly name: string;
  /** Size of the disk at that time, in bytes. */
  readonly diskSize: number;
  /** Bytes of saved VM state. */
  readonly vmStateSize: number;
  /** The entry as it is in the table, without padding. */
  readonly bytes: Uint8Array;
}

const ENTRY = 40;
const MAX_EXTRA = 1024;
/** VM state size and disk size: what snapshots of a version 3 image must say. */
export const NEEDED_EXTRA = 16;
/** Extra data we write: VM state size, disk size, instruction count. */
const EXTRA = 24;

/** Reads the table. `diskSize` is what entries without one (version 2) mean. */
export function* readSnapshotTable(file: Node, header: Header): Op<{ snapshots: Snapshot[]; bytes: number }> {
  const { snapshotCount: count, snapshotsOffset: offset, size } = header;
  // In growing pieces, as far as the entries ask for it; behind the end of the file there are zeros.
  const most = MAX_SNAPSHOT_TABLE_BYTES;
  if (count === 0) return { snapshots: [], bytes: 0 };
  for (let length = Math.min(most, 65536); ; length = Math.min(most, length * 8)) {
    const table = yield* readBytes(file, offset, length);
    const snapshots: Snapshot[] = [];
    let at = 0;
    while (snapshots.length < count) {
      const entry = entryAt(table, at, snapshots.length);
      if (entry === null) break;
      snapshots.push(decode(entry, size));
      at = alignUp(at + entry.length, 8);
    }
    if (snapshots.length === count) return { snapshots, bytes: Math.min(at, length) };
    if (length === most) throw new BlockError("ERR_TOO_LARGE", "Snapshot table is too big", { errno: "EFBIG", offset });
  }
}

function entryAt(table: Uint8Array, at: number, index: number): Uint8Array | null {
  if (at + ENTRY > table.length) return null;
  const view = viewOf(table);
  const extra = view.getUint32(at + 36);
  if (extra > MAX_EXTRA)
    throw new BlockError("ERR_CORRUPT", `Too much extra metadata in snapshot table entry ${index}`, { offset: at });
  const end = at + ENTRY + extra + view.getUint16(at + 12) + view.getUint16(at + 14);
  return end > table.length ? null : table.slice(at, end);
}

function decode(bytes: Uint8Array, imageSize: number): Snapshot {
  const view = viewOf(bytes);
  const extra = view.getUint32(36);
  const idAt = ENTRY + extra;
  const nameAt = idAt + view.getUint16(12);
  return {
    l1Offset: readU64BE(view, 0),
    l1Entries: view.getUint32(8),
    id: readText(bytes.subarray(idAt, nameAt)),
    name: readText(bytes.subarray(nameAt)),
    diskSize: extra >= 16 ? readU64BE(view, 48) : imageSize,
    vmStateSize: extra >= 8 ? readU64BE(view, 40) : view.getUint32(32),
    bytes,
  };
}

export interface NewSnapshot {
  id: string;
  name: string;
  l1Offset: number;
  l1Entries: number;
  diskSize: number;
  vmStateSize: number;
  dateSec: number;
  dateNsec: number;
  vmClockNsec: number;
  icount: number | undefined;
}

/** The entry of a new snapshot, in the form that both versions understand. */
export function newSnapshot(given: NewSnapshot): Snapshot {
  const id = encodeText(given.id);
  const name = encodeText(given.name);
  if (id.length > 0xffff || name.length > 0xffff)
    throw new BlockError("ERR_INVALID_ARGUMENT", "The name of the snapshot is too long");
  const bytes = new Uint8Array(ENTRY + EXTRA + id.length + name.length);
  const view = viewOf(bytes);
  writeU64BE(view, 0, given.l1Offset);
  view.setUint32(8, given.l1Entries);
  view.setUint16(12, id.length);
  view.setUint16(14, name.length);
  view.setUint32(16, given.dateSec);
  view.setUint32(20, given.dateNsec);
  writeU64BE(view, 24, given.vmClockNsec);
  view.setUint32(32, Math.min(given.vmStateSize, 0xffffffff));
  view.setUint32(36, EXTRA);
  writeU64BE(view, 40, given.vmStateSize);
  writeU64BE(view, 48, given.diskSize);
  if (given.icount === undefined) bytes.fill(0xff, 56, 64);
  else writeU64BE(view, 56, given.icount);
  bytes.set(id, ENTRY + EXTRA);
  bytes.set(name, ENTRY + EXTRA + id.length);
  return decode(bytes, given.diskSize);
}

export function encodeSnapshotTable(snapshots: readonly Snapshot[]): Uint8Array {
  let length = 0;
  for (const { bytes } of snapshots) length = alignUp(length, 8) + bytes.length;
  if (length > MAX_SNAPSHOT_TABLE_BYTES) throw new BlockError("ERR_TOO_LARGE", "Snapshot table is too big", { errno: "EFBIG" });
  const table = new Uint8Array(length);
  let at = 0;
  for (const { bytes } of snapshots) {
    at = alignUp(at, 8);
    table.set(bytes, at);
    at += bytes.length;
  }
  return table;
}

/** The entry with what version 3 needs to be there; version 2 programs read it as well. */
export function withExtra(snapshot: Snapshot): Snapshot {
  const old = snapshot.bytes;
  const extra = viewOf(old).getUint32(36);
  if (extra >= EXTRA) return snapshot;
  const bytes = new Uint8Array(old.length - extra + EXTRA);
  const view = viewOf(bytes);
  bytes.set(old.subarray(0, ENTRY));
  view.setUint32(36, EXTRA);
  writeU64BE(view, ENTRY, snapshot.vmStateSize);
  writeU64BE(view, ENTRY + 8, snapshot.diskSize);
  bytes.fill(0xff, ENTRY + 16, ENTRY + EXTRA); // instruction count: not known
  bytes.set(old.subarray(ENTRY + extra), ENTRY + EXTRA);
  return { ...snapshot, bytes };
}

/** What a user is told of a snapshot. */
export function snapshotInfo(snapshot: Snapshot): SnapshotInfo {
  const view = viewOf(snapshot.bytes);
  const clock = secondsOf(view.getUint32(24), view.getUint32(28));
  const info: SnapshotInfo = {
    id: snapshot.id,
    name: snapshot.name,
    "vm-state-size": snapshot.vmStateSize,
    "date-sec": view.getUint32(16),
    "date-nsec": view.getUint32(20),
    "vm-clock-sec": clock.seconds,
    "vm-clock-nsec": clock.nanoseconds,
  };
  // All ones: not known.
  if (view.getUint32(36) >= EXTRA && !(view.getUint32(56) === 0xffffffff && view.getUint32(60) === 0xffffffff)) {
    const icount = readU64BE(view, 56);
    if (Number.isFinite(icount)) info.icount = icount;
  }
  return info;
}

/** 64 bits of nanoseconds, divided 16 bits at a time so that no step leaves the safe integers. */
function secondsOf(hi: number, lo: number): { seconds: number; nanoseconds: number } {
  let seconds = 0;
  let rest = 0;
  for (const part of [hi >>> 16, hi & 0xffff, lo >>> 16, lo & 0xffff]) {
    const value = rest * 65536 + part;
    seconds = seconds * 65536 + Math.floor(value / 1e9);
    rest = value % 1e9;
  }
  return { seconds, nanoseconds: rest };
}
