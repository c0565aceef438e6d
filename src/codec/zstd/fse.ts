/** Finite state entropy tables of zstd (RFC 8878, 4.1): reading a distribution and building the decoding table. */
import { corruptStream } from "../codec.js";

/** A decoding table with 1 << log states. */
export interface FseTable {
  log: number;
  readonly symbol: Uint8Array;
  readonly bits: Uint8Array;
  readonly base: Uint16Array;
}

export function newFseTable(maxLog: number): FseTable {
  const size = 1 << maxLog;
  return { log: 0, symbol: new Uint8Array(size), bits: new Uint8Array(size), base: new Uint16Array(size) };
}

const counts = /* @__PURE__ */ new Int16Array(256);
const next = /* @__PURE__ */ new Uint16Array(256);

/** Fills `table` from the first `symbols` entries of `probabilities` (-1 means "less than one"). */
export function buildFseTable(table: FseTable, probabilities: ArrayLike<number>, symbols: number, log: number): void {
  const size = 1 << log;
  let high = size;
  for (let s = 0; s < symbols; s++) {
    const count = probabilities[s]!;
    if (count < 0) {
      table.symbol[--high] = s;
      next[s] = 1;
    } else next[s] = count;
  }
  const step = (size >> 1) + (size >> 3) + 3;
  let at = 0;
  for (let s = 0; s < symbols; s++) {
    for (let i = probabilities[s]!; i > 0; i--) {
      table.symbol[at] = s;
      do at = (at + step) & (size - 1);
      while (at >= high);
    }
  }
  if (at !== 0) throw corruptStream("zstd", "entropy table does not add up");
  for (let i = 0; i < size; i++) {
    const s = table.symbol[i]!;
    const n = next[s]!;
    next[s] = n + 1;
    const bits = log - (31 - Math.clz32(n));
    table.bits[i] = bits;
    table.base[i] = (n << bits) - size;
  }
  table.log = log;
}

/** A table with one state that always yields `symbol` and reads nothing. */
export function setRleTable(table: FseTable, symbol: number): void {
  table.log = 0;
  table.symbol[0] = symbol;
  table.bits[0] = 0;
  table.base[0] = 0;
}

/** Reads a distribution at `at` and builds `table`; returns where it ended. Everything lies below `end`. */
export function readFseTable(
  table: FseTable,
  from: Uint8Array,
  at: number,
  end: number,
  maxLog: number,
  maxSymbol: number,
): number {
  if (at >= end) throw corruptStream("zstd", "the stream is cut off");
  const log = (from[at]! & 15) + 5;
  if (log > maxLog) throw corruptStream("zstd", "entropy table is too precise");
  let bit = at * 8 + 4;
  const lastBit = end * 8;
  let remaining = (1 << log) + 1;
  let threshold = 1 << log;
  let width = log + 1;
  let symbol = 0;
  while (remaining > 1 && symbol <= maxSymbol) {
    const byte = bit >> 3;
    const word = ((from[byte]! | (from[byte + 1]! << 8) | (from[byte + 2]! << 16)) >>> (bit & 7)) & 0xffff;
    const small = 2 * threshold - 1 - remaining;
    let value = word & (threshold - 1);
    if (value < small) bit += width - 1;
    else {
      value = word & (2 * threshold - 1);
      if (value >= threshold) value -= small;
      bit += width;
    }
    value--;
    remaining -= value < 0 ? 1 : value;
    counts[symbol++] = value;
    if (value === 0) {
      let repeat: number;
      do {
        const b = bit >> 3;
        repeat = ((from[b]! | (from[b + 1]! << 8)) >>> (bit & 7)) & 3;
        bit += 2;
        for (let i = 0; i < repeat && symbol <= maxSymbol + 1; i++) counts[symbol++] = 0;
      } while (repeat === 3 && bit <= lastBit);
    }
    if (remaining < 1 || bit > lastBit) throw corruptStream("zstd", "entropy table is damaged");
    while (remaining < threshold) {
      width--;
      threshold >>= 1;
    }
  }
  if (remaining !== 1 || symbol > maxSymbol + 1) throw corruptStream("zstd", "entropy table does not add up");
  buildFseTable(table, counts, symbol, log);
  return (bit + 7) >> 3;
}
