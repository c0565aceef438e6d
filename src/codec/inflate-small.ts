/**
 * Inflate (RFC 1951) in two kilobytes, for bundles that only read: `openReader`. The other entries use pako's port of zlib
 * (inflate.ts), which is faster on long streams. Accepts and refuses the same streams; the tests hold the two together.
 */
import { corruptStream, type CodecProvider } from "./codec.js";

const CODE_LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const MAX_BITS = 15;

/** Prefix codes as one table over the next `bits` bits of the stream: symbol * 16 + length of its code, 0 where there is none. */
interface Table {
  entries: Uint16Array;
  bits: number;
}

/** First value and number of extra bits of the symbols of a length or distance code. */
function ranges(count: number, symbolsPerStep: number, first: number): { base: number[]; extra: number[] } {
  const base: number[] = [];
  const extra: number[] = [];
  let value = first;
  for (let i = 0; i < count; i++) {
    extra[i] = Math.max(0, Math.floor(i / symbolsPerStep) - 1);
    base[i] = value;
    value += 1 << extra[i]!;
  }
  return { base, extra };
}
const lengths = /* @__PURE__ */ ranges(28, 4, 3);
const distances = /* @__PURE__ */ ranges(30, 2, 1);

function damaged(what: string): Error {
  return corruptStream("deflate", what);
}

/** @param partial a code may leave bit patterns unused if it has one symbol of one bit (RFC 1951, 3.2.7) */
function makeTable(codeLengths: Uint8Array, partial: boolean): Table {
  const counts = new Uint16Array(MAX_BITS + 1);
  for (const length of codeLengths) counts[length]!++;
  let bits = MAX_BITS;
  while (bits > 1 && counts[bits] === 0) bits--;
  counts[0] = 0;
  const next = new Uint16Array(MAX_BITS + 2);
  let left = 1;
  for (let length = 1; length <= MAX_BITS; length++) {
    next[length + 1] = (next[length]! + counts[length]!) << 1;
    left = left * 2 - counts[length]!;
    if (left < 0) throw damaged("a code has too many symbols");
  }
  // One without symbols is no error before something is to be read with it.
  const empty = left === 1 << MAX_BITS;
  if (left > 0 && !empty && !(partial && bits === 1)) throw damaged("a code is incomplete");
  const entries = new Uint16Array(1 << bits);
  for (let symbol = 0; symbol < codeLengths.length; symbol++) {
    const length = codeLengths[symbol]!;
    if (length === 0) continue;
    // Codes are sent from their highest bit on; the stream is read from the lowest.
    let reversed = 0;
    for (let code = next[length]!++, i = 0; i < length; i++, code >>= 1) reversed = (reversed << 1) | (code & 1);
    for (let at = reversed; at < entries.length; at += 1 << length) entries[at] = symbol * 16 + length;
  }
  return { entries, bits };
}

let fixed: { literals: Table; distances: Table } | null = null;
function fixedTables(): { literals: Table; distances: Table } {
  if (fixed === null) {
    const codes = new Uint8Array(288).fill(8).fill(9, 144, 256).fill(7, 256, 280);
    fixed = { literals: makeTable(codes, false), distances: makeTable(new Uint8Array(32).fill(5), false) };
  }
  return fixed;
}

/** Thrown, but no error: all bytes that were wanted are there, and the stream goes on behind them, or its input ends. */
const FILLED = /* @__PURE__ */ new Error("filled");

/** Fills `into` from the stream at the beginning of `from`: see `Decompressor`. @throws BlockError ERR_CORRUPT */
export function inflateSmall(from: Uint8Array, into: Uint8Array): void {
  let position = 0;
  let held = 0;
  let heldBits = 0;
  let at = 0;

  // zlib looks on in the stream until it has a byte that finds no room, and so refuses some streams for what it met there.
  const stopIfFull = (): void => {
    if (at === into.length) throw FILLED;
  };
  const endOfInput = (): Error => {
    stopIfFull();
    return damaged("the stream ends too early");
  };
  const need = (count: number): void => {
    while (heldBits < count) {
      if (position >= from.length) throw endOfInput();
      held |= from[position++]! << heldBits;
      heldBits += 8;
    }
  };
  const take = (count: number): number => {
    need(count);
    const value = held & ((1 << count) - 1);
    held >>>= count;
    heldBits -= count;
    return value;
  };
  const symbolOf = ({ entries, bits }: Table): number => {
    // Near the end there may be fewer bits than the longest code has.
    while (heldBits < bits && position < from.length) {
      held |= from[position++]! << heldBits;
      heldBits += 8;
    }
    const entry = entries[held & ((1 << bits) - 1)]!;
    const length = entry & 15 || 1;
    if (length > heldBits) throw endOfInput();
    if (entry === 0) throw damaged("a bit pattern is no symbol");
    held >>>= length;
    heldBits -= length;
    return entry >> 4;
  };

  const stored = (): void => {
    held >>>= heldBits & 7;
    heldBits -= heldBits & 7;
    const length = take(16);
    if (take(16) !== (~length & 0xffff)) throw damaged("a stored block contradicts its length");
    position -= heldBits >> 3;
    held = heldBits = 0;
    const count = Math.min(length, into.length - at);
    if (position + count > from.length) throw damaged("the stream ends too early");
    into.set(from.subarray(position, position + count), at);
    at += count;
    position += count;
    if (count < length) throw FILLED;
  };

  const dynamicTables = (): { literals: Table; distances: Table } => {
    const literalCount = take(5) + 257;
    const distanceCount = take(5) + 1;
    const codeCount = take(4) + 4;
    if (literalCount > 286 || distanceCount > 30) throw damaged("too many symbols");
    const codeLengths = new Uint8Array(19);
    for (let i = 0; i < codeCount; i++) codeLengths[CODE_LENGTH_ORDER[i]!] = take(3);
    const codes = makeTable(codeLengths, false);
    const all = new Uint8Array(literalCount + distanceCount);
    for (let i = 0; i < all.length;) {
      const symbol = symbolOf(codes);
      if (symbol < 16) {
        all[i++] = symbol;
        continue;
      }
      const repeat = symbol === 16 ? take(2) + 3 : symbol === 17 ? take(3) + 3 : take(7) + 11;
      if (symbol === 16 && i === 0) throw damaged("a repetition of nothing");
      const value = symbol === 16 ? all[i - 1]! : 0;
      if (i + repeat > all.length) throw damaged("a repetition goes too far");
      all.fill(value, i, i + repeat);
      i += repeat;
    }
    if (all[256] === 0) throw damaged("a block has no end");
    return { literals: makeTable(all.subarray(0, literalCount), true), distances: makeTable(all.subarray(literalCount), true) };
  };

  const compressed = (tables: { literals: Table; distances: Table }): void => {
    for (;;) {
      const symbol = symbolOf(tables.literals);
      if (symbol < 256) {
        stopIfFull();
        into[at++] = symbol;
        continue;
      }
      if (symbol === 256) return;
      if (symbol > 285) throw damaged("a length that does not exist");
      const length = symbol === 285 ? 258 : lengths.base[symbol - 257]! + take(lengths.extra[symbol - 257]!);
      const code = symbolOf(tables.distances);
      if (code > 29) throw damaged("a distance that does not exist");
      const distance = distances.base[code]! + take(distances.extra[code]!);
      stopIfFull();
      if (distance > at) throw damaged("a distance goes back too far");
      const left = into.length - at;
      const end = at + Math.min(length, left);
      if (distance >= length) {
        into.copyWithin(at, at - distance, end - distance);
        at = end;
      } else for (; at < end; at++) into[at] = into[at - distance]!;
      if (left < length) throw FILLED;
    }
  };

  try {
    for (let last = false; !last;) {
      const header = take(3);
      last = (header & 1) === 1;
      const kind = header >> 1;
      if (kind === 0) stored();
      else if (kind === 1) compressed(fixedTables());
      else if (kind === 2) compressed(dynamicTables());
      else throw damaged("a block of a kind that does not exist");
    }
  } catch (error) {
    if (error !== FILLED) throw error;
  }
  if (at < into.length) throw damaged(`${at} bytes where ${into.length} are expected`);
}

export const smallInflate: readonly CodecProvider[] = [
  { name: "deflate", decompressor: { name: "deflate", sync: inflateSmall, async: null } },
];
