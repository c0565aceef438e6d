/**
 * LZMA decoder writing straight into the caller's bytes, which are its only dictionary. The probability model and the
 * packet layout are those of the LZMA specification (7-zip SDK, lzma-specification.txt).
 */
import { corruptStream } from "../codec.js";

const HALF = 1024;
const STATES = 12;
const MATCH_MIN = 2;

const cut = (): Error => corruptStream("xz", "the stream is cut off");

/** Where each kind of probability begins in the one table; positions are within 4 bits. */
const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * 16;
const IS_REP0 = IS_REP + STATES;
const IS_REP1 = IS_REP0 + STATES;
const IS_REP2 = IS_REP1 + STATES;
const IS_REP0_LONG = IS_REP2 + STATES;
const SLOT = IS_REP0_LONG + STATES * 16;
const SPECIAL = SLOT + 4 * 64;
const ALIGN = SPECIAL + 128;
const LENGTH = ALIGN + 16;
/** Within a length model: two choices, 16 low trees, 16 middle trees, the high tree. */
const LENGTH_LOW = 2;
const LENGTH_MID = LENGTH_LOW + 16 * 8;
const LENGTH_HIGH = LENGTH_MID + 16 * 8;
const LENGTH_SIZE = LENGTH_HIGH + 256;
const REP_LENGTH = LENGTH + LENGTH_SIZE;
const LITERAL = REP_LENGTH + LENGTH_SIZE;

/** One LZMA decoder; LZMA2 keeps it over its chunks. */
export class Lzma {
  #probabilities: Uint16Array = new Uint16Array(0);
  #lc = 0;
  #lp = 0;
  #pb = 0;
  #state = 0;
  #rep0 = 0;
  #rep1 = 0;
  #rep2 = 0;
  #rep3 = 0;
  // The range coder.
  #from: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  #range = 0;
  #code = 0;

  /** Sets lc, lp and pb from their packed byte and resets all state. `limited`: LZMA2's rule that lc + lp <= 4. */
  setProperties(byte: number, limited: boolean): void {
    if (byte >= 225) throw corruptStream("xz", "LZMA properties are out of range");
    this.#lc = byte % 9;
    this.#lp = Math.floor(byte / 9) % 5;
    this.#pb = Math.floor(byte / 45);
    if (limited && this.#lc + this.#lp > 4) throw corruptStream("xz", "LZMA properties are out of range");
    this.#probabilities = new Uint16Array(LITERAL + (0x300 << (this.#lc + this.#lp)));
    this.reset();
  }

  get ready(): boolean {
    return this.#probabilities.length > 0;
  }

  reset(): void {
    this.#probabilities.fill(HALF);
    this.#state = this.#rep0 = this.#rep1 = this.#rep2 = this.#rep3 = 0;
  }

  #bit(index: number): number {
    const probabilities = this.#probabilities;
    const probability = probabilities[index]!;
    const bound = (this.#range >>> 11) * probability;
    let bit: number;
    if (this.#code >>> 0 < bound >>> 0) {
      this.#range = bound;
      probabilities[index] = probability + ((2048 - probability) >> 5);
      bit = 0;
    } else {
      this.#range = (this.#range - bound) | 0;
      this.#code = (this.#code - bound) | 0;
      probabilities[index] = probability - (probability >> 5);
      bit = 1;
    }
    if (this.#range >>> 0 < 0x1000000) this.#normalize();
    return bit;
  }

  #normalize(): void {
    if (this.#at >= this.#end) throw cut();
    this.#range <<= 8;
    this.#code = (this.#code << 8) | this.#from[this.#at++]!;
  }

  #direct(width: number): number {
    let value = 0;
    for (; width > 0; width--) {
      this.#range >>>= 1;
      this.#code = (this.#code - this.#range) | 0;
      const borrow = this.#code >> 31;
      this.#code = (this.#code + (this.#range & borrow)) | 0;
      value = (value << 1) + 1 + borrow;
      if (this.#range >>> 0 < 0x1000000) this.#normalize();
    }
    return value >>> 0;
  }

  #tree(base: number, width: number): number {
    let node = 1;
    for (let i = 0; i < width; i++) node = (node << 1) | this.#bit(base + node);
    return node - (1 << width);
  }

  #reverse(base: number, width: number): number {
    let node = 1;
    let value = 0;
    for (let i = 0; i < width; i++) {
      const bit = this.#bit(base + node);
      node = (node << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  #length(base: number, position: number): number {
    if (this.#bit(base) === 0) return MATCH_MIN + this.#tree(base + LENGTH_LOW + position * 8, 3);
    if (this.#bit(base + 1) === 0) return MATCH_MIN + 8 + this.#tree(base + LENGTH_MID + position * 8, 3);
    return MATCH_MIN + 16 + this.#tree(base + LENGTH_HIGH, 8);
  }

  #distance(length: number): number {
    const slot = this.#tree(SLOT + Math.min(length - MATCH_MIN, 3) * 64, 6);
    if (slot < 4) return slot;
    const width = (slot >> 1) - 1;
    const base = (2 | (slot & 1)) << width;
    if (slot < 14) return base + this.#reverse(SPECIAL + base - slot, width);
    return ((base >>> 0) + this.#direct(width - 4) * 16 + this.#reverse(ALIGN, 4)) >>> 0;
  }

  /**
   * Decodes from[at..end) to into[out..stop), matches reaching back to `start`; the position counts from `start`.
   * Returns the new end of `into`, which is below `stop` only if an end marker came first. `input` tells what was read.
   */
  decode(from: Uint8Array, at: number, end: number, into: Uint8Array, start: number, out: number, stop: number): number {
    if (at + 5 > end) throw cut();
    if (from[at] !== 0) throw corruptStream("xz", "the range coder begins wrongly");
    this.#from = from;
    this.#end = end;
    this.#range = -1;
    this.#code = (from[at + 1]! << 24) | (from[at + 2]! << 16) | (from[at + 3]! << 8) | from[at + 4]!;
    this.#at = at + 5;
    const positionMask = (1 << this.#pb) - 1;
    const literalMask = (1 << this.#lp) - 1;
    const lc = this.#lc;
    while (out < stop) {
      const position = (out - start) & positionMask;
      let state = this.#state;
      if (this.#bit(IS_MATCH + state * 16 + position) === 0) {
        const before = out > start ? into[out - 1]! : 0;
        const base = LITERAL + 0x300 * ((((out - start) & literalMask) << lc) + (before >> (8 - lc)));
        let symbol = 1;
        if (state >= 7) {
          if (this.#rep0 >= out - start) throw corruptStream("xz", "a match reaches before the beginning");
          let match = into[out - this.#rep0 - 1]!;
          do {
            const matchBit = match >> 7;
            match = (match << 1) & 255;
            const bit = this.#bit(base + ((1 + matchBit) << 8) + symbol);
            symbol = (symbol << 1) | bit;
            if (matchBit !== bit) break;
          } while (symbol < 0x100);
        }
        while (symbol < 0x100) symbol = (symbol << 1) | this.#bit(base + symbol);
        into[out++] = symbol;
        this.#state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
        continue;
      }
      let length: number;
      if (this.#bit(IS_REP + state) === 0) {
        this.#rep3 = this.#rep2;
        this.#rep2 = this.#rep1;
        this.#rep1 = this.#rep0;
        length = this.#length(LENGTH, position);
        this.#rep0 = this.#distance(length);
        if (this.#rep0 === 0xffffffff) return out; // end marker
        state = state < 7 ? 7 : 10;
      } else {
        if (this.#bit(IS_REP0 + state) === 0) {
          if (this.#bit(IS_REP0_LONG + state * 16 + position) === 0) {
            if (this.#rep0 >= out - start) throw corruptStream("xz", "a match reaches before the beginning");
            into[out] = into[out - this.#rep0 - 1]!;
            out++;
            this.#state = state < 7 ? 9 : 11;
            continue;
          }
        } else {
          let distance: number;
          if (this.#bit(IS_REP1 + state) === 0) distance = this.#rep1;
          else {
            if (this.#bit(IS_REP2 + state) === 0) distance = this.#rep2;
            else {
              distance = this.#rep3;
              this.#rep3 = this.#rep2;
            }
            this.#rep2 = this.#rep1;
          }
          this.#rep1 = this.#rep0;
          this.#rep0 = distance;
        }
        length = this.#length(REP_LENGTH, position);
        state = state < 7 ? 8 : 11;
      }
      this.#state = state;
      if (this.#rep0 >= out - start) throw corruptStream("xz", "a match reaches before the beginning");
      if (length > stop - out) throw corruptStream("xz", "more bytes than expected");
      const distance = this.#rep0 + 1;
      for (const last = out + length; out < last; out++) into[out] = into[out - distance]!;
    }
    return out;
  }

  /** Index in the input just after the last byte that was read. */
  get input(): number {
    return this.#at;
  }
}
