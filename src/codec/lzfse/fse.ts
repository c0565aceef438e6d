/** The entropy coding of LZFSE blocks: tables from frequencies, and bit streams that are read from their end. */
import { corruptStream } from "../codec.js";

/** One entry per state: how many bits the next state takes, what is added to them, and which symbol the state means. */
export interface LzfseTable {
  readonly bits: Uint8Array;
  readonly delta: Int16Array;
  readonly symbol: Uint8Array;
}

/** Builds the table of `states` (a power of two) states. Frequencies that sum up to less leave states that mean symbol 0. */
export function makeTable(states: number, frequencies: ArrayLike<number>): LzfseTable {
  const table: LzfseTable = { bits: new Uint8Array(states), delta: new Int16Array(states), symbol: new Uint8Array(states) };
  let state = 0;
  for (let symbol = 0; symbol < frequencies.length; symbol++) {
    const count = frequencies[symbol]!;
    if (count === 0) continue;
    if (state + count > states) throw corruptStream("lzfse", "frequencies do not add up");
    const bits = Math.clz32(count) - Math.clz32(states);
    const wide = ((2 * states) >> bits) - count;
    for (let i = 0; i < count; i++, state++) {
      table.symbol[state] = symbol;
      if (i < wide) {
        table.bits[state] = bits;
        table.delta[state] = ((count + i) << bits) - states;
      } else {
        table.bits[state] = bits - 1;
        table.delta[state] = (i - wide) << (bits - 1);
      }
    }
  }
  return table;
}

/** Bits of from[at..end) from the last one down; `unused` (0..7) bits at the very end do not count. */
export class BackwardBits {
  #bit: number;
  constructor(
    readonly from: Uint8Array,
    readonly at: number,
    end: number,
    unused: number,
  ) {
    this.#bit = (end - at) * 8 - unused;
  }

  /** Up to 24 bits. */
  pull(width: number): number {
    const bit = (this.#bit -= width);
    if (bit < 0) throw corruptStream("lzfse", "a bit stream is too short");
    const { from } = this;
    const byte = this.at + (bit >> 3);
    return (
      ((from[byte]! | (from[byte + 1]! << 8) | (from[byte + 2]! << 16) | (from[byte + 3]! << 24)) >>> (bit & 7)) &
      ((1 << width) - 1)
    );
  }
}
