/**
 * The snapshot table: a list of entries of variable length, each with the L1 table of a snapshot and what a user calls it.
 *
 * Entries are kept byte for byte where we do not understand them (extra data of later versions), so that writing the table back
 * loses nothing.
 */
import { allocate } from "../../base/allocate.js";
import { BlockError } from "../../base/error.js";
import { encodeText, readText, readU64BE, viewOf, writeU64BE } from "../../base/bytes.js";
import { alignUp } from "../../base/int.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import type { SnapshotInfo } from "../../block/types.js";
import type { Header } from "./header.js";
import { MAX_SNAPSHOTS, MAX_SNAPSHOT_TABLE_BYTES } from "./layout.js";

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
/** Extra data of an entry, in bytes: what QEMU accepts. */
export const MAX_EXTRA = 1024;
/** VM state size and disk size: what snapshots of a version 3 image must say. */
export const NEEDED_EXTRA = 16;
/** Extra data we write: VM state size, disk size, instruction count. */
const EXTRA = 24;
/** Less than 2^53 by more than the entries of any table can claim to be long. */
const MAX_FILE_OFFSET = 2 ** 52;
/** Bytes read at once, at least. */
const PIECE = 64 * 1024;

/** What a repair leaves out of a table that goes beyond the limits. */
export interface TableRepair {
  /** Entry `index` says that it has `extra` bytes of extra data: only the first `MAX_EXTRA` are kept. */
  extraCut(index: number, extra: number): void;
  /** The table is too large: the last `count` entries are not kept. */
  overhanging(count: number): void;
}

/**
 * Reads the table; `bytes` is its length in the file, up to the end of the last entry that is kept. Behind the end of the file there
 * are zeros. With `repair` what goes beyond the limits is left out.
 * @throws BlockError ERR_TOO_LARGE (EFBIG) where it is not
 */
export function* readSnapshotTable(
  file: Node,
  header: Header,
  repair?: TableRepair,
): Op<{ snapshots: Snapshot[]; bytes: number }> {
  const { snapshotCount: count, snapshotsOffset: start, size } = header;
  if (count > MAX_SNAPSHOTS) throw new BlockError("ERR_TOO_LARGE", "Snapshot table too large", { offset: 60 });
  // All of the largest table must be within reach.
  if (count > 0 && !(start < MAX_FILE_OFFSET))
    throw new BlockError("ERR_CORRUPT", "Snapshot table offset invalid", { offset: 64 });
  const piece = new Piece(file);
  const snapshots: Snapshot[] = [];
  let end = start;
  let kept = 0;
  while (snapshots.length < count) {
    const at = alignUp(end, 8);
    const index = snapshots.length;
    const view = viewOf(yield* piece.get(at, ENTRY));
    const extra = view.getUint32(36);
    const names = view.getUint16(12) + view.getUint16(14);
    const cut = Math.min(extra, MAX_EXTRA);
    if (extra > MAX_EXTRA) {
      if (repair === undefined) throw tooMuchExtra(index, at);
      repair.extraCut(index, extra);
    }
    const length = alignUp(kept, 8) + ENTRY + cut + names;
    if (length > MAX_SNAPSHOT_TABLE_BYTES) {
      if (repair === undefined) throw tooBig("Snapshot table is too big", count - index, at);
      repair.overhanging(count - index);
      break;
    }
    const bytes =
      cut === extra ? yield* piece.get(at, ENTRY + extra + names) : yield* withoutExcess(piece, at, extra, cut, names);
    snapshots.push(decode(bytes, size));
    kept = length;
    end = at + ENTRY + extra + names;
  }
  return { snapshots, bytes: end - start };
}

/** A table of which a repair keeps what it can. */
export function tooBig(message: string, overhanging: number, offset: number): BlockError {
  return new BlockError("ERR_TOO_LARGE", message, {
    offset,
    hint: `You can force-remove all ${overhanging} overhanging snapshots with qemu-img check -r all`,
  });
}

function tooMuchExtra(index: number, offset: number): BlockError {
  return new BlockError("ERR_TOO_LARGE", `Too much extra metadata in snapshot table entry ${index}`, {
    offset,
    hint: "You can force-remove this extra metadata with qemu-img check -r all",
  });
}

function* withoutExcess(piece: Piece, at: number, extra: number, cut: number, names: number): Op<Uint8Array> {
  const bytes = allocate(ENTRY + cut + names);
  bytes.set(yield* piece.get(at, ENTRY + cut));
  bytes.set(yield* piece.get(at + ENTRY + extra, names), ENTRY + cut);
  viewOf(bytes).setUint32(36, cut);
  return bytes;
}

/** A part of the file in memory, moving on. What was got stays good: entries are views of the pieces they came in. */
class Piece {
  readonly #file: Node;
  #offset = 0;
  #bytes: Uint8Array = new Uint8Array(0);

  constructor(file: Node) {
    this.#file = file;
  }

  /** `length` bytes from `offset` on. */
  *get(offset: number, length: number): Op<Uint8Array> {
    if (offset < this.#offset || offset + length > this.#offset + this.#bytes.length) {
      this.#bytes = yield* readBytes(this.#file, offset, Math.max(PIECE, length));
      this.#offset = offset;
    }
    return this.#bytes.subarray(offset - this.#offset, offset - this.#offset + length);
  }
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
  const bytes = allocate(ENTRY + EXTRA + id.length + name.length);
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

/** How an entry is written: straight into its place in the table, as a damaged one may have 65,536. */
export interface EntryForm {
  /** Bytes. */
  lengthOf(snapshot: Snapshot): number;
  write(snapshot: Snapshot, into: Uint8Array): void;
}

const AS_READ: EntryForm = {
  lengthOf: ({ bytes }) => bytes.length,
  write: ({ bytes }, into) => into.set(bytes),
};

const extraOf = (bytes: Uint8Array): number => viewOf(bytes).getUint32(36);

/** With what version 3 needs to be there; version 2 programs read it as well. */
export const WITH_EXTRA: EntryForm = {
  lengthOf: ({ bytes }) => bytes.length + Math.max(0, EXTRA - extraOf(bytes)),
  write(snapshot, into) {
    const { bytes, vmStateSize, diskSize } = snapshot;
    const extra = extraOf(bytes);
    if (extra >= EXTRA) return AS_READ.write(snapshot, into);
    const view = viewOf(into);
    into.set(bytes.subarray(0, ENTRY));
    view.setUint32(36, EXTRA);
    writeU64BE(view, ENTRY, vmStateSize);
    writeU64BE(view, ENTRY + 8, diskSize);
    into.fill(0xff, ENTRY + 16, ENTRY + EXTRA); // instruction count: not known
    into.set(bytes.subarray(ENTRY + extra), ENTRY + EXTRA);
  },
};

/** The entry in that form. */
export function withExtra(snapshot: Snapshot): Snapshot {
  if (extraOf(snapshot.bytes) >= EXTRA) return snapshot;
  const bytes = allocate(WITH_EXTRA.lengthOf(snapshot));
  WITH_EXTRA.write(snapshot, bytes);
  return { ...snapshot, bytes };
}

export function encodeSnapshotTable(snapshots: readonly Snapshot[], form: EntryForm = AS_READ): Uint8Array {
  let length = 0;
  for (const snapshot of snapshots) length = alignUp(length, 8) + form.lengthOf(snapshot);
  if (length > MAX_SNAPSHOT_TABLE_BYTES) throw new BlockError("ERR_TOO_LARGE", "Snapshot table is too big", { errno: "EFBIG" });
  const table = allocate(length);
  let at = 0;
  for (const snapshot of snapshots) {
    at = alignUp(at, 8);
    const end = at + form.lengthOf(snapshot);
    form.write(snapshot, table.subarray(at, end));
    at = end;
  }
  return table;
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
