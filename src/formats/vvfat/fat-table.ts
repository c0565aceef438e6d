/** A file allocation table: for each cluster the next one of its chain. */
import { viewOf } from "../../base/bytes.js";
import { SECTOR, type FatType, type Layout } from "./layout.js";

export class FatTable {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #type: FatType;

  constructor(layout: Layout) {
    this.bytes = new Uint8Array(layout.sectorsPerFat * SECTOR);
    this.#view = viewOf(this.bytes);
    this.#type = layout.fatType;
  }

  get(cluster: number): number {
    if (this.#type === 32) return this.#view.getUint32(cluster * 4, true) & 0x0fffffff;
    if (this.#type === 16) return this.#view.getUint16(cluster * 2, true);
    const pair = this.#view.getUint16(cluster + (cluster >> 1), true);
    return cluster & 1 ? pair >> 4 : pair & 0xfff;
  }

  set(cluster: number, value: number): void {
    if (this.#type === 32) this.#view.setUint32(cluster * 4, value, true);
    else if (this.#type === 16) this.#view.setUint16(cluster * 2, value, true);
    else {
      const at = cluster + (cluster >> 1);
      const pair = this.#view.getUint16(at, true);
      this.#view.setUint16(at, cluster & 1 ? (pair & 0x000f) | (value << 4) : (pair & 0xf000) | value, true);
    }
  }

  /** Links [begin, end) to a chain that ends there. */
  chain(begin: number, end: number, endOfChain: number): void {
    for (let cluster = begin; cluster < end - 1; cluster++) this.set(cluster, cluster + 1);
    this.set(end - 1, endOfChain);
  }

  /** Whether `value` ends a chain. */
  isEnd(value: number): boolean {
    return value >= (this.#type === 32 ? 0x0ffffff8 : this.#type === 16 ? 0xfff8 : 0xff8);
  }
  /** Whether `value` says that the cluster cannot be used: nobody's, and not free. */
  isBad(value: number): boolean {
    return value === (this.#type === 32 ? 0x0ffffff7 : this.#type === 16 ? 0xfff7 : 0xff7);
  }
}
