/**
 * The format extension of a Parallels image: one cluster of features, of which dirty bitmaps are the only kind there is.
 * Read here, never written: an image that is written to loses it (its `inuse` field then says so).
 */
import { equalBytes, readU64LE, toHex, viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { divCeil, isPowerOfTwo } from "../../base/int.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { uuidText } from "../shared/uuid.js";
import { md5 } from "./md5.js";
import { SECTOR } from "./header.js";

const MAGIC_HI = 0xab234cef;
const MAGIC_LO = 0x23dcea87;
const BITMAP_HI = 0x20385fae;
const BITMAP_LO = 0x252cb34a;
const FEATURE_BYTES = 24;
const BITMAP_HEADER_BYTES = 32;
const FLAG_NECESSARY = 1;
/** Largest cluster whose extension is read. */
const MAX_EXTENSION = 64 * 1048576;
/** Bits of one bitmap that are read into memory at most (64 MiB). */
const MAX_BITMAP_BYTES = 64 * 1048576;
const MAX_BITMAPS = 65535;

export interface ParallelsBitmap {
  name: string;
  /** Bytes of guest data one bit stands for. */
  granularity: number;
  /** Bytes of the bitmap itself. */
  length: number;
  /** Per cluster of the bitmap: 0 all clear, 1 all set, else the sector where it is. */
  l1: number[];
}

export interface ParallelsExtension {
  bitmaps: ParallelsBitmap[];
  /** First byte behind all clusters the extension uses. */
  end: number;
}

const invalid = (what: string): BlockError => new BlockError("ERR_CORRUPT", what);

/** Reads the extension cluster at byte `offset`. */
export function* readExtension(file: Node, offset: number, clusterBytes: number, sectors: number): Op<ParallelsExtension> {
  if (offset > file.size || clusterBytes > MAX_EXTENSION) throw invalid("Parallels Format Extension lies outside the image");
  const bytes = yield* readBytes(file, offset, clusterBytes);
  const view = viewOf(bytes);
  const magic = toHex(bytes.slice(0, 8).reverse());
  if (view.getUint32(4, true) !== MAGIC_HI || view.getUint32(0, true) !== MAGIC_LO) {
    throw invalid(`Wrong parallels Format Extension magic: 0x${magic.replace(/^0+(?=.)/, "")}, expected: 0xab234cef23dcea87`);
  }
  if (!equalBytes(md5(bytes.subarray(24)), bytes.subarray(8, 24)))
    throw invalid("Wrong checksum in Format Extension header. Format extension is corrupted.");
  const extension: ParallelsExtension = { bitmaps: [], end: offset + clusterBytes };
  for (let at = 24; ;) {
    if (at + FEATURE_BYTES > bytes.length)
      throw invalid("Can not read feature header, as remaining bytes are too few: the last feature is missing");
    const hi = view.getUint32(at + 4, true);
    const lo = view.getUint32(at, true);
    if (hi === 0 && lo === 0) return extension;
    const isNecessary = (view.getUint32(at + 8, true) & FLAG_NECESSARY) !== 0;
    const length = view.getUint32(at + 16, true);
    at += FEATURE_BYTES;
    if (length > bytes.length - at)
      throw invalid(`Remaining bytes in Format Extension cluster are too few for feature data of ${length} bytes`);
    if (hi === BITMAP_HI && lo === BITMAP_LO) {
      if (extension.bitmaps.length >= MAX_BITMAPS)
        throw new BlockError("ERR_TOO_LARGE", "Too many bitmaps in the Format Extension");
      const bitmap = parseBitmap(bytes.subarray(at, at + length), clusterBytes, sectors);
      if (extension.bitmaps.some(({ name }) => name === bitmap.name))
        throw invalid(`Two bitmaps in the Format Extension are called '${bitmap.name}'`);
      extension.bitmaps.push(bitmap);
      for (const entry of bitmap.l1) if (entry > 1) extension.end = Math.max(extension.end, entry * SECTOR + clusterBytes);
    } else if (isNecessary) {
      throw new BlockError(
        "ERR_UNSUPPORTED",
        `Unknown feature 0x${hi.toString(16)}${lo.toString(16).padStart(8, "0")} with flag NECESSARY`,
      );
    }
    at += length + ((8 - (length % 8)) % 8);
  }
}

function parseBitmap(bytes: Uint8Array, clusterBytes: number, sectors: number): ParallelsBitmap {
  if (bytes.length < BITMAP_HEADER_BYTES) throw invalid("Too small feature data of a bitmap");
  const view = viewOf(bytes);
  const size = readU64LE(view, 0);
  const granularity = view.getUint32(24, true);
  const entries = view.getUint32(28, true);
  if (size !== sectors) throw invalid(`Bitmap size (in sectors) ${size} differs from disk size in sectors ${sectors}`);
  if (!isPowerOfTwo(granularity)) throw invalid(`Bitmap granularity ${granularity} is not a power of two`);
  const length = divCeil(divCeil(size, granularity), 8);
  if (length > MAX_BITMAP_BYTES) throw new BlockError("ERR_TOO_LARGE", "The bitmap is too large");
  if (entries !== divCeil(length, clusterBytes))
    throw invalid(`Bitmap L1 size ${entries} is wrong, should be ${divCeil(length, clusterBytes)}`);
  if (BITMAP_HEADER_BYTES + entries * 8 > bytes.length) throw invalid("Feature data of a bitmap is too small for its L1 table");
  const l1: number[] = [];
  for (let i = 0; i < entries; i++) l1.push(readU64LE(view, BITMAP_HEADER_BYTES + i * 8));
  return { name: uuidText(bytes.subarray(8, 24)), granularity: granularity * SECTOR, length, l1 };
}

/** The bits of a bitmap, one per granule, least significant bit first. */
export function* readBitmap(file: Node, bitmap: ParallelsBitmap, clusterBytes: number): Op<Uint8Array> {
  const bits = new Uint8Array(bitmap.length);
  for (let i = 0; i < bitmap.l1.length; i++) {
    const entry = bitmap.l1[i]!;
    const part = bits.subarray(i * clusterBytes, (i + 1) * clusterBytes);
    if (entry === 1) part.fill(0xff);
    else if (entry > 1) {
      if (entry * SECTOR > file.size) throw invalid(`Bitmap cluster ${i} lies behind the end of the file`);
      part.set(yield* readBytes(file, entry * SECTOR, part.length));
    }
  }
  return bits;
}
