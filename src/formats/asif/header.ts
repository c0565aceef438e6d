/**
 * The header of an Apple sparse image (ASIF, version 1) and the numbers that follow from it: big-endian. Apple has published no
 * description; this is after what others found out (docs/formats/asif.md).
 */
import { readU64BE, startsWith, viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { divCeil, isPowerOfTwo, MiB } from "../../base/int.js";

export const HEADER_BYTES = 128;
const MAGIC = "shdw";
const VERSION = 1;
const MAX_CHUNK: number = 64 * MiB;
/** Tables of one image: for 4 PiB with chunks of 1 MiB it takes 33,000. */
const MAX_TABLES = 1024 * 1024;

const at = {
  version: 4,
  directories: 16,
  sectorCount: 48,
  maxSectorCount: 56,
  chunkSize: 64,
  sectorSize: 68,
} as const;

export interface AsifHeader {
  /** Byte offsets of the directories that there are. */
  directories: number[];
  /** Virtual size in bytes. */
  size: number;
  chunkSize: number;
  sectorSize: number;
  /** Chunks of data that share a chunk of bitmaps: a group. */
  groupChunks: number;
  /** Entries of a table that mean something. */
  tableEntries: number;
  /** Guest bytes that one table tells of. */
  tableSpan: number;
  /** Tables an image of the largest size has. */
  tables: number;
}

export const isAsif = (head: Uint8Array): boolean =>
  head.length >= HEADER_BYTES && startsWith(head, MAGIC) && viewOf(head).getUint32(at.version, false) === VERSION;

/** Reads and checks a header. */
export function parseHeader(bytes: Uint8Array): AsifHeader {
  if (!startsWith(bytes, MAGIC)) throw new BlockError("ERR_NOT_THIS_FORMAT", "Image not in ASIF format");
  const view = viewOf(bytes);
  const version = view.getUint32(at.version, false);
  if (version !== VERSION) throw new BlockError("ERR_UNSUPPORTED", `Unsupported ASIF version ${version}`);
  const chunkSize = view.getUint32(at.chunkSize, false);
  const sectorSize = view.getUint16(at.sectorSize, false);
  if (!isPowerOfTwo(sectorSize) || sectorSize < 512)
    throw new BlockError("ERR_CORRUPT", `Invalid ASIF sector size ${sectorSize}`);
  const groupChunks = 4 * sectorSize;
  const groupBytes = 8 * (groupChunks + 1);
  if (!isPowerOfTwo(chunkSize) || chunkSize < groupBytes || chunkSize > MAX_CHUNK)
    throw new BlockError("ERR_CORRUPT", `Invalid ASIF chunk size ${chunkSize}`);
  const size = readU64BE(view, at.sectorCount) * sectorSize;
  const maxSize = readU64BE(view, at.maxSectorCount) * sectorSize;
  if (!Number.isSafeInteger(maxSize) || size > maxSize)
    throw new BlockError("ERR_CORRUPT", `Invalid ASIF image size (${size} bytes of at most ${maxSize})`);
  const groups = Math.floor(chunkSize / groupBytes);
  const tableSpan = groups * groupChunks * chunkSize;
  const tables = divCeil(maxSize, tableSpan);
  if (tables > MAX_TABLES)
    throw new BlockError("ERR_TOO_LARGE", `The ASIF directory has ${tables} tables, more than ${MAX_TABLES}`);
  const directories = [0, 8].map((place) => readU64BE(view, at.directories + place)).filter((offset) => offset !== 0);
  return { directories, size, chunkSize, sectorSize, groupChunks, tableEntries: groups * (groupChunks + 1), tableSpan, tables };
}
