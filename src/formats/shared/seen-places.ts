/** Places of a file that a check met before: one bit each. */
import { divCeil } from "../../base/int.js";

/** Places that are told apart (64 MiB of bits); those behind them are not remembered. */
const MAX_PLACES = 2 ** 29;

export class SeenPlaces {
  readonly #bits: Uint8Array;
  readonly #unit: number;
  #origin = -1;

  /** `fileEnd`, `unit`: bytes. All places lie `unit` bytes or a multiple of that from the first one; others are not remembered. */
  constructor(fileEnd: number, unit: number) {
    this.#bits = new Uint8Array(divCeil(Math.min(MAX_PLACES, divCeil(fileEnd, unit) + 1), 8));
    this.#unit = unit;
  }

  /** Whether `offset` was asked about before. */
  again(offset: number): boolean {
    if (this.#origin < 0) this.#origin = offset % this.#unit;
    const place = (offset - this.#origin) / this.#unit;
    if (!Number.isInteger(place) || place >= this.#bits.length * 8) return false;
    const at = Math.floor(place / 8);
    const bit = 1 << (place % 8);
    const seen = (this.#bits[at]! & bit) !== 0;
    this.#bits[at]! |= bit;
    return seen;
  }
}
