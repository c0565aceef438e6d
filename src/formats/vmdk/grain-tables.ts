/** Grain tables of a sparse extent in memory, as many as a budget allows. */
import type { Miss } from "../../block/driver.js";

/** One grain table. */
export class GrainTable {
  /** Byte offsets of its copies in the extent file; -1: there is no second one. */
  readonly offset: number;
  readonly copy: number;
  /** Per grain: byte offset in the file, or one of the constants below. */
  readonly grains: Float64Array;
  dirty = false;
  /** Write-backs under way: the disk is older than the table, so it must stay. */
  writing = 0;

  constructor(offset: number, copy: number, grains: Float64Array) {
    this.offset = offset;
    this.copy = copy;
    this.grains = grains;
  }
}

export const UNALLOCATED = 0;
export const ZEROED = -1;
/** An entry that contradicts the format. */
export const DAMAGED = -2;

/** A table, or a part of a grain directory, that must be loaded. */
export class TableMiss implements Miss {
  readonly offset: number;
  /** The extent's own business: index in its directory. */
  readonly index: number;
  constructor(offset: number, index: number) {
    this.offset = offset;
    this.index = index;
  }
}

/** The tables of one extent, by byte offset. */
export class TableCache {
  readonly #tables = new Map<number, GrainTable>();
  readonly #limit: number;
  #bytes = 0;
  #dirty = 0;

  /** @param limit bytes of memory; two tables always have room */
  constructor(limit: number) {
    this.#limit = limit;
  }

  find(offset: number): GrainTable | null {
    return this.#tables.get(offset) ?? null;
  }

  add(table: GrainTable): void {
    this.#bytes += table.grains.byteLength;
    if (this.#bytes > this.#limit && this.#tables.size > 1) this.#makeRoom();
    this.#tables.set(table.offset, table);
  }

  /** Oldest first; changed ones stay. */
  #makeRoom(): void {
    for (const [key, table] of this.#tables) {
      if (table.dirty || table.writing > 0) continue;
      this.#tables.delete(key);
      this.#bytes -= table.grains.byteLength;
      if (this.#bytes <= this.#limit * 0.75) return;
    }
  }

  markDirty(table: GrainTable): void {
    if (table.dirty) return;
    table.dirty = true;
    this.#dirty += table.grains.byteLength;
  }

  /** So much is waiting to be written that the next writer should write it back. */
  get isCrowded(): boolean {
    return this.#dirty > this.#limit / 2;
  }

  /** Takes the changed tables; they stay in memory until `writing` is 0 again. */
  takeDirty(): GrainTable[] {
    const taken: GrainTable[] = [];
    if (this.#dirty === 0) return taken;
    for (const table of this.#tables.values()) {
      if (!table.dirty) continue;
      table.dirty = false;
      table.writing++;
      taken.push(table);
    }
    this.#dirty = 0;
    taken.sort((a, b) => a.offset - b.offset);
    return taken;
  }
}
