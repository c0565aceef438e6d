/**
 * Decoder of .xz streams with LZMA2 (the xz file format, 1.2) and of .lzma files: DMG "ULMO". Block checks CRC-32 and
 * CRC-64 are verified; other filters than LZMA2 are refused.
 */
import { BlockError } from "../../base/error.js";
import { viewOf } from "../../base/bytes.js";
import { crc32 } from "../checksum/crc32.js";
import { crc64Matches } from "../checksum/crc64.js";
import { corruptStream, type CodecProvider, type DecompressSync } from "../codec.js";
import { Lzma } from "./lzma.js";

const cut = (): Error => corruptStream("xz", "the stream is cut off");
const tooLong = (): Error => corruptStream("xz", "more bytes than expected");
const FILTER_LZMA2 = 0x21;
/** Bytes of the check after a block, by its number. */
const CHECK_BYTES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
const CHECK_CRC32 = 1;
const CHECK_CRC64 = 4;

function byteAt(from: Uint8Array, at: number): number {
  if (at >= from.length) throw cut();
  return from[at]!;
}

/** Decodes LZMA2 chunks up to their end mark; returns where input and output ended. */
function decodeLzma2(from: Uint8Array, at: number, into: Uint8Array, begin: number): { at: number; out: number } {
  const lzma = new Lzma();
  let start = begin;
  let out = begin;
  let fresh = true; // the first chunk must reset the dictionary
  for (;;) {
    const control = byteAt(from, at++);
    if (control === 0) return { at, out };
    if (control === 1 || control >= 0xe0) {
      start = out;
      fresh = false;
    } else if (fresh) throw corruptStream("xz", "the dictionary is not reset");
    if (control < 0x80) {
      if (control > 2) throw corruptStream("xz", "a chunk header is damaged");
      if (at + 2 > from.length) throw cut();
      const size = ((from[at]! << 8) | from[at + 1]!) + 1;
      at += 2;
      if (at + size > from.length) throw cut();
      if (size > into.length - out) throw tooLong();
      into.set(from.subarray(at, at + size), out);
      at += size;
      out += size;
      continue;
    }
    if (at + 4 > from.length) throw cut();
    const size = (((control & 0x1f) << 16) | (from[at]! << 8) | from[at + 1]!) + 1;
    const packed = ((from[at + 2]! << 8) | from[at + 3]!) + 1;
    at += 4;
    if (control >= 0xc0) lzma.setProperties(byteAt(from, at++), true);
    else if (!lzma.ready) throw corruptStream("xz", "a chunk has no properties");
    else if (control >= 0xa0) lzma.reset();
    if (at + packed > from.length) throw cut();
    if (size > into.length - out) throw tooLong();
    if (lzma.decode(from, at, at + packed, into, start, out, out + size) !== out + size || lzma.input !== at + packed)
      throw corruptStream("xz", "a chunk has a wrong size");
    at += packed;
    out += size;
  }
}

/** Skips a variable-length number of at most nine bytes. */
function skipNumber(from: Uint8Array, at: number): number {
  for (let i = 0; i < 9; i++) if ((byteAt(from, at++) & 0x80) === 0) return at;
  throw corruptStream("xz", "a number is too long");
}

/** Checks a block header at `at`; returns its end. */
function readBlockHeader(from: Uint8Array, at: number): number {
  const size = (byteAt(from, at) + 1) * 4;
  if (at + size > from.length) throw cut();
  if (crc32(from.subarray(at, at + size - 4)) !== viewOf(from).getUint32(at + size - 4, true))
    throw corruptStream("xz", "a block header is damaged");
  const flags = from[at + 1]!;
  let next = at + 2;
  if ((flags & 0x40) !== 0) next = skipNumber(from, next);
  if ((flags & 0x80) !== 0) next = skipNumber(from, next);
  if ((flags & 0x3f) !== 0 || byteAt(from, next) !== FILTER_LZMA2)
    throw new BlockError("ERR_UNSUPPORTED", "xz data with other filters than LZMA2 is not supported");
  return at + size;
}

function decodeXz(from: Uint8Array, into: Uint8Array): void {
  if (from.length < 12) throw cut();
  const view = viewOf(from);
  const check = from[7]! & 15;
  if (from[6] !== 0 || from[7]! > 15 || crc32(from.subarray(6, 8)) !== view.getUint32(8, true))
    throw corruptStream("xz", "the stream header is damaged");
  let at = 12;
  let out = 0;
  while (byteAt(from, at) !== 0) {
    const header = readBlockHeader(from, at);
    const block = decodeLzma2(from, header, into, out);
    // Blocks are padded to four bytes counted from their header.
    at = header + Math.ceil((block.at - header) / 4) * 4;
    const bytes = CHECK_BYTES[check]!;
    if (at + bytes > from.length) throw cut();
    const plain = into.subarray(out, block.out);
    if (
      check === CHECK_CRC32
        ? crc32(plain) !== view.getUint32(at, true)
        : check === CHECK_CRC64 && !crc64Matches(plain, view.getInt32(at + 4, true), view.getInt32(at, true))
    )
      throw corruptStream("xz", "the checksum does not match");
    at += bytes;
    out = block.out;
  }
  if (out < into.length) throw corruptStream("xz", `${out} bytes where ${into.length} are expected`);
}

/** A .lzma file: properties, dictionary size, plain size (or all ones when an end marker tells), one LZMA stream. */
function decodeLzmaFile(from: Uint8Array, into: Uint8Array): void {
  if (from.length < 18) throw cut();
  const view = viewOf(from);
  const low = view.getUint32(5, true);
  const high = view.getUint32(9, true);
  const unknown = low === 0xffffffff && high === 0xffffffff;
  if (!unknown && (high !== 0 || low !== into.length)) throw corruptStream("xz", "the header tells another size than expected");
  const lzma = new Lzma();
  lzma.setProperties(from[0]!, false);
  const out = lzma.decode(from, 13, from.length, into, 0, 0, into.length);
  if (out < into.length) throw corruptStream("xz", `${out} bytes where ${into.length} are expected`);
}

export const decompressXz: DecompressSync = (from, into) => {
  const isXz = from[0] === 0xfd && from[1] === 0x37 && from[2] === 0x7a && from[3] === 0x58 && from[4] === 0x5a && from[5] === 0;
  if (isXz) decodeXz(from, into);
  else decodeLzmaFile(from, into);
};

export const xzDecoder: CodecProvider = {
  name: "xz",
  decompressor: { name: "xz", sync: decompressXz, async: async (from, into) => decompressXz(from, into) },
};
