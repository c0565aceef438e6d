/**
 * Portable zstd decoder (RFC 8878) that writes straight into the caller's bytes, which are its only window: a frame
 * costs the same small tables whatever window or size it claims.
 *
 * It takes what QEMU's qcow2 driver takes: one or more frames, skippable ones too, that together fill the unit exactly;
 * what follows is padding. Dictionaries are refused.
 */
import { corruptStream, type CodecProvider, type DecompressSync } from "../codec.js";
import { newFseTable, readFseTable, setRleTable, type FseTable } from "./fse.js";
import { readFrameHeader } from "./frame.js";
import { backwardBits, decodeHuffman, newHuffmanTable, readHuffmanTable } from "./huffman.js";
import {
  DEFAULT_LITERALS,
  DEFAULT_MATCHES,
  DEFAULT_OFFSETS,
  LITERAL_BASE,
  LITERAL_EXTRA,
  MATCH_BASE,
  MATCH_EXTRA,
} from "./sequences.js";
import { xxh64Low } from "./xxh64.js";

const BLOCK_MAX = 128 * 1024;
/** Codes above this would need offsets no unit of ours can have. */
const MAX_OFFSET_CODE = 31;

const cut = (): Error => corruptStream("zstd", "the stream is cut off");

// One decoder serves all calls: decoding is synchronous, and every frame starts from scratch.
const huffman = /* @__PURE__ */ newHuffmanTable();
const literalTable = /* @__PURE__ */ newFseTable(9);
const offsetTable = /* @__PURE__ */ newFseTable(8);
const matchTable = /* @__PURE__ */ newFseTable(9);
let literalCodes: FseTable | null = null;
let offsetCodes: FseTable | null = null;
let matchCodes: FseTable | null = null;
let repeat0 = 1;
let repeat1 = 4;
let repeat2 = 8;
let scratch: Uint8Array | null = null;

// Where the literals of the block at hand are.
const NOTHING = /* @__PURE__ */ new Uint8Array(0);
let literals: Uint8Array = NOTHING;
let literalAt = 0;
let literalEnd = 0;

/** Reads the literals section; returns where it ended. */
function readLiterals(from: Uint8Array, at: number, end: number): number {
  if (at >= end) throw cut();
  const b0 = from[at]!;
  const kind = b0 & 3;
  const format = (b0 >> 2) & 3;
  if (kind < 2) {
    const header = format === 1 ? 2 : format === 3 ? 3 : 1;
    if (at + header > end) throw cut();
    const size =
      header === 1
        ? b0 >> 3
        : header === 2
          ? (b0 >> 4) | (from[at + 1]! << 4)
          : (b0 >> 4) | (from[at + 1]! << 4) | (from[at + 2]! << 12);
    if (size > BLOCK_MAX) throw corruptStream("zstd", "too many literals");
    at += header;
    if (kind === 0) {
      if (at + size > end) throw cut();
      literals = from;
      literalAt = at;
      literalEnd = at + size;
      return at + size;
    }
    if (at >= end) throw cut();
    scratch ??= new Uint8Array(BLOCK_MAX);
    scratch.fill(from[at]!, 0, size);
    literals = scratch;
    literalAt = 0;
    literalEnd = size;
    return at + 1;
  }
  const header = format < 2 ? 3 : format + 2;
  if (at + header > end) throw cut();
  const b1 = from[at + 1]!;
  const b2 = from[at + 2]!;
  let size: number;
  let packed: number;
  if (header === 3) {
    size = (b0 >> 4) | ((b1 & 63) << 4);
    packed = (b1 >> 6) | (b2 << 2);
  } else if (header === 4) {
    size = (b0 >> 4) | (b1 << 4) | ((b2 & 3) << 12);
    packed = (b2 >> 2) | (from[at + 3]! << 6);
  } else {
    size = (b0 >> 4) | (b1 << 4) | ((b2 & 63) << 12);
    packed = (b2 >> 6) | (from[at + 3]! << 2) | (from[at + 4]! << 10);
  }
  at += header;
  const stop = at + packed;
  if (stop > end) throw cut();
  if (size > BLOCK_MAX) throw corruptStream("zstd", "too many literals");
  if (kind === 2) at = readHuffmanTable(huffman, from, at, stop);
  else if (huffman.bits === 0) throw corruptStream("zstd", "no Huffman table to repeat");
  scratch ??= new Uint8Array(BLOCK_MAX);
  if (format === 0) decodeHuffman(huffman, from, at, stop, scratch, 0, size);
  else {
    if (at + 6 > stop) throw cut();
    const one = at + 6;
    const two = one + (from[at]! | (from[at + 1]! << 8));
    const three = two + (from[at + 2]! | (from[at + 3]! << 8));
    const four = three + (from[at + 4]! | (from[at + 5]! << 8));
    const quarter = (size + 3) >> 2;
    if (four > stop || quarter * 3 > size) throw corruptStream("zstd", "literal streams do not fit");
    decodeHuffman(huffman, from, one, two, scratch, 0, quarter);
    decodeHuffman(huffman, from, two, three, scratch, quarter, quarter * 2);
    decodeHuffman(huffman, from, three, four, scratch, quarter * 2, quarter * 3);
    decodeHuffman(huffman, from, four, stop, scratch, quarter * 3, size);
  }
  literals = scratch;
  literalAt = 0;
  literalEnd = size;
  return stop;
}

// Where the last table description ended.
let tableEnd = 0;

function readCodes(
  mode: number,
  from: Uint8Array,
  at: number,
  end: number,
  own: FseTable,
  preset: FseTable,
  before: FseTable | null,
  maxLog: number,
  maxSymbol: number,
): FseTable {
  tableEnd = at;
  if (mode === 0) return preset;
  if (mode === 1) {
    if (at >= end) throw cut();
    if (from[at]! > maxSymbol) throw corruptStream("zstd", "a sequence code is out of range");
    setRleTable(own, from[at]!);
    tableEnd = at + 1;
    return own;
  }
  if (mode === 2) {
    tableEnd = readFseTable(own, from, at, end, maxLog, maxSymbol);
    return own;
  }
  if (before === null) throw corruptStream("zstd", "no sequence table to repeat");
  return before;
}

/** Appends from[at..end) at into[out..); short runs byte by byte, which beats a call. */
function append(into: Uint8Array, out: number, from: Uint8Array, at: number, length: number): void {
  if (length > 32) into.set(from.subarray(at, at + length), out);
  else for (let i = 0; i < length; i++) into[out + i] = from[at + i]!;
}

/** Decodes one compressed block to into[out..); returns the new end. Matches reach back to `start` at most. */
function decodeBlock(
  from: Uint8Array,
  at: number,
  end: number,
  into: Uint8Array,
  out: number,
  start: number,
  limit: number,
): number {
  at = readLiterals(from, at, end);
  if (at >= end) throw cut();
  let count = from[at++]!;
  if (count > 127) {
    if (count === 255) {
      if (at + 2 > end) throw cut();
      count = (from[at]! | (from[at + 1]! << 8)) + 0x7f00;
      at += 2;
    } else {
      if (at >= end) throw cut();
      count = ((count - 128) << 8) | from[at++]!;
    }
  }
  if (count > 0) {
    if (at >= end) throw cut();
    const modes = from[at++]!;
    if ((modes & 3) !== 0) throw corruptStream("zstd", "reserved bits are set");
    literalCodes = readCodes(modes >> 6, from, at, end, literalTable, DEFAULT_LITERALS, literalCodes, 9, 35);
    offsetCodes = readCodes((modes >> 4) & 3, from, tableEnd, end, offsetTable, DEFAULT_OFFSETS, offsetCodes, 8, MAX_OFFSET_CODE);
    matchCodes = readCodes((modes >> 2) & 3, from, tableEnd, end, matchTable, DEFAULT_MATCHES, matchCodes, 9, 52);
    out = runSequences(count, from, tableEnd, end, into, out, start, limit, literalCodes, offsetCodes, matchCodes);
  } else if (at !== end) throw corruptStream("zstd", "a block has bytes to spare");
  const rest = literalEnd - literalAt;
  if (rest > limit - out) throw tooLong();
  append(into, out, literals, literalAt, rest);
  return out + rest;
}

const tooLong = (): Error => corruptStream("zstd", "more bytes than expected");

function runSequences(
  count: number,
  from: Uint8Array,
  at: number,
  end: number,
  into: Uint8Array,
  out: number,
  start: number,
  limit: number,
  ll: FseTable,
  of: FseTable,
  ml: FseTable,
): number {
  /** `width` bits above bit `bit` of the stream, width <= 24. Bytes past the stream never reach the result. */
  const peek = (bit: number, width: number): number => {
    const byte = at + (bit >> 3);
    return (
      ((from[byte]! | (from[byte + 1]! << 8) | (from[byte + 2]! << 16) | (from[byte + 3]! << 24)) >>> (bit & 7)) &
      ((1 << width) - 1)
    );
  };
  const llSymbol = ll.symbol,
    llBits = ll.bits,
    llBase = ll.base;
  const ofSymbol = of.symbol,
    ofBits = of.bits,
    ofBase = of.base;
  const mlSymbol = ml.symbol,
    mlBits = ml.bits,
    mlBase = ml.base;
  const source = literals;
  let literal = literalAt;
  let r0 = repeat0,
    r1 = repeat1,
    r2 = repeat2;
  let bit = backwardBits(from, at, end);
  if (bit < ll.log + of.log + ml.log) throw cut();
  bit -= ll.log;
  let llState = peek(bit, ll.log);
  bit -= of.log;
  let ofState = peek(bit, of.log);
  bit -= ml.log;
  let mlState = peek(bit, ml.log);
  while (count-- > 0) {
    const ofCode = ofSymbol[ofState]!;
    const mlCode = mlSymbol[mlState]!;
    const llCode = llSymbol[llState]!;
    let offset: number;
    bit -= ofCode;
    if (bit < 0) throw cut();
    if (ofCode <= 24) offset = (1 << ofCode) + peek(bit, ofCode);
    else offset = ((1 << ofCode) >>> 0) + peek(bit + 16, ofCode - 16) * 65536 + peek(bit, 16);
    const mlExtra = MATCH_EXTRA[mlCode]!;
    const llExtra = LITERAL_EXTRA[llCode]!;
    bit -= mlExtra + llExtra;
    if (bit < 0) throw cut();
    const matchLength = MATCH_BASE[mlCode]! + peek(bit + llExtra, mlExtra);
    const literalLength = LITERAL_BASE[llCode]! + peek(bit, llExtra);
    if (count > 0) {
      bit -= llBits[llState]!;
      if (bit < 0) throw cut();
      llState = llBase[llState]! + peek(bit, llBits[llState]!);
      bit -= mlBits[mlState]!;
      if (bit < 0) throw cut();
      mlState = mlBase[mlState]! + peek(bit, mlBits[mlState]!);
      bit -= ofBits[ofState]!;
      if (bit < 0) throw cut();
      ofState = ofBase[ofState]! + peek(bit, ofBits[ofState]!);
    }
    if (offset > 3) {
      offset -= 3;
      r2 = r1;
      r1 = r0;
      r0 = offset;
    } else {
      const which = literalLength === 0 ? offset + 1 : offset;
      if (which === 1) offset = r0;
      else {
        if (which === 2) offset = r1;
        else {
          offset = which === 3 ? r2 : r0 - 1;
          r2 = r1;
        }
        r1 = r0;
        r0 = offset;
      }
    }
    if (literalLength > literalEnd - literal) throw corruptStream("zstd", "not enough literals");
    if (literalLength + matchLength > limit - out) throw tooLong();
    append(into, out, source, literal, literalLength);
    literal += literalLength;
    out += literalLength;
    if (offset < 1 || offset > out - start) throw corruptStream("zstd", "a match reaches before the beginning");
    copyMatch(into, out, offset, matchLength);
    out += matchLength;
  }
  if (bit !== 0) throw corruptStream("zstd", "a block has bits to spare");
  literalAt = literal;
  repeat0 = r0;
  repeat1 = r1;
  repeat2 = r2;
  return out;
}

/** Repeats what lies `offset` before `out`; source and target may overlap, which repeats a pattern. */
function copyMatch(into: Uint8Array, out: number, offset: number, length: number): void {
  const from = out - offset;
  if (length <= 32) for (let i = 0; i < length; i++) into[out + i] = into[from + i]!;
  else if (offset >= length) into.copyWithin(out, from, from + length);
  else if (offset === 1) into.fill(into[from]!, out, out + length);
  else {
    // What has been written doubles the pattern each time.
    let done = 0;
    let span = offset;
    while (done < length) {
      const part = Math.min(span, length - done);
      into.copyWithin(out + done, from, from + part);
      done += part;
      span = offset + done;
    }
  }
}

function decodeFrame(from: Uint8Array, at: number, into: Uint8Array, start: number): { at: number; out: number } {
  const header = readFrameHeader(from, at);
  if (header.skip) return { at: header.end, out: start };
  if (header.dictionary !== 0) throw corruptStream("zstd", "a dictionary is wanted");
  if (header.contentSize !== null && header.contentSize > into.length - start) throw tooLong();
  huffman.bits = 0;
  literalCodes = offsetCodes = matchCodes = null;
  repeat0 = 1;
  repeat1 = 4;
  repeat2 = 8;
  const blockMax = Math.min(BLOCK_MAX, header.window);
  let out = start;
  at = header.end;
  for (let last = false; !last;) {
    if (at + 3 > from.length) throw cut();
    const head = from[at]! | (from[at + 1]! << 8) | (from[at + 2]! << 16);
    at += 3;
    last = (head & 1) !== 0;
    const kind = (head >> 1) & 3;
    const size = head >> 3;
    if (size > blockMax || kind === 3) throw corruptStream("zstd", "a block header is damaged");
    if (kind === 1) {
      if (at >= from.length) throw cut();
      if (size > into.length - out) throw tooLong();
      into.fill(from[at]!, out, out + size);
      at++;
      out += size;
      continue;
    }
    if (at + size > from.length) throw cut();
    if (kind === 0) {
      if (size > into.length - out) throw tooLong();
      into.set(from.subarray(at, at + size), out);
      out += size;
    } else out = decodeBlock(from, at, at + size, into, out, start, Math.min(into.length, out + blockMax));
    at += size;
  }
  if (header.contentSize !== null && header.contentSize !== out - start)
    throw corruptStream("zstd", "the size does not match the frame header");
  if (header.checksum) {
    if (at + 4 > from.length) throw cut();
    const want = (from[at]! | (from[at + 1]! << 8) | (from[at + 2]! << 16) | (from[at + 3]! << 24)) >>> 0;
    if (xxh64Low(into.subarray(start, out)) !== want) throw corruptStream("zstd", "the checksum does not match");
    at += 4;
  }
  return { at, out };
}

/** Fills `into` from the frames at the beginning of `from`. */
export const decompressZstd: DecompressSync = (from, into) => {
  let at = 0;
  let out = 0;
  while (out < into.length) {
    if (at >= from.length) throw corruptStream("zstd", `${out} bytes where ${into.length} are expected`);
    ({ at, out } = decodeFrame(from, at, into, out));
  }
  literals = NOTHING; // do not keep the caller's bytes alive
};

export const portableZstdDecoder: readonly CodecProvider[] = [
  { name: "zstd", decompressor: { name: "zstd", sync: decompressZstd, async: async (from, into) => decompressZstd(from, into) } },
];
