/** Huffman-coded literals of zstd (RFC 8878, 4.2). */
import { corruptStream } from "../codec.js";
import { newFseTable, readFseTable } from "./fse.js";

const MAX_BITS = 11;

export interface HuffmanTable {
  /** Length of the longest code; 0 while no table has been read. */
  bits: number;
  /** Per `bits`-bit prefix: code length << 8 | symbol. */
  readonly entry: Uint16Array;
}

export function newHuffmanTable(): HuffmanTable {
  return { bits: 0, entry: new Uint16Array(1 << MAX_BITS) };
}

const weights = /* @__PURE__ */ new Uint8Array(256);
const weightTable = /* @__PURE__ */ newFseTable(6);
const rank = /* @__PURE__ */ new Uint32Array(MAX_BITS + 2);

const damaged = (): Error => corruptStream("zstd", "Huffman table is damaged");

/** Reads `width` (at most 16) bits that end below bit `bit` of the backward stream starting at byte `at`; zeros below it. */
function bitsBelow(from: Uint8Array, at: number, bit: number, width: number): number {
  const low = bit - width;
  let value = 0;
  for (let i = 0; i < width; i++) {
    const b = low + i;
    if (b >= 0) value |= ((from[at + (b >> 3)]! >> (b & 7)) & 1) << i;
  }
  return value;
}

/** The number of bits before the end mark of a backward stream in from[at..end). */
export function backwardBits(from: Uint8Array, at: number, end: number): number {
  const last = end > at ? from[end - 1]! : 0;
  if (last === 0) throw corruptStream("zstd", "a bit stream has no end mark");
  return (end - at) * 8 - 8 + (31 - Math.clz32(last));
}

function readWeightsFse(from: Uint8Array, at: number, end: number): number {
  const start = readFseTable(weightTable, from, at, end, 6, 255);
  let bit = backwardBits(from, start, end);
  const { log, symbol, bits, base } = weightTable;
  let first = bitsBelow(from, start, bit, log);
  bit -= log;
  let second = bitsBelow(from, start, bit, log);
  bit -= log;
  if (bit < 0) throw damaged();
  let count = 0;
  for (;;) {
    if (count > 253) throw damaged();
    weights[count++] = symbol[first]!;
    const width = bits[first]!;
    first = base[first]! + bitsBelow(from, start, bit, width);
    bit -= width;
    if (bit < 0) {
      weights[count++] = symbol[second]!;
      return count;
    }
    const swap = first;
    first = second;
    second = swap;
  }
}

/** Reads a table description at `at`; returns where it ended. */
export function readHuffmanTable(table: HuffmanTable, from: Uint8Array, at: number, end: number): number {
  if (at >= end) throw damaged();
  const header = from[at++]!;
  let count: number;
  if (header < 128) {
    if (at + header > end) throw damaged();
    count = readWeightsFse(from, at, at + header);
    at += header;
  } else {
    count = header - 127;
    const bytes = (count + 1) >> 1;
    if (at + bytes > end) throw damaged();
    for (let i = 0; i < count; i++) weights[i] = (i & 1) === 0 ? from[at + (i >> 1)]! >> 4 : from[at + (i >> 1)]! & 15;
    at += bytes;
  }
  let sum = 0;
  rank.fill(0);
  for (let i = 0; i < count; i++) {
    const weight = weights[i]!;
    if (weight > MAX_BITS) throw damaged();
    if (weight > 0) sum += 1 << (weight - 1);
    rank[weight]!++;
  }
  if (sum === 0) throw damaged();
  const bits = 32 - Math.clz32(sum);
  if (bits > MAX_BITS) throw damaged();
  const rest = (1 << bits) - sum;
  if ((rest & (rest - 1)) !== 0) throw damaged();
  const lastWeight = 32 - Math.clz32(rest);
  weights[count++] = lastWeight;
  rank[lastWeight]!++;
  let start = 0;
  for (let weight = 1; weight <= bits; weight++) {
    const codes = rank[weight]!;
    rank[weight] = start;
    start += codes << (weight - 1);
  }
  for (let s = 0; s < count; s++) {
    const weight = weights[s]!;
    if (weight === 0) continue;
    const span = 1 << (weight - 1);
    const first = rank[weight]!;
    table.entry.fill(((bits + 1 - weight) << 8) | s, first, first + span);
    rank[weight] = first + span;
  }
  table.bits = bits;
  return at;
}

/** Decodes the backward stream from[at..end) into exactly into[to..stop). */
export function decodeHuffman(
  table: HuffmanTable,
  from: Uint8Array,
  at: number,
  end: number,
  into: Uint8Array,
  to: number,
  stop: number,
): void {
  let bit = backwardBits(from, at, end);
  const { entry, bits } = table;
  const mask = (1 << bits) - 1;
  // Two codes per load while a whole 24-bit word lies inside the stream.
  while (to + 1 < stop && bit >= 24) {
    const low = bit - 24;
    const byte = at + (low >> 3);
    const word = (from[byte]! | (from[byte + 1]! << 8) | (from[byte + 2]! << 16) | (from[byte + 3]! << 24)) >>> (low & 7);
    const first = entry[(word >>> (24 - bits)) & mask]!;
    const used = first >> 8;
    const second = entry[(word >>> (24 - bits - used)) & mask]!;
    into[to] = first;
    into[to + 1] = second;
    to += 2;
    bit -= used + (second >> 8);
  }
  while (to < stop) {
    const code = entry[bitsBelow(from, at, bit, bits)]!;
    into[to++] = code;
    bit -= code >> 8;
    if (bit < 0) break;
  }
  if (bit !== 0 || to !== stop) throw corruptStream("zstd", "literals do not fill their stream");
}
