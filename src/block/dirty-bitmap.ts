/**
 * Which parts of a disk have changed: one bit per `granularity` bytes.
 *
 * Bits live in pages that exist only where something is set, so a bitmap costs what it holds and not what it could hold; a
 * page of nothing but ones is shared. Offsets and lengths are bytes of the disk.
 */
import { BlockError } from "../base/error.js";
import { isPowerOfTwo } from "../base/int.js";
import { bitClearRange, bitCount, bitFindClear, bitFindSet, bitOr, bitSetRange } from "../kernel/js/bitmap.js";

/** A run of dirty bytes. */
export interface DirtyRun {
  offset: number;
  length: number;
}

const PAGE_BYTES = 4096;
const PAGE_BITS: number = PAGE_BYTES * 8;
const FULL: Uint8Array = new Uint8Array(PAGE_BYTES).fill(0xff);

export class DirtyBitmap {
  /** Bytes one bit stands for: a power of two. */
  readonly granularity: number;
  #size: number;
  #bits: number;
  #set = 0;
  readonly #pages = new Map<number, Uint8Array>();
  /** Counts changes: equal values mean equal content. */
  generation = 0;

  /** A clean bitmap for a disk of `size` bytes. */
  constructor(size: number, granularity: number) {
    if (!isPowerOfTwo(granularity)) throw new BlockError("ERR_INVALID_ARGUMENT", "Granularity must be power of 2");
    this.granularity = granularity;
    this.#size = size;
    this.#bits = Math.ceil(size / granularity);
  }

  get size(): number {
    return this.#size;
  }
  /** Number of bits. */
  get bits(): number {
    return this.#bits;
  }
  /** Dirty bytes, in whole granules. */
  get count(): number {
    return this.#set * this.granularity;
  }

  isDirty(offset: number): boolean {
    const bit = Math.floor(offset / this.granularity);
    const page = this.#pages.get(Math.floor(bit / PAGE_BITS));
    return page !== undefined && bitCount(page, 0, bit % PAGE_BITS, 1) === 1;
  }

  /** Marks everything that the range touches. What lies behind the end is ignored. */
  set(offset: number, length: number): void {
    if (length <= 0) return;
    const first = Math.floor(offset / this.granularity);
    this.#setBits(first, Math.min(Math.ceil((offset + length) / this.granularity), this.#bits) - first);
  }

  /** Unmarks the granules that lie inside the range as a whole (the last one of the disk may be short). */
  clear(offset: number, length: number): void {
    const end = offset + length;
    const first = Math.ceil(offset / this.granularity);
    const stop = end >= this.#size ? this.#bits : Math.floor(end / this.granularity);
    this.#clearBits(first, stop - first);
  }

  clearAll(): void {
    if (this.#set > 0) this.generation++;
    this.#pages.clear();
    this.#set = 0;
  }

  #setBits(first: number, count: number): void {
    const end = first + count;
    for (let bit = first; bit < end;) {
      const index = Math.floor(bit / PAGE_BITS);
      const from = bit % PAGE_BITS;
      const run = Math.min(PAGE_BITS - from, end - bit);
      const page = this.#pages.get(index);
      if (run === PAGE_BITS) {
        if (page !== FULL) {
          this.#add(PAGE_BITS - (page === undefined ? 0 : bitCount(page, 0, 0, PAGE_BITS)));
          this.#pages.set(index, FULL);
        }
      } else if (page !== FULL) {
        const own = page ?? new Uint8Array(PAGE_BYTES);
        if (page === undefined) this.#pages.set(index, own);
        this.#add(bitSetRange(own, 0, from, run));
      }
      bit += run;
    }
  }

  #clearBits(first: number, count: number): void {
    const end = first + count;
    for (let bit = first; bit < end;) {
      const index = Math.floor(bit / PAGE_BITS);
      const from = bit % PAGE_BITS;
      const run = Math.min(PAGE_BITS - from, end - bit);
      const page = this.#pages.get(index);
      if (page !== undefined) {
        if (run === PAGE_BITS) {
          this.#add(-bitCount(page, 0, 0, PAGE_BITS));
          this.#pages.delete(index);
        } else {
          const own = page === FULL ? FULL.slice() : page;
          if (page === FULL) this.#pages.set(index, own);
          this.#add(-bitClearRange(own, 0, from, run));
        }
      }
      bit += run;
    }
  }

  #add(bits: number): void {
    if (bits === 0) return;
    this.#set += bits;
    this.generation++;
  }

  // ---- looking through it -----------------------------------------------------------------------------------------

  /** The first dirty run at or behind `offset`, at most `maxLength` bytes long and not beyond the disk's end; null: all clean from there on. */
  nextDirty(offset: number, maxLength: number = Infinity): DirtyRun | null {
    const first = this.#find(Math.floor(offset / this.granularity), false);
    if (first < 0) return null;
    const start = Math.max(offset, first * this.granularity);
    const clean = this.#find(first, true, start + maxLength);
    const end = Math.min(clean < 0 ? this.#size : clean * this.granularity, start + maxLength, this.#size);
    return { offset: start, length: end - start };
  }

  /** Offset of the first clean byte at or behind `offset`, -1: none. */
  nextClean(offset: number): number {
    const bit = this.#find(Math.floor(offset / this.granularity), true);
    return bit < 0 ? -1 : Math.max(offset, bit * this.granularity);
  }

  /** All dirty runs in ascending order. The bitmap must not change meanwhile. */
  *runs(): Generator<DirtyRun, void, undefined> {
    for (let run = this.nextDirty(0); run !== null; run = this.nextDirty(run.offset + run.length)) {
      yield run;
      if (run.offset + run.length >= this.#size) return;
    }
  }

  /** The first bit from `from` on that is clear (or set); -1 when there is none. A search for clear bits may end behind byte `limit`. */
  #find(from: number, clear: boolean, limit = Infinity): number {
    const pages = Math.ceil(this.#bits / PAGE_BITS);
    let index = Math.floor(from / PAGE_BITS);
    if (!clear && this.#set === 0) return -1;
    while (index < pages) {
      const page = this.#pages.get(index);
      const start = Math.max(from, index * PAGE_BITS);
      const count = Math.min((index + 1) * PAGE_BITS, this.#bits) - start;
      if (count > 0) {
        if (clear && page === undefined) return start;
        if (!clear && page === FULL) return start;
        if (clear ? page !== FULL : page !== undefined) {
          const found = clear ? bitFindClear(page!, 0, start % PAGE_BITS, count) : bitFindSet(page!, 0, start % PAGE_BITS, count);
          if (found >= 0) return index * PAGE_BITS + found;
        }
      }
      if (clear && (index + 1) * PAGE_BITS * this.granularity >= limit) return -1;
      index = !clear && page === undefined ? this.#nextPage(index, pages) : index + 1;
    }
    return -1;
  }

  /** The next page that exists: found by looking at every place, or at every page where there are few of them. */
  #nextPage(index: number, pages: number): number {
    if (pages - index <= 4 * this.#pages.size + 1024) return index + 1;
    let best = pages;
    for (const at of this.#pages.keys()) if (at > index && at < best) best = at;
    return best;
  }

  // ---- with others ------------------------------------------------------------------------------------------------

  /** Marks what is dirty in `source`; granularities and sizes may differ. */
  merge(source: DirtyBitmap): void {
    if (source.granularity !== this.granularity) {
      for (const { offset, length } of source.runs()) this.set(offset, length);
      return;
    }
    for (const [index, page] of source.#pages) {
      const bits = Math.min(PAGE_BITS, this.#bits - index * PAGE_BITS);
      if (bits > 0) this.#orPage(index, page, bits);
    }
  }

  copy(): DirtyBitmap {
    const copy = new DirtyBitmap(this.#size, this.granularity);
    copy.merge(this);
    return copy;
  }

  /** Follows the disk to another size; new space is clean. */
  resize(size: number): void {
    if (size === this.#size) return;
    const bits = Math.ceil(size / this.granularity);
    if (bits < this.#bits) {
      for (const index of [...this.#pages.keys()]) {
        if (index * PAGE_BITS >= bits) this.#clearBits(index * PAGE_BITS, PAGE_BITS);
      }
      const edge = Math.min(Math.ceil(bits / PAGE_BITS) * PAGE_BITS, this.#bits);
      this.#clearBits(bits, edge - bits);
    }
    this.#size = size;
    this.#bits = bits;
    this.generation++;
  }

  // ---- as bytes ---------------------------------------------------------------------------------------------------
  // Little-endian: bit i is bit i % 8 of byte i / 8. That is how qcow2 stores bitmaps.

  /** Bytes that hold all bits. */
  get byteLength(): number {
    return Math.ceil(this.#bits / 8);
  }

  /** Whether the bytes [from, from+length) are all zeros, all ones (as far as there are bits), or neither. */
  kindOf(from: number, length: number): "zeros" | "ones" | "mixed" {
    const first = from * 8;
    const count = Math.min(length * 8, this.#bits - first);
    let set = 0;
    let seen = 0;
    for (let bit = first; bit < first + count;) {
      const within = bit % PAGE_BITS;
      const run = Math.min(PAGE_BITS - within, first + count - bit);
      const page = this.#pages.get(Math.floor(bit / PAGE_BITS));
      set += page === undefined ? 0 : page === FULL ? run : bitCount(page, 0, within, run);
      seen += run;
      if (set !== 0 && set !== seen) return "mixed";
      bit += run;
    }
    return set === 0 ? "zeros" : "ones";
  }

  /** Fills `into` with the bytes from `from` on; zeros behind the last bit. */
  readBytes(into: Uint8Array, from: number): void {
    into.fill(0);
    const end = Math.min(from + into.length, this.byteLength);
    for (let at = from; at < end;) {
      const within = at % PAGE_BYTES;
      const run = Math.min(PAGE_BYTES - within, end - at);
      const page = this.#pages.get(Math.floor(at / PAGE_BYTES));
      if (page !== undefined) into.set(page.subarray(within, within + run), at - from);
      at += run;
    }
    const tail = this.#bits % 8;
    const last = this.byteLength - 1;
    if (tail !== 0 && last >= from && last < from + into.length) into[last - from]! &= (1 << tail) - 1;
  }

  /** Marks what is set in `bytes`, which stand at byte `from`; bits behind the last one are ignored. */
  orBytes(bytes: Uint8Array, from: number): void {
    const end = Math.min(from + bytes.length, this.byteLength);
    for (let at = from; at < end;) {
      const within = at % PAGE_BYTES;
      const run = Math.min(PAGE_BYTES - within, end - at);
      const part = bytes.subarray(at - from, at - from + run);
      if (part.some((byte) => byte !== 0)) {
        const page = new Uint8Array(PAGE_BYTES);
        page.set(part, within);
        const index = Math.floor(at / PAGE_BYTES);
        this.#orPage(index, page, Math.min(PAGE_BITS, this.#bits - index * PAGE_BITS));
      }
      at += run;
    }
  }

  /** Marks bytes [from, from+length) of bits, as far as they exist. */
  setBytes(from: number, length: number): void {
    const first = from * 8;
    this.#setBits(first, Math.min(length * 8, this.#bits - first));
  }

  #orPage(index: number, page: Uint8Array, bits: number): void {
    const mine = this.#pages.get(index);
    if (mine === FULL) return;
    const before = mine === undefined ? 0 : bitCount(mine, 0, 0, PAGE_BITS);
    const own = mine ?? new Uint8Array(PAGE_BYTES);
    bitOrInto(own, page);
    if (bits < PAGE_BITS) bitClearRange(own, 0, bits, PAGE_BITS - bits);
    const after = bitCount(own, 0, 0, PAGE_BITS);
    if (mine === undefined && after > 0) this.#pages.set(index, own);
    this.#add(after - before);
  }
}

/** own |= other: through one buffer, as the kernel's twin wants it. */
const pair: Uint8Array = new Uint8Array(2 * PAGE_BYTES);
function bitOrInto(own: Uint8Array, other: Uint8Array): void {
  pair.set(own);
  pair.set(other, PAGE_BYTES);
  bitOr(pair, 0, PAGE_BYTES, PAGE_BYTES);
  own.set(pair.subarray(0, PAGE_BYTES));
}
