/**
 * bzip2 decoder (DMG "UDBZ"). Memory is bounded by the format: at most 900,000 words per stream, whatever it claims.
 * Concatenated streams are one, as the bzip2 program has it.
 */
import { corruptStream, type CodecProvider, type DecompressSync } from "./codec.js";

const GROUP = 50;
const MAX_CODE = 20;
const RUN_A = 0;
const RUN_B = 1;

const damaged = (what: string): Error => corruptStream("bzip2", what);

/** Bits, most significant first. */
class Bits {
  at = 0;
  #word = 0;
  #count = 0;
  constructor(readonly from: Uint8Array) {}

  /** Up to 24 bits. */
  read(width: number): number {
    while (this.#count < width) {
      if (this.at >= this.from.length) throw damaged("the stream is cut off");
      this.#word = (this.#word << 8) | this.from[this.at++]!;
      this.#count += 8;
    }
    this.#count -= width;
    const value = (this.#word >>> this.#count) & ((1 << width) - 1);
    return value;
  }
  bit(): number {
    return this.read(1);
  }
  read32(): number {
    return this.read(16) * 65536 + this.read(16);
  }
  /** Drops what is left of the byte at hand. */
  align(): void {
    this.#count -= this.#count & 7;
  }
}

/** Canonical Huffman code: per length the limit of its codes and where its symbols begin. */
interface Code {
  limit: Int32Array;
  base: Int32Array;
  symbols: Uint16Array;
}

function makeCode(lengths: Uint8Array, alphabet: number): Code {
  const count = new Int32Array(MAX_CODE + 2);
  for (let i = 0; i < alphabet; i++) count[lengths[i]!]!++;
  const limit = new Int32Array(MAX_CODE + 2).fill(-1);
  const base = new Int32Array(MAX_CODE + 2);
  const symbols = new Uint16Array(alphabet);
  let code = 0;
  let index = 0;
  for (let length = 1; length <= MAX_CODE; length++) {
    base[length] = index - code;
    code += count[length]!;
    if (count[length]! > 0) limit[length] = code - 1;
    if (code > 1 << length) throw damaged("a Huffman code is over-full");
    for (let i = 0; i < alphabet; i++) if (lengths[i] === length) symbols[index++] = i;
    code <<= 1;
  }
  return { limit, base, symbols };
}

function readSymbol(bits: Bits, code: Code): number {
  let value = 0;
  for (let length = 1; length <= MAX_CODE; length++) {
    value = (value << 1) | bits.bit();
    // Codes of one length are consecutive, and every shorter code is below them.
    if (value <= code.limit[length]!) return code.symbols[value + code.base[length]!]!;
  }
  throw damaged("no such Huffman code");
}

const crcTable = Int32Array.from({ length: 256 }, (_, byte) => {
  let value = byte << 24;
  for (let i = 0; i < 8; i++) value = value < 0 ? (value << 1) ^ 0x04c11db7 : value << 1;
  return value;
});

/** Reads the Huffman-coded, move-to-front-coded block into `block`; returns its length. */
function readBlock(bits: Bits, block: Uint32Array): number {
  const used: number[] = [];
  const ranges = bits.read(16);
  for (let range = 0; range < 16; range++) {
    if ((ranges & (0x8000 >> range)) === 0) continue;
    const map = bits.read(16);
    for (let i = 0; i < 16; i++) if ((map & (0x8000 >> i)) !== 0) used.push(range * 16 + i);
  }
  if (used.length === 0) throw damaged("a block uses no bytes");
  const alphabet = used.length + 2;
  const groups = bits.read(3);
  if (groups < 2 || groups > 6) throw damaged("a block has a wrong number of codes");
  const selectorCount = bits.read(15);
  if (selectorCount === 0) throw damaged("a block has no selectors");
  const selectors = new Uint8Array(selectorCount);
  const order = [0, 1, 2, 3, 4, 5];
  for (let i = 0; i < selectorCount; i++) {
    let j = 0;
    while (bits.bit() === 1) if (++j >= groups) throw damaged("a selector is out of range");
    const [pick] = order.splice(j, 1);
    order.unshift(pick!);
    selectors[i] = pick!;
  }
  const codes: Code[] = [];
  const lengths = new Uint8Array(alphabet);
  for (let group = 0; group < groups; group++) {
    let length = bits.read(5);
    for (let i = 0; i < alphabet; i++) {
      for (;;) {
        if (length < 1 || length > MAX_CODE) throw damaged("a code length is out of range");
        if (bits.bit() === 0) break;
        length += bits.bit() === 0 ? 1 : -1;
      }
      lengths[i] = length;
    }
    codes.push(makeCode(lengths, alphabet));
  }
  const front = Uint8Array.from(used);
  const end = alphabet - 1;
  let length = 0;
  let run = 0;
  let weight = 1;
  for (let group = 0; ; group++) {
    if (group >= selectorCount) throw damaged("a block runs out of selectors");
    const code = codes[selectors[group]!]!;
    for (let i = 0; i < GROUP; i++) {
      const symbol = readSymbol(bits, code);
      if (symbol === RUN_A || symbol === RUN_B) {
        run += weight << symbol;
        weight *= 2;
        if (run > block.length - length) throw damaged("a block is longer than it may be");
        continue;
      }
      if (run > 0) {
        block.fill(front[0]!, length, length + run);
        length += run;
        run = 0;
        weight = 1;
      }
      if (symbol === end) return length;
      if (length >= block.length) throw damaged("a block is longer than it may be");
      const byte = front[symbol - 1]!;
      front.copyWithin(1, 0, symbol - 1);
      front[0] = byte;
      block[length++] = byte;
    }
  }
}

/** Undoes the Burrows-Wheeler transformation and the first run-length coding; returns the new end of `into`. */
function writeBlock(block: Uint32Array, length: number, origin: number, into: Uint8Array, out: number, wantCrc: number): number {
  const start = new Uint32Array(257);
  for (let i = 0; i < length; i++) start[(block[i]! & 255) + 1]!++;
  for (let i = 1; i < 257; i++) start[i]! += start[i - 1]!;
  for (let i = 0; i < length; i++) block[start[block[i]! & 255]!++]! |= i << 8;
  let crc = -1;
  let at = block[origin]! >>> 8;
  let before = -1;
  let same = 0;
  for (let left = length; left > 0; left--) {
    const entry = block[at]!;
    at = entry >>> 8;
    const byte = entry & 255;
    let copies = 1;
    let value = byte;
    if (same === 4) {
      // The fifth byte of a run tells how many more there are.
      copies = byte;
      value = before;
      same = 0;
    } else if (byte === before) same++;
    else {
      before = byte;
      same = 1;
    }
    if (copies > into.length - out) throw damaged("more bytes than expected");
    for (; copies > 0; copies--) {
      into[out++] = value;
      crc = (crc << 8) ^ crcTable[(crc >>> 24) ^ value]!;
    }
    if (same === 0) before = -1;
  }
  if (~crc >>> 0 !== wantCrc) throw damaged("the checksum does not match");
  return out;
}

export const decompressBzip2: DecompressSync = (from, into) => {
  const bits = new Bits(from);
  let block: Uint32Array | null = null;
  let out = 0;
  while (out < into.length) {
    if (bits.at >= from.length) throw damaged(`${out} bytes where ${into.length} are expected`);
    if (bits.read(24) !== 0x425a68) throw damaged("not a bzip2 stream");
    const level = bits.read(8) - 0x30;
    if (level < 1 || level > 9) throw damaged("not a bzip2 stream");
    if (block === null || block.length < level * 100000) block = new Uint32Array(level * 100000);
    const room = block.subarray(0, level * 100000);
    for (let combined = 0; ;) {
      const high = bits.read(24);
      const low = bits.read(24);
      const crc = bits.read32();
      if (high === 0x177245 && low === 0x385090) {
        if (crc !== combined >>> 0) throw damaged("the checksum does not match");
        break;
      }
      if (high !== 0x314159 || low !== 0x265359) throw damaged("a block header is damaged");
      if (bits.bit() === 1) throw damaged("randomized blocks are not supported");
      const origin = bits.read(24);
      const length = readBlock(bits, room);
      if (origin >= length) throw damaged("the origin lies outside its block");
      out = writeBlock(room, length, origin, into, out, crc);
      combined = ((combined << 1) | (combined >>> 31)) ^ crc;
    }
    bits.align();
  }
};

export const bzip2Decoder: CodecProvider = {
  name: "bzip2",
  decompressor: { name: "bzip2", sync: decompressBzip2, async: async (from, into) => decompressBzip2(from, into) },
};
