/** Buffers that are used again, so that requests neither allocate nor clear memory. */

const SMALLEST = 4096;
/** Free bytes that are kept. */
const MAX_FREE = 8 * 1024 * 1024;

export class BufferPool {
  readonly #free: Uint8Array[][] = [];
  #freeBytes = 0;

  /** A buffer of `length` bytes with any content; goes back with `give` when nobody reads it any more. */
  take(length: number): Uint8Array {
    const size = sizeClass(length);
    const found = this.#free[size]?.pop();
    if (found === undefined) return new Uint8Array(SMALLEST << size).subarray(0, length);
    this.#freeBytes -= found.length;
    return found.subarray(0, length);
  }

  give(buffer: Uint8Array): void {
    const whole = new Uint8Array(buffer.buffer);
    if (this.#freeBytes + whole.length > MAX_FREE) return;
    this.#freeBytes += whole.length;
    (this.#free[sizeClass(whole.length)] ??= []).push(whole);
  }
}

function sizeClass(length: number): number {
  return length <= SMALLEST ? 0 : 32 - Math.clz32((length - 1) >>> 12);
}
