/**
 * Blocks of a file that are let go and can be used again: not before the table that no longer names them is on disk, and every
 * reader that may still have found them is done. Places are byte offsets.
 */
import type { ReadEpoch, Requests } from "../../block/requests.js";

interface Batch {
  hosts: number[];
  readers: readonly ReadEpoch[];
}

export class FreeSpace {
  readonly #requests: Requests;
  /** Let go since the last flush began. */
  #released: number[] = [];
  /** Let go before the flush that is under way. */
  #flushing: number[] = [];
  /** On disk; readers may still be there. */
  readonly #waiting: Batch[] = [];
  /** Descending, unless `#mixed`. */
  readonly #free: number[] = [];
  #mixed = false;
  /** Epochs that were closed and had readers then. */
  #epochs: ReadEpoch[] = [];

  constructor(requests: Requests) {
    this.#requests = requests;
  }

  release(host: number): void {
    this.#released.push(host);
  }
  beginFlush(): void {
    this.#flushing.push(...this.#released);
    this.#released = [];
  }
  endFlush(written: boolean): void {
    if (!written) {
      this.#released.push(...this.#flushing);
    } else if (this.#flushing.length > 0) {
      this.#epochs = [...this.#epochs.filter((epoch) => epoch.readers > 0), this.#requests.closeEpoch()];
      this.#waiting.push({ hosts: this.#flushing, readers: this.#epochs });
    }
    this.#flushing = [];
  }

  /** Space that was handed out and never linked. */
  give(hosts: readonly number[]): void {
    this.#free.push(...hosts);
    this.#mixed = true;
  }

  /** Up to `count` places, in ascending order. They may hold anything. */
  take(count: number): number[] {
    while (this.#waiting.length > 0 && this.#waiting[0]!.readers.every((epoch) => epoch.readers === 0)) {
      this.give(this.#waiting.shift()!.hosts);
    }
    if (this.#free.length === 0) return [];
    if (this.#mixed) this.#free.sort((a, b) => b - a);
    this.#mixed = false;
    return this.#free.splice(Math.max(0, this.#free.length - count)).reverse();
  }
}
