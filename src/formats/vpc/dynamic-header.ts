/** The header of dynamic and differencing VHDs: 1024 bytes, big-endian. */
import { readU64BE, startsWith, viewOf, writeU64BE } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignUp, isPowerOfTwo } from "../../base/int.js";
import { checksum } from "./footer.js";

export const DYNAMIC_HEADER_BYTES = 1024;
const COOKIE = "cxsparse";
const MAX_ENTRIES = Math.floor(0x7fffffff / 4);

const at = {
  dataOffset: 8,
  tableOffset: 16,
  version: 24,
  entries: 28,
  blockSize: 32,
  checksum: 36,
  parentUuid: 40,
  parentTime: 56,
  parentName: 64,
  locators: 576,
} as const;

export interface ParentLocator {
  /** Four characters: "W2ru" (relative), "W2ku" (absolute), "MacX" … */
  platform: string;
  /** Bytes of the name. */
  length: number;
  /** Byte offset of the name in the file. */
  offset: number;
}

export interface DynamicHeader {
  /** Byte offset of the block allocation table; Infinity when beyond 2^53. */
  tableOffset: number;
  entries: number;
  blockSize: number;
  /** Bytes of the sector bitmap in front of each block. */
  bitmapSize: number;
  parentUuid: Uint8Array;
  /** Name of the parent as the header has it; "" when there is none. */
  parentName: string;
  locators: ParentLocator[];
}

/** Bytes of the sector bitmap of a block. */
export const bitmapSizeOf = (blockSize: number): number => alignUp(Math.floor(blockSize / (8 * 512)), 512) || 512;

/** Reads and checks a header; `sectors` is the size of the disk. */
export function parseDynamicHeader(bytes: Uint8Array, sectors: number): DynamicHeader {
  if (!startsWith(bytes, COOKIE))
    throw new BlockError("ERR_CORRUPT", "Invalid header magic: there is no dynamic disk header where the footer says");
  const view = viewOf(bytes);
  const blockSize = view.getUint32(at.blockSize, false);
  if (!isPowerOfTwo(blockSize) || blockSize < 512) throw new BlockError("ERR_CORRUPT", `Invalid block size ${blockSize}`);
  const entries = view.getUint32(at.entries, false);
  if (entries * blockSize < sectors * 512)
    throw new BlockError(
      "ERR_CORRUPT",
      `Page table too small: ${entries} blocks of ${blockSize} bytes for a disk of ${sectors * 512} bytes`,
    );
  if (entries > MAX_ENTRIES) throw new BlockError("ERR_CORRUPT", `Max Table Entries too large (${entries | 0})`);
  const locators: ParentLocator[] = [];
  for (let i = 0; i < 8; i++) {
    const base = at.locators + i * 24;
    const platform = String.fromCharCode(...bytes.subarray(base, base + 4));
    locators.push({ platform, length: view.getUint32(base + 8, false), offset: readU64BE(view, base + 16) });
  }
  return {
    tableOffset: readU64BE(view, at.tableOffset),
    entries,
    blockSize,
    bitmapSize: bitmapSizeOf(blockSize),
    parentUuid: bytes.slice(at.parentUuid, at.parentUuid + 16),
    parentName: utf16(bytes.subarray(at.parentName, at.parentName + 512), false),
    locators,
  };
}

export function isHeaderIntact(bytes: Uint8Array): boolean {
  return viewOf(bytes).getUint32(at.checksum, false) === checksum(bytes, at.checksum);
}

/** UTF-16 up to the first NUL. */
export function utf16(bytes: Uint8Array, littleEndian: boolean): string {
  const view = viewOf(bytes);
  let text = "";
  for (let i = 0; i + 1 < bytes.length; i += 2) {
    const unit = view.getUint16(i, littleEndian);
    if (unit === 0) break;
    text += String.fromCharCode(unit);
  }
  return text;
}

/** Changes the number of table entries in a header. */
export function setEntries(bytes: Uint8Array, entries: number): void {
  const view = viewOf(bytes);
  view.setUint32(at.entries, entries, false);
  view.setUint32(at.checksum, checksum(bytes, at.checksum), false);
}

export interface NewParent {
  uuid: Uint8Array;
  /** Seconds since 2000. */
  time: number;
  /** Of at most 255 UTF-16 units; "" for none. */
  name: string;
  locator: ParentLocator;
}

/** Puts a parent into the header of a new image. */
export function setParent(bytes: Uint8Array, parent: NewParent): void {
  const view = viewOf(bytes);
  const { platform, length, offset } = parent.locator;
  bytes.set(parent.uuid, at.parentUuid);
  view.setUint32(at.parentTime, parent.time, false);
  for (let i = 0; i < parent.name.length; i++) view.setUint16(at.parentName + 2 * i, parent.name.charCodeAt(i), false);
  for (let i = 0; i < 4; i++) bytes[at.locators + i] = platform.charCodeAt(i);
  // In bytes, as Microsoft's own images have it (the specification says sectors).
  view.setUint32(at.locators + 4, alignUp(length, 512), false);
  view.setUint32(at.locators + 8, length, false);
  writeU64BE(view, at.locators + 16, offset);
  view.setUint32(at.checksum, checksum(bytes, at.checksum), false);
}

/** The header of a new image without a parent. */
export function buildDynamicHeader(tableOffset: number, entries: number, blockSize: number): Uint8Array {
  const bytes = new Uint8Array(DYNAMIC_HEADER_BYTES);
  const view = viewOf(bytes);
  for (let i = 0; i < COOKIE.length; i++) bytes[i] = COOKIE.charCodeAt(i);
  // The specification shows 32 ones here; Microsoft's tools want all 64.
  bytes.fill(0xff, at.dataOffset, at.dataOffset + 8);
  writeU64BE(view, at.tableOffset, tableOffset);
  view.setUint32(at.version, 0x00010000, false);
  view.setUint32(at.blockSize, blockSize, false);
  setEntries(bytes, entries);
  return bytes;
}
