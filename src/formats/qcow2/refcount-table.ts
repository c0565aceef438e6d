/** The refcount table: where the refcount blocks are, and what of that the file does not say yet. */
import { readU64BE, viewOf, writeU64BE } from "../../base/bytes.js";
import { alignDown, alignUp } from "../../base/int.js";

export class RefcountTable {
  readonly #clusterSize: number;
  #bytes: Uint8Array;
  #view: DataView;
  /** First and last entry that changed; from > to when none did. */
  #dirtyFrom = Infinity;
  #dirtyTo = -1;
  /** Host clusters of refcount blocks. */
  readonly #blocks = new Set<number>();
  /** The table is being moved or replaced: it reaches the disk as a whole, not entry by entry. */
  held = false;

  /** @param bytes as in the file */
  constructor(clusterSize: number, bytes: Uint8Array) {
    this.#clusterSize = clusterSize;
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
    this.#findBlocks();
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }
  /** A longer or shorter table, or a copy, with the same blocks. */
  set bytes(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
    this.#dirtyTo = Math.min(this.#dirtyTo, this.entries - 1);
    if (this.#dirtyFrom > this.#dirtyTo) this.#clean();
  }
  get entries(): number {
    return this.#bytes.length / 8;
  }

  /** Offset of a refcount block; 0 when there is none. */
  offset(index: number): number {
    return index < this.entries ? readU64BE(this.#view, index * 8) : 0;
  }
  /** There is a block at `offset` from now on, or with 0 none any more. */
  set(index: number, offset: number): void {
    const old = this.offset(index);
    if (old !== 0) this.#blocks.delete(old / this.#clusterSize);
    if (offset !== 0) this.#blocks.add(offset / this.#clusterSize);
    writeU64BE(this.#view, index * 8, offset);
    this.#dirtyFrom = Math.min(this.#dirtyFrom, index);
    this.#dirtyTo = Math.max(this.#dirtyTo, index);
  }

  /** Whether a refcount block lies in the byte range. */
  hasBlockIn(start: number, end: number): boolean {
    const size = this.#clusterSize;
    for (let cluster = Math.floor(start / size); cluster * size < end; cluster++) if (this.#blocks.has(cluster)) return true;
    return false;
  }
  /** Blocks of structures that are kept beside those of the table: nothing else may be written there. */
  keep(offsets: readonly number[]): void {
    for (const offset of offsets) this.#blocks.add(offset / this.#clusterSize);
  }

  /** Other structures, which are on disk. */
  adopt(bytes: Uint8Array): void {
    this.bytes = bytes;
    this.isWritten();
    this.#blocks.clear();
    this.#findBlocks();
  }

  get isDirty(): boolean {
    return this.#dirtyTo >= 0;
  }
  /** Bytes of the table, whole sectors, that are to be written; null when there are none, or not now. */
  dirtyRange(): [from: number, to: number] | null {
    if (!this.isDirty || this.held) return null;
    return [alignDown(this.#dirtyFrom * 8, 512), Math.min(alignUp((this.#dirtyTo + 1) * 8, 512), this.#bytes.length)];
  }
  /** The file has it all. */
  isWritten(): void {
    this.held = false;
    this.#clean();
  }

  #clean(): void {
    this.#dirtyFrom = Infinity;
    this.#dirtyTo = -1;
  }
  #findBlocks(): void {
    // Thousands of entries, nearly all of them zero, and every command that opens an image comes by: zeros are passed over word by word.
    const bytes = this.#bytes.byteOffset % 4 === 0 ? this.#bytes : this.#bytes.slice();
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
    for (let i = 0; i < this.entries; i++) {
      if (words[2 * i] === 0 && words[2 * i + 1] === 0) continue;
      const at = this.offset(i);
      if (at > 0 && Number.isFinite(at)) this.#blocks.add(Math.floor(at / this.#clusterSize));
    }
  }
}
