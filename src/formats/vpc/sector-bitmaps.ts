/** The sector bitmaps of a differencing VHD in memory: which sectors of a block are the image's own. */
import { readBytes, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { parallel, type Op } from "../../block/op.js";

/** Memory for bitmaps, in bytes; one is always kept, and those that have not been written. */
const BUDGET = 8 * 1048576;

interface SectorBitmap {
  bits: Uint8Array;
  /** Byte offset in the file. */
  offset: number;
  isDirty: boolean;
}

export class SectorBitmaps {
  readonly #file: () => Node;
  /** Bytes of each. */
  readonly #size: number;
  readonly #bitmaps = new Map<number, SectorBitmap>();
  #dirty = 0;

  constructor(file: () => Node, size: number) {
    this.#file = file;
    this.#size = size;
  }

  get(block: number): Uint8Array | undefined {
    return this.#bitmaps.get(block)?.bits;
  }
  /** So many wait to be written that a flush is due. */
  get isCrowded(): boolean {
    return this.#dirty * this.#size > BUDGET / 2;
  }
  get hasDirty(): boolean {
    return this.#dirty > 0;
  }

  *load(block: number, offset: number): Op<void> {
    const bits = yield* readBytes(this.#file(), offset, this.#size);
    if (this.#bitmaps.has(block)) return;
    this.#makeRoom();
    this.#bitmaps.set(block, { bits, offset, isDirty: false });
  }

  #makeRoom(): void {
    for (const [block, { isDirty }] of this.#bitmaps) {
      if ((this.#bitmaps.size + 1) * this.#size <= BUDGET) return;
      if (!isDirty) this.#bitmaps.delete(block);
    }
  }

  /** Marks sectors as the image's own. The first sector is the most significant bit of the first byte. */
  *own(block: number, offset: number, sector: number, count: number): Op<void> {
    if (!this.#bitmaps.has(block)) yield* this.load(block, offset);
    const bitmap = this.#bitmaps.get(block)!;
    for (let at = sector; at < sector + count; at++) {
      if (isSet(bitmap.bits, at)) continue;
      bitmap.bits[at >>> 3]! |= 0x80 >>> (at & 7);
      if (!bitmap.isDirty) this.#dirty++;
      bitmap.isDirty = true;
    }
  }

  /** What has changed, as it is now, to be written by the Op that is returned. Until that has worked, and where more was changed since, it stays dirty. */
  takeDirty(): () => Op<void> {
    const taken: { bitmap: SectorBitmap; bits: Uint8Array }[] = [];
    for (const bitmap of this.#bitmaps.values()) {
      if (bitmap.isDirty) taken.push({ bitmap, bits: bitmap.bits.slice() });
    }
    return () => this.#write(taken);
  }

  *#write(taken: readonly { bitmap: SectorBitmap; bits: Uint8Array }[]): Op<void> {
    yield* parallel(taken.map(({ bitmap, bits }) => writeGrow(this.#file(), bits, bitmap.offset)));
    for (const { bitmap, bits } of taken) {
      if (!sameBits(bitmap.bits, bits)) continue;
      bitmap.isDirty = false;
      this.#dirty--;
    }
  }
}

export const isSet = (bits: Uint8Array, sector: number): boolean => (bits[sector >>> 3]! & (0x80 >>> (sector & 7))) !== 0;

function sameBits(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
