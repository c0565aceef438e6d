/** The header of a Bochs growing image ("Redolog", "Growing"), version 1 or 2: 512 bytes, little-endian. */
import { readText, readU64LE, viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { divCeil, isPowerOfTwo } from "../../base/int.js";

export const HEADER_BYTES = 512;
const VERSION_1 = 0x00010000;
const VERSION_2 = 0x00020000;
/** QEMU's limits. */
const MAX_CATALOG = 0x100000;
const MAX_EXTENT = 0x800000;

const at = {
  type: 32,
  subtype: 48,
  version: 64,
  header: 68,
  catalog: 72,
  bitmap: 76,
  extent: 80,
  diskV1: 84,
  diskV2: 88,
} as const;

export interface BochsHeader {
  /** Byte offset of the catalog. */
  catalogOffset: number;
  catalogEntries: number;
  /** Bytes of the sector bitmap in front of each extent, in whole sectors. */
  bitmapBytes: number;
  /** Guest bytes of an extent. */
  extentBytes: number;
  /** Virtual size in bytes, a multiple of 512. */
  size: number;
}

export function isBochs(head: Uint8Array): boolean {
  if (head.length < HEADER_BYTES) return false;
  const version = viewOf(head).getUint32(at.version, true);
  return (
    readText(head.subarray(0, at.type)) === "Bochs Virtual HD Image" &&
    readText(head.subarray(at.type, at.subtype)) === "Redolog" &&
    readText(head.subarray(at.subtype, at.version)) === "Growing" &&
    (version === VERSION_1 || version === VERSION_2)
  );
}

/** Reads and checks a header; `bytes` are the first 512 of the file. */
export function parseHeader(bytes: Uint8Array): BochsHeader {
  if (!isBochs(bytes)) throw new BlockError("ERR_NOT_THIS_FORMAT", "Image not in Bochs format");
  const view = viewOf(bytes);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  const disk = readU64LE(view, u32(at.version) === VERSION_1 ? at.diskV1 : at.diskV2);
  const catalogEntries = u32(at.catalog);
  const extentBytes = u32(at.extent);
  if (catalogEntries > MAX_CATALOG) throw new BlockError("ERR_TOO_LARGE", "Catalog size is too large");
  if (extentBytes < 512) throw new BlockError("ERR_CORRUPT", "Extent size must be at least 512");
  if (!isPowerOfTwo(extentBytes)) throw new BlockError("ERR_CORRUPT", `Extent size ${extentBytes} is not a power of two`);
  if (extentBytes > MAX_EXTENT) throw new BlockError("ERR_CORRUPT", `Extent size ${extentBytes} is too large`);
  const sectors = Math.floor(disk / 512);
  if (catalogEntries < divCeil(sectors, extentBytes / 512)) {
    throw new BlockError("ERR_CORRUPT", "Catalog size is too small for this disk size");
  }
  const catalogOffset = u32(at.header);
  // A bitmap of zero bytes counts as 2^32: the field is unsigned and QEMU subtracts one.
  const bitmap = u32(at.bitmap);
  return {
    catalogOffset,
    catalogEntries,
    bitmapBytes: (1 + Math.floor(((bitmap - 1) >>> 0) / 512)) * 512,
    extentBytes,
    size: sectors * 512,
  };
}
