/** The header of hosted sparse extents ("KDMV"), which streamOptimized files repeat as their footer. */
import { readU64LE, startsWith, viewOf, writeU64LE } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { COMPRESS_DEFLATE, Flag, HOSTED_MAGIC, Marker, SECTOR } from "./layout.js";

/** Offsets and sizes in sectors. */
export interface SparseHeader {
  version: number;
  flags: number;
  capacity: number;
  grainSectors: number;
  descriptorOffset: number;
  descriptorSectors: number;
  tableEntries: number;
  redundantDirectory: number;
  directory: number;
  /** First sector behind header, descriptor and tables. */
  overhead: number;
  compressed: boolean;
}

function parseSparseHeader(bytes: Uint8Array): SparseHeader {
  const view = viewOf(bytes);
  return {
    version: view.getUint32(4, true),
    flags: view.getUint32(8, true),
    capacity: readU64LE(view, 12),
    grainSectors: readU64LE(view, 20),
    descriptorOffset: readU64LE(view, 28),
    descriptorSectors: readU64LE(view, 36),
    tableEntries: view.getUint32(44, true),
    redundantDirectory: readU64LE(view, 48),
    directory: readU64LE(view, 56),
    overhead: readU64LE(view, 64),
    compressed: view.getUint16(77, true) === COMPRESS_DEFLATE,
  };
}

/** Whether the grain directory is announced to be at the end, described by the footer. */
function isDirectoryAtEnd(bytes: Uint8Array): boolean {
  for (let i = 56; i < 64; i++) if (bytes[i] !== 0xff) return false;
  return true;
}

/** One sector. `directory` null: it is at the end of the file, see the footer. */
export function encodeSparseHeader(header: Omit<SparseHeader, "directory"> & { directory: number | null }): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  const view = viewOf(bytes);
  for (let i = 0; i < 4; i++) bytes[i] = HOSTED_MAGIC.charCodeAt(i);
  view.setUint32(4, header.version, true);
  view.setUint32(8, header.flags, true);
  writeU64LE(view, 12, header.capacity);
  writeU64LE(view, 20, header.grainSectors);
  writeU64LE(view, 28, header.descriptorOffset);
  writeU64LE(view, 36, header.descriptorSectors);
  view.setUint32(44, header.tableEntries, true);
  writeU64LE(view, 48, header.redundantDirectory);
  if (header.directory === null) bytes.fill(0xff, 56, 64);
  else writeU64LE(view, 56, header.directory);
  writeU64LE(view, 64, header.overhead);
  // Transfers that change line ends or the eighth bit leave their marks here.
  bytes.set([0x0a, 0x20, 0x0d, 0x0a], 73);
  view.setUint16(77, header.compressed ? COMPRESS_DEFLATE : 0, true);
  return bytes;
}

/** The header that counts: that in the footer where the one at the front says so. */
export function* readSparseHeader(file: Node): Op<SparseHeader> {
  const front = yield* readBytes(file, 0, SECTOR);
  if (!isDirectoryAtEnd(front)) return parseSparseHeader(front);
  const whole = file.size - (file.size % SECTOR);
  if (whole < 4 * SECTOR) throw new BlockError("ERR_CORRUPT", "Invalid footer");
  const tail = yield* readBytes(file, whole - 3 * SECTOR, 3 * SECTOR);
  const view = viewOf(tail);
  const footer = tail.subarray(SECTOR, 2 * SECTOR);
  const endsWell =
    readU64LE(view, 2 * SECTOR) === 0 &&
    view.getUint32(2 * SECTOR + 8, true) === 0 &&
    view.getUint32(2 * SECTOR + 12, true) === Marker.endOfStream;
  if (
    !startsWith(footer, HOSTED_MAGIC) ||
    view.getUint32(8, true) !== 0 ||
    view.getUint32(12, true) !== Marker.footer ||
    !endsWell ||
    isDirectoryAtEnd(footer)
  ) {
    throw new BlockError("ERR_CORRUPT", "Invalid footer");
  }
  return parseSparseHeader(footer);
}

export const hasFlag = (header: SparseHeader, flag: number): boolean => (header.flags & flag) !== 0;
export const hasMarkers = (header: SparseHeader): boolean => hasFlag(header, Flag.markers);
