/** The bitmap directory: what persistent bitmaps there are and where their tables lie (docs/interop/qcow2.txt, "Bitmaps"). */
import { allocate } from "../../base/allocate.js";
import { BlockError } from "../../base/error.js";
import { decodeText, encodeText, readU64BE, viewOf, writeU64BE } from "../../base/bytes.js";
import { alignUp, divCeil, MiB } from "../../base/int.js";
import type { Qcow2 } from "./image.js";

export const BITMAP_IN_USE = 1;
export const BITMAP_AUTO = 2;
const KNOWN_FLAGS: number = BITMAP_IN_USE | BITMAP_AUTO;
const TYPE_DIRTY_TRACKING = 1;
const ENTRY = 24;

// Limits that QEMU has too.
const MAX_TABLE_ENTRIES = 0x8000000;
/** Bytes of one bitmap. */
export const MAX_BITMAP_BYTES: number = 512 * MiB;
const MIN_GRANULARITY_BITS = 9;
const MAX_GRANULARITY_BITS = 31;
const MAX_NAME_BYTES = 1023;

export interface StoredBitmap {
  name: string;
  /** As stored: a name need not be UTF-8. */
  nameBytes: Uint8Array;
  /** Host offset; Infinity where it is none we can reach, `rawOffset` has it then. */
  tableOffset: number;
  rawOffset?: Uint8Array;
  tableEntries: number;
  flags: number;
  granularityBits: number;
}

/** Bytes of a bitmap for a disk of `size` bytes. */
export function bitmapBytes(size: number, granularity: number): number {
  return divCeil(divCeil(size, granularity), 8);
}

const entryBytes = (bitmap: StoredBitmap): number => alignUp(ENTRY + bitmap.nameBytes.length, 8);
export const directoryBytes = (bitmaps: readonly StoredBitmap[]): number =>
  bitmaps.reduce((sum, bitmap) => sum + entryBytes(bitmap), 0);
/** What a bitmap of this name adds to the directory. */
export const directoryBytesOf = (name: string): number => alignUp(ENTRY + encodeText(name).length, 8);

export function decodeDirectory(image: Qcow2, bytes: Uint8Array, count: number): StoredBitmap[] {
  const bad = (message: string): BlockError => new BlockError("ERR_CORRUPT", message, { node: image.node.nodeName });
  const view = viewOf(bytes);
  const found: StoredBitmap[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (at + ENTRY > bytes.length) throw bad("Broken bitmap directory");
    if (found.length === count) throw bad("More bitmaps found than specified in header extension");
    const nameLength = view.getUint16(at + 18);
    const extra = view.getUint32(at + 20);
    const next = at + alignUp(ENTRY + extra + nameLength, 8);
    if (next > bytes.length) throw bad("Broken bitmap directory");
    if (extra !== 0) throw bad("Bitmap extra data is not supported");
    const stored = bytes.slice(at + ENTRY, at + ENTRY + nameLength);
    const end = stored.indexOf(0);
    const nameBytes = end < 0 ? stored : stored.slice(0, end);
    const bitmap: StoredBitmap = {
      name: decodeText(nameBytes),
      nameBytes,
      tableOffset: readU64BE(view, at),
      tableEntries: view.getUint32(at + 8),
      flags: view.getUint32(at + 12),
      granularityBits: view.getUint8(at + 17),
    };
    if (bitmap.tableOffset === Infinity) bitmap.rawOffset = bytes.slice(at, at + 8);
    if (view.getUint8(at + 16) !== TYPE_DIRTY_TRACKING || nameLength > MAX_NAME_BYTES || !isSound(image, bitmap)) {
      throw bad(`Bitmap '${bitmap.name}' doesn't satisfy the constraints`);
    }
    found.push(bitmap);
    at = next;
  }
  if (found.length !== count) throw bad("Less bitmaps found than specified in header extension");
  return found;
}

function isSound(image: Qcow2, bitmap: StoredBitmap): boolean {
  const { tableOffset, rawOffset, tableEntries, flags, granularityBits } = bitmap;
  if (tableEntries === 0 || tableEntries > MAX_TABLE_ENTRIES) return false;
  // Behind the end of any file a table may lie (the bitmap is of no use then), below 2^63.
  if (tableOffset === 0 || (rawOffset !== undefined && rawOffset[0]! >= 0x80)) return false;
  const aligned = rawOffset === undefined ? tableOffset : viewOf(rawOffset).getUint32(4);
  if (aligned % image.clusterSize !== 0) return false;
  if (granularityBits < MIN_GRANULARITY_BITS || granularityBits > MAX_GRANULARITY_BITS) return false;
  if ((flags & ~KNOWN_FLAGS) !== 0) return false;
  const bytes = tableEntries * image.clusterSize;
  if (bytes > MAX_BITMAP_BYTES) return false;
  // One that is in use may have been left behind by a resize.
  return (flags & BITMAP_IN_USE) !== 0 || bytes >= bitmapBytes(image.size, 2 ** granularityBits);
}

export function encodeDirectory(bitmaps: readonly StoredBitmap[]): Uint8Array {
  const bytes = allocate(directoryBytes(bitmaps));
  const view = viewOf(bytes);
  let at = 0;
  for (const bitmap of bitmaps) {
    if (bitmap.rawOffset === undefined) writeU64BE(view, at, bitmap.tableOffset);
    else bytes.set(bitmap.rawOffset, at);
    view.setUint32(at + 8, bitmap.tableEntries);
    view.setUint32(at + 12, bitmap.flags);
    view.setUint8(at + 16, TYPE_DIRTY_TRACKING);
    view.setUint8(at + 17, bitmap.granularityBits);
    view.setUint16(at + 18, bitmap.nameBytes.length);
    bytes.set(bitmap.nameBytes, at + ENTRY);
    at += entryBytes(bitmap);
  }
  return bytes;
}

/** Refuses what no qcow2 image of this size and cluster size can hold. */
export function checkConstraints(image: Qcow2, name: string, granularity: number): void {
  const invalid = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);
  if (granularity > 2 ** MAX_GRANULARITY_BITS) throw invalid(`Granularity exceeds maximum (${2 ** MAX_GRANULARITY_BITS} bytes)`);
  if (granularity < 2 ** MIN_GRANULARITY_BITS) throw invalid(`Granularity is under minimum (${2 ** MIN_GRANULARITY_BITS} bytes)`);
  const bytes = bitmapBytes(image.size, granularity);
  if (bytes === 0) throw invalid("An empty disk has nothing to keep a bitmap of");
  if (bytes > MAX_BITMAP_BYTES || bytes > MAX_TABLE_ENTRIES * image.clusterSize) {
    throw invalid("Too much space will be occupied by the bitmap. Use larger granularity");
  }
  if (encodeText(name).length > MAX_NAME_BYTES) throw invalid(`Name length exceeds maximum (${MAX_NAME_BYTES} characters)`);
}
