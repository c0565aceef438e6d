/**
 * LZFSE decoder (DMG "ULFO"): blocks of plain bytes, LZVN, or LZFSE proper, up to the end mark. The caller's bytes are
 * the only window.
 */
import { viewOf } from "../../base/bytes.js";
import { corruptStream, type CodecProvider, type DecompressSync } from "../codec.js";
import { BackwardBits, makeTable, type LzfseTable } from "./fse.js";
import { decodeLzvn } from "./lzvn.js";

const END = 0x24787662; // "bvx$"
const PLAIN = 0x2d787662; // "bvx-"
const LZFSE_V1 = 0x31787662; // "bvx1"
const LZFSE_V2 = 0x32787662; // "bvx2"
const LZVN = 0x6e787662; // "bvxn"

const L_STATES = 64,
  M_STATES = 64,
  D_STATES = 256,
  LITERAL_STATES = 1024;
const L_SYMBOLS = 20,
  M_SYMBOLS = 20,
  D_SYMBOLS = 64,
  LITERAL_SYMBOLS = 256;
const SYMBOLS = L_SYMBOLS + M_SYMBOLS + D_SYMBOLS + LITERAL_SYMBOLS;
const MATCHES_MAX = 10000;
const LITERALS_MAX = 4 * MATCHES_MAX;

const L_EXTRA = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 5, 8);
const M_EXTRA = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 5, 8, 11);
const D_EXTRA = Uint8Array.from({ length: 64 }, (_, i) => i >> 2);

/** Each symbol begins where the one before it, with its extra bits, ends. */
function baselines(extra: Uint8Array): Uint32Array {
  const base = new Uint32Array(extra.length);
  for (let i = 1; i < extra.length; i++) base[i] = base[i - 1]! + (1 << extra[i - 1]!);
  return base;
}
const L_BASE = baselines(L_EXTRA);
const M_BASE = baselines(M_EXTRA);
const D_BASE = baselines(D_EXTRA);

const cut = (): Error => corruptStream("lzfse", "the stream is cut off");

interface Header {
  plainBytes: number;
  literals: number;
  matches: number;
  literalBytes: number;
  matchBytes: number;
  literalUnused: number;
  matchUnused: number;
  literalStates: number[];
  lState: number;
  mState: number;
  dState: number;
  frequencies: Uint16Array;
  /** Index of the literal payload. */
  payload: number;
}

/** Frequencies of a version 2 header: codes of 2, 3, 5, 8 or 14 bits, least significant bit first. */
function readFrequencies(from: Uint8Array, at: number, end: number): Uint16Array {
  const frequencies = new Uint16Array(SYMBOLS);
  if (at === end) return frequencies;
  let word = 0;
  let count = 0;
  for (let i = 0; i < SYMBOLS; i++) {
    while (count < 14 && at < end) {
      word |= from[at++]! << count;
      count += 8;
    }
    let width: number;
    let value: number;
    if ((word & 1) === 0) {
      width = 2;
      value = (word >> 1) & 1;
    } else if ((word & 2) === 0) {
      width = 3;
      value = 2 + ((word >> 2) & 1);
    } else if ((word & 4) === 0) {
      width = 5;
      value = 4 + ((word >> 3) & 3);
    } else if ((word & 8) === 0) {
      width = 8;
      value = 8 + ((word >> 4) & 15);
    } else {
      width = 14;
      value = 24 + ((word >> 4) & 1023);
    }
    if (width > count) throw corruptStream("lzfse", "a frequency table is cut off");
    frequencies[i] = value;
    word >>>= width;
    count -= width;
  }
  if (count >= 8 || at !== end) throw corruptStream("lzfse", "a frequency table has bytes to spare");
  return frequencies;
}

function readHeaderV2(from: Uint8Array, at: number): Header {
  if (at + 32 > from.length) throw cut();
  const view = viewOf(from);
  const plainBytes = view.getUint32(at + 4, true);
  /** `width` (at most 20) bits of the 64-bit field at `offset`. */
  const field = (offset: number, bit: number, width: number): number => {
    const low = view.getUint32(at + offset, true);
    const high = view.getUint32(at + offset + 4, true);
    const value = bit >= 32 ? high >>> (bit - 32) : bit === 0 ? low : (low >>> bit) | (high << (32 - bit));
    return value & ((1 << width) - 1);
  };
  const size = view.getUint32(at + 24, true);
  if (size < 32 || at + size > from.length) throw cut();
  return {
    plainBytes,
    literals: field(8, 0, 20),
    literalBytes: field(8, 20, 20),
    matches: field(8, 40, 20),
    literalUnused: 7 - field(8, 60, 3),
    literalStates: [field(16, 0, 10), field(16, 10, 10), field(16, 20, 10), field(16, 30, 10)],
    matchBytes: field(16, 40, 20),
    matchUnused: 7 - field(16, 60, 3),
    lState: field(24, 32, 10),
    mState: field(24, 42, 10),
    dState: field(24, 52, 10),
    frequencies: readFrequencies(from, at + 32, at + size),
    payload: at + size,
  };
}

/** The older header with plain tables. */
function readHeaderV1(from: Uint8Array, at: number): Header {
  const frequenciesAt = 50;
  const size = frequenciesAt + SYMBOLS * 2;
  if (at + size > from.length) throw cut();
  const view = viewOf(from);
  const u16 = (offset: number): number => view.getUint16(at + offset, true);
  const u32 = (offset: number): number => view.getUint32(at + offset, true);
  return {
    plainBytes: u32(4),
    literals: u32(12),
    matches: u32(16),
    literalBytes: u32(20),
    matchBytes: u32(24),
    literalUnused: -view.getInt32(at + 28, true),
    literalStates: [u16(32), u16(34), u16(36), u16(38)],
    matchUnused: -view.getInt32(at + 40, true),
    lState: u16(44),
    mState: u16(46),
    dState: u16(48),
    frequencies: Uint16Array.from({ length: SYMBOLS }, (_, i) => u16(frequenciesAt + i * 2)),
    payload: at + size,
  };
}

function checkHeader(header: Header, from: Uint8Array): void {
  const inRange =
    header.literals <= LITERALS_MAX &&
    header.literals % 4 === 0 &&
    header.matches <= MATCHES_MAX &&
    header.literalUnused >= 0 &&
    header.literalUnused <= 7 &&
    header.matchUnused >= 0 &&
    header.matchUnused <= 7 &&
    header.literalStates.every((state) => state < LITERAL_STATES) &&
    header.lState < L_STATES &&
    header.mState < M_STATES &&
    header.dState < D_STATES;
  if (!inRange) throw corruptStream("lzfse", "a block header is damaged");
  if (header.payload + header.literalBytes + header.matchBytes > from.length) throw cut();
}

const literalBuffer = new Uint8Array(LITERALS_MAX);

function readLiterals(header: Header, from: Uint8Array, table: LzfseTable): void {
  const bits = new BackwardBits(from, header.payload, header.payload + header.literalBytes, header.literalUnused);
  const states = header.literalStates;
  const { symbol, delta } = table;
  for (let i = 0; i < header.literals; i++) {
    const state = states[i & 3]!;
    literalBuffer[i] = symbol[state]!;
    states[i & 3] = delta[state]! + bits.pull(table.bits[state]!);
  }
}

/** Decodes one LZFSE block to into[out..stop); returns the new end and where the input ended. */
function decodeBlock(header: Header, from: Uint8Array, into: Uint8Array, out: number): number {
  const { frequencies } = header;
  const part = (start: number, symbols: number): Uint16Array => frequencies.subarray(start, start + symbols);
  const l = makeTable(L_STATES, part(0, L_SYMBOLS));
  const m = makeTable(M_STATES, part(L_SYMBOLS, M_SYMBOLS));
  const d = makeTable(D_STATES, part(L_SYMBOLS + M_SYMBOLS, D_SYMBOLS));
  readLiterals(header, from, makeTable(LITERAL_STATES, part(L_SYMBOLS + M_SYMBOLS + D_SYMBOLS, LITERAL_SYMBOLS)));
  const start = header.payload + header.literalBytes;
  const bits = new BackwardBits(from, start, start + header.matchBytes, header.matchUnused);
  const stop = out + header.plainBytes;
  let { lState, mState, dState } = header;
  let literal = 0;
  let distance = 0;
  /** The next state is above the extra bits in the stream, so it comes first. */
  for (let i = 0; i < header.matches; i++) {
    const ls = l.symbol[lState]!;
    lState = l.delta[lState]! + bits.pull(l.bits[lState]!);
    const literals = L_BASE[ls]! + bits.pull(L_EXTRA[ls]!);
    const ms = m.symbol[mState]!;
    mState = m.delta[mState]! + bits.pull(m.bits[mState]!);
    const match = M_BASE[ms]! + bits.pull(M_EXTRA[ms]!);
    const ds = d.symbol[dState]!;
    dState = d.delta[dState]! + bits.pull(d.bits[dState]!);
    // Zero means the distance before.
    distance = D_BASE[ds]! + bits.pull(D_EXTRA[ds]!) || distance;
    if (literals > header.literals - literal) throw corruptStream("lzfse", "not enough literals");
    if (literals + match > stop - out) throw corruptStream("lzfse", "more bytes than the block header tells");
    for (let j = 0; j < literals; j++) into[out++] = literalBuffer[literal++]!;
    if (match === 0) continue;
    if (distance === 0 || distance > out) throw corruptStream("lzfse", "a match reaches before the beginning");
    for (const last = out + match; out < last; out++) into[out] = into[out - distance]!;
  }
  if (out !== stop) throw corruptStream("lzfse", "a block has another size than its header tells");
  return out;
}

export const decompressLzfse: DecompressSync = (from, into) => {
  const view = viewOf(from);
  let at = 0;
  let out = 0;
  for (;;) {
    if (at + 4 > from.length) {
      // Streams of exactly the wanted bytes are taken without their end mark, too.
      if (out === into.length) return;
      throw cut();
    }
    const magic = view.getUint32(at, true);
    if (magic === END) break;
    if (at + 12 > from.length) throw cut();
    const plainBytes = view.getUint32(at + 4, true);
    if (plainBytes > into.length - out) throw corruptStream("lzfse", "more bytes than expected");
    if (magic === PLAIN) {
      at += 8;
      if (at + plainBytes > from.length) throw cut();
      into.set(from.subarray(at, at + plainBytes), out);
      at += plainBytes;
      out += plainBytes;
    } else if (magic === LZVN) {
      const end = at + 12 + view.getUint32(at + 8, true);
      if (end > from.length) throw cut();
      const stop = out + plainBytes;
      out = decodeLzvn(from, at + 12, end, into, out, stop);
      if (out !== stop) throw corruptStream("lzfse", "a block has another size than its header tells");
      at = end;
    } else if (magic === LZFSE_V1 || magic === LZFSE_V2) {
      const header = magic === LZFSE_V2 ? readHeaderV2(from, at) : readHeaderV1(from, at);
      checkHeader(header, from);
      out = decodeBlock(header, from, into, out);
      at = header.payload + header.literalBytes + header.matchBytes;
    } else throw corruptStream("lzfse", "not an LZFSE block");
  }
  if (out < into.length) throw corruptStream("lzfse", `${out} bytes where ${into.length} are expected`);
};

export const lzfseDecoder: CodecProvider = {
  name: "lzfse",
  decompressor: { name: "lzfse", sync: decompressLzfse, async: async (from, into) => decompressLzfse(from, into) },
};
