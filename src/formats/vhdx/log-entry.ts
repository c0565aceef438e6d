/** Entries of the log: 4 KiB sectors, first the header and its descriptors, then the data they describe. */
import { equalBytes, readU64LE, startsWith, viewOf, writeU64LE } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { divCeil } from "../../base/int.js";
import { setChecksum } from "./checksum.js";
import { LOG_SECTOR } from "./layout.js";

export const ENTRY_HEADER_BYTES = 64;
const DESCRIPTOR_BYTES = 32;
/** Descriptors that fit beside the header in the first sector of an entry. */
export const FIRST_SECTOR_DESCRIPTORS = 126;

export interface EntryHeader {
  length: number;
  /** Where in the log the oldest entry is that was not in its place yet. */
  tail: number;
  sequence: number;
  descriptors: number;
  /** The file was at least this long, durably, when the entry was written. */
  flushedSize: number;
  lastSize: number;
}

/** null where there is no entry of this log. Its checksum is not looked at. */
export function parseEntryHeader(bytes: Uint8Array, logGuid: Uint8Array, logLength: number): EntryHeader | null {
  if (!startsWith(bytes, "loge") || !equalBytes(bytes.subarray(32, 48), logGuid)) return null;
  const view = viewOf(bytes);
  const header: EntryHeader = {
    length: view.getUint32(8, true),
    tail: view.getUint32(12, true),
    sequence: readU64LE(view, 16),
    descriptors: view.getUint32(24, true),
    flushedSize: readU64LE(view, 48),
    lastSize: readU64LE(view, 56),
  };
  const { length, sequence, descriptors } = header;
  if (length === 0 || length % LOG_SECTOR !== 0 || length > logLength) return null;
  if (sequence === 0 || !Number.isSafeInteger(sequence)) return null;
  return descriptorSectors(descriptors) * LOG_SECTOR > length ? null : header;
}

export const descriptorSectors = (count: number): number => divCeil(ENTRY_HEADER_BYTES + count * DESCRIPTOR_BYTES, LOG_SECTOR);

export type Change = { kind: "data"; offset: number; bytes: Uint8Array } | { kind: "zero"; offset: number; length: number };

/** What an entry with a good checksum says is to be written; throws where it contradicts the format. */
export function* changesOf(entry: Uint8Array, header: EntryHeader): Generator<Change> {
  const view = viewOf(entry);
  const broken = (what: string): BlockError => new BlockError("ERR_CORRUPT", `The VHDX log is corrupt: ${what}`);
  let dataAt = descriptorSectors(header.descriptors) * LOG_SECTOR;
  for (let i = 0; i < header.descriptors; i++) {
    const at = ENTRY_HEADER_BYTES + i * DESCRIPTOR_BYTES;
    const offset = readU64LE(view, at + 16);
    if (readU64LE(view, at + 24) !== header.sequence) throw broken(`descriptor ${i} is of another entry`);
    if (!Number.isSafeInteger(offset) || offset % LOG_SECTOR !== 0) throw broken(`descriptor ${i} names offset ${offset}`);
    const signature = entry.subarray(at, at + 4);
    if (startsWith(signature, "zero")) {
      const length = readU64LE(view, at + 8);
      if (!Number.isSafeInteger(offset + length) || length % LOG_SECTOR !== 0)
        throw broken(`descriptor ${i} names ${length} bytes of zeros`);
      yield { kind: "zero", offset, length };
      continue;
    }
    if (!startsWith(signature, "desc") || dataAt + LOG_SECTOR > entry.length) throw broken(`descriptor ${i} is none`);
    const high = view.getUint32(dataAt + 4, true);
    const low = view.getUint32(dataAt + LOG_SECTOR - 4, true);
    if (!startsWith(entry, "data", dataAt) || high * 4294967296 + low !== header.sequence)
      throw broken(`the data of descriptor ${i} is of another entry`);
    const bytes = entry.slice(dataAt, dataAt + LOG_SECTOR);
    bytes.set(entry.subarray(at + 8, at + 16), 0);
    bytes.set(entry.subarray(at + 4, at + 8), LOG_SECTOR - 4);
    yield { kind: "data", offset, bytes };
    dataAt += LOG_SECTOR;
  }
}

export interface NewEntry {
  logGuid: Uint8Array;
  tail: number;
  sequence: number;
  fileSize: number;
  /** Whole 4 KiB sectors and their places in the file. */
  sectors: readonly { offset: number; bytes: Uint8Array }[];
}

export function encodeEntry(made: NewEntry): Uint8Array {
  const { sectors, sequence } = made;
  const head = descriptorSectors(sectors.length) * LOG_SECTOR;
  const entry = new Uint8Array(head + sectors.length * LOG_SECTOR);
  const view = viewOf(entry);
  const sign = (text: string, at: number): void => {
    for (let i = 0; i < 4; i++) entry[at + i] = text.charCodeAt(i);
  };
  sign("loge", 0);
  view.setUint32(8, entry.length, true);
  view.setUint32(12, made.tail, true);
  writeU64LE(view, 16, sequence);
  view.setUint32(24, sectors.length, true);
  entry.set(made.logGuid, 32);
  writeU64LE(view, 48, made.fileSize);
  writeU64LE(view, 56, made.fileSize);
  sectors.forEach(({ offset, bytes }, i) => {
    const at = ENTRY_HEADER_BYTES + i * DESCRIPTOR_BYTES;
    const dataAt = head + i * LOG_SECTOR;
    sign("desc", at);
    entry.set(bytes.subarray(LOG_SECTOR - 4), at + 4);
    entry.set(bytes.subarray(0, 8), at + 8);
    writeU64LE(view, at + 16, offset);
    writeU64LE(view, at + 24, sequence);
    entry.set(bytes, dataAt);
    sign("data", dataAt);
    view.setUint32(dataAt + 4, Math.floor(sequence / 4294967296), true);
    view.setUint32(dataAt + LOG_SECTOR - 4, sequence % 4294967296, true);
  });
  setChecksum(entry);
  return entry;
}
