/** Where a DMG's chunks are: the trailer ("koly"), and the block tables ("mish") in its property list or resource fork. */
import { BlockError } from "../../base/error.js";
import { decodeText, readU64BE, startsWith, viewOf } from "../../base/bytes.js";
import { MiB } from "../../base/int.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";

export const SECTOR = 512;
const TRAILER_LENGTH = 512;
const MAX_TABLE_BYTES = 16 * MiB;
/** Plain and packed bytes of one chunk: what has to be held in memory to read from it. */
const MAX_CHUNK_BYTES: number = 64 * MiB;
const MAX_CHUNKS = 4 * 1024 * 1024;

export const ChunkType = {
  zeroFill: 0,
  raw: 1,
  ignore: 2,
  adc: 0x80000004,
  zlib: 0x80000005,
  bzip2: 0x80000006,
  lzfse: 0x80000007,
  xz: 0x80000008,
  comment: 0x7ffffffe,
  end: 0xffffffff,
} as const;

/** Chunks that stand for no part of the disk. */
const MARKS: ReadonlySet<number> = new Set([ChunkType.comment, ChunkType.end]);
/** Chunks with bytes in the file that we know how to read. */
const STORED: ReadonlySet<number> = new Set([
  ChunkType.raw,
  ChunkType.adc,
  ChunkType.zlib,
  ChunkType.bzip2,
  ChunkType.lzfse,
  ChunkType.xz,
]);

export interface Chunk {
  type: number;
  /** Guest range in bytes. */
  start: number;
  length: number;
  /** Place in the file. */
  host: number;
  packed: number;
}

export interface Trailer {
  dataForkOffset: number;
  resourceOffset: number;
  resourceLength: number;
  plistOffset: number;
  plistLength: number;
  /** Virtual size in bytes. */
  size: number;
}

const corrupt = (message: string, offset?: number): BlockError =>
  new BlockError("ERR_CORRUPT", message, offset === undefined ? {} : { offset });

/** The trailer is in the last 512 bytes; some files carry a few more bytes behind it. */
export function* readTrailer(file: Node): Op<Trailer> {
  if (file.size < TRAILER_LENGTH) throw new BlockError("ERR_NOT_THIS_FORMAT", "File is too small to be a DMG image");
  const span = Math.min(file.size, 2 * TRAILER_LENGTH - 1);
  const tail = yield* readBytes(file, file.size - span, span);
  for (let at = span - TRAILER_LENGTH; at >= 0; at--) {
    if (startsWith(tail, "koly", at)) return decodeTrailer(tail.subarray(at, at + TRAILER_LENGTH), file.size);
  }
  throw new BlockError("ERR_NOT_THIS_FORMAT", "Could not locate UDIF trailer in dmg file");
}

function decodeTrailer(bytes: Uint8Array, fileSize: number): Trailer {
  const view = viewOf(bytes);
  const trailer: Trailer = {
    dataForkOffset: readU64BE(view, 0x18),
    resourceOffset: readU64BE(view, 0x28),
    resourceLength: readU64BE(view, 0x30),
    plistOffset: readU64BE(view, 0xd8),
    plistLength: readU64BE(view, 0xe0),
    size: readU64BE(view, 0x1ec) * SECTOR,
  };
  const inside = (offset: number, length: number): boolean => offset <= fileSize && length <= fileSize - offset;
  if (!inside(trailer.dataForkOffset, 0)) throw corrupt("DMG: the data fork lies outside of the file", 0x18);
  if (trailer.resourceLength !== 0 && !inside(trailer.resourceOffset, trailer.resourceLength))
    throw corrupt("DMG: the resource fork lies outside of the file", 0x28);
  if (trailer.plistLength !== 0 && !inside(trailer.plistOffset, trailer.plistLength))
    throw corrupt("DMG: the property list lies outside of the file", 0xd8);
  if (!Number.isSafeInteger(trailer.size))
    throw new BlockError("ERR_TOO_LARGE", "Image is too big", { errno: "EFBIG", offset: 0x1ec });
  return trailer;
}

/** All chunks in ascending guest order. */
export function* readChunks(file: Node, trailer: Trailer): Op<Chunk[]> {
  const chunks: Chunk[] = [];
  if (trailer.resourceLength !== 0) yield* fromResourceFork(file, trailer, chunks);
  else if (trailer.plistLength !== 0) yield* fromPropertyList(file, trailer, chunks);
  else throw corrupt("DMG: the trailer names neither a property list nor a resource fork");
  chunks.sort((a, b) => a.start - b.start);
  return chunks;
}

function* fromResourceFork(file: Node, trailer: Trailer, chunks: Chunk[]): Op<void> {
  if (trailer.resourceLength > MAX_TABLE_BYTES)
    throw new BlockError("ERR_TOO_LARGE", "DMG: the resource fork is too large", { offset: trailer.resourceOffset });
  const fork = yield* readBytes(file, trailer.resourceOffset, trailer.resourceLength);
  if (fork.length < 16) throw corrupt("DMG: the resource fork is too short", trailer.resourceOffset);
  const view = viewOf(fork);
  let at = view.getUint32(0);
  const end = at + view.getUint32(8);
  if (end > fork.length) throw corrupt("DMG: the resource fork's data lies outside of it", trailer.resourceOffset);
  while (at + 4 <= end) {
    const length = view.getUint32(at);
    at += 4;
    if (length === 0 || length > end - at) throw corrupt("DMG: a resource is longer than its fork", trailer.resourceOffset + at);
    addTable(fork.subarray(at, at + length), file, trailer, chunks);
    at += length;
  }
}

function* fromPropertyList(file: Node, trailer: Trailer, chunks: Chunk[]): Op<void> {
  if (trailer.plistLength > MAX_TABLE_BYTES)
    throw new BlockError("ERR_TOO_LARGE", "DMG: the property list is too large", { offset: trailer.plistOffset });
  const text = decodeText(yield* readBytes(file, trailer.plistOffset, trailer.plistLength));
  let at = 0;
  for (;;) {
    const open = text.indexOf("<data>", at);
    if (open < 0) return;
    const close = text.indexOf("</data>", open);
    if (close < 0) throw corrupt("DMG: the property list ends inside a data element", trailer.plistOffset + open);
    addTable(decodeBase64(text.slice(open + 6, close)), file, trailer, chunks);
    at = close + 7;
  }
}

function decodeBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text.replace(/\s+/g, "")), (char) => char.charCodeAt(0));
  } catch (error) {
    throw new BlockError("ERR_CORRUPT", "DMG: the property list holds data that is no base64", { cause: error });
  }
}

/** Other resources lie beside the block tables: what does not begin with "mish" is skipped. */
function addTable(bytes: Uint8Array, file: Node, trailer: Trailer, chunks: Chunk[]): void {
  if (bytes.length < 204 || !startsWith(bytes, "mish")) return;
  const view = viewOf(bytes);
  const firstSector = readU64BE(view, 8);
  const dataOffset = readU64BE(view, 24);
  // The length of the resource says how many there are; the count in the table is not to be trusted.
  const count = Math.floor((bytes.length - 204) / 40);
  if (chunks.length + count > MAX_CHUNKS) throw new BlockError("ERR_TOO_LARGE", "DMG: the image has too many chunks");
  for (let i = 0; i < count; i++) {
    const at = 204 + i * 40;
    const type = view.getUint32(at);
    if (MARKS.has(type)) continue;
    const chunk: Chunk = {
      type,
      start: (firstSector + readU64BE(view, at + 8)) * SECTOR,
      length: readU64BE(view, at + 16) * SECTOR,
      host: trailer.dataForkOffset + dataOffset + readU64BE(view, at + 24),
      packed: readU64BE(view, at + 32),
    };
    // Damage of one chunk, or a type that is not known, shows when it is read; the rest of the image stays readable.
    checkSize(chunk, chunks.length);
    if (chunk.length === 0 || !Number.isSafeInteger(chunk.start + chunk.length)) continue;
    chunks.push(chunk);
  }
}

/** What would have to be held in memory to read the chunk. */
function checkSize(chunk: Chunk, index: number): void {
  if (!STORED.has(chunk.type)) return;
  if (chunk.length > MAX_CHUNK_BYTES)
    throw new BlockError("ERR_TOO_LARGE", `DMG: chunk ${index} is larger than ${MAX_CHUNK_BYTES} bytes`);
  if (chunk.packed > MAX_CHUNK_BYTES)
    throw new BlockError("ERR_TOO_LARGE", `DMG: the data of chunk ${index} is larger than ${MAX_CHUNK_BYTES} bytes`);
}

/** Throws when the bytes of a chunk cannot be there. */
export function checkPlace(chunk: Chunk, index: number, fileSize: number): void {
  if (chunk.host > fileSize || chunk.packed > fileSize - chunk.host)
    throw corrupt(`DMG: the data of chunk ${index} lies outside of the file`, chunk.host);
  if (chunk.type === ChunkType.raw && chunk.packed < chunk.length) {
    throw corrupt(`DMG: chunk ${index} is stored raw but has ${chunk.packed} of ${chunk.length} bytes`, chunk.host);
  }
}
