/**
 * A write-back cache of equally sized pieces (slots) of metadata tables, living in a kernel's memory so that kernels scan
 * the tables where they lie.
 *
 * The order of writes is declared: `beforeWrite` runs before the first dirty slot of a batch goes to the file (write the
 * refcounts first, wait for the barrier). Pointers returned by `find` and `get` are good until the next `yield`.
 *
 * Who modifies slots or writes them back holds the image's metadata lock; readers do not, so a slot that is being loaded or
 * written is busy and never evicted, and a dirty slot is only evicted through `makeRoom`, which takes the lock.
 */
import { assert } from "../../base/error.js";
import { alignDown, alignUp } from "../../base/int.js";
import { readPadded } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { WaitQueue, WaitRequest, type Op } from "../../block/op.js";
import type { Region } from "../../kernel/memory.js";
import type { Kernel } from "../../kernel/types.js";

/** Smallest unit that a medium writes whole; dirty ranges are rounded to it. */
const SECTOR = 512;

export interface TableCacheHooks {
  /** How a slot gets to the file (`writeGrow`); a cache that is only read has no use for it. */
  write(file: Node, bytes: Uint8Array, offset: number): Op<void>;
  /** Runs before a slot is read from the file. */
  loading?(file: Node): Op<void>;
  /** Runs before dirty slots are written; the metadata lock is held. */
  beforeWrite(): Op<void>;
  /** Called when every slot is dirty: write some back, taking the metadata lock unless `locked`. */
  makeRoom(locked: boolean): Op<void>;
  /** Every write-back is checked against other metadata first (overlap check). */
  checkWrite?(offset: number, length: number): Op<void>;
}

export class TableCache {
  readonly slotSize: number;
  readonly #kernel: Pick<Kernel, "memory">;
  readonly #base: number;
  readonly #slots: number;
  readonly #file: () => Node;
  readonly #hooks: TableCacheHooks;
  /** File offset → slot. */
  readonly #index = new Map<number, number>();
  readonly #offsets: Float64Array;
  readonly #used: Uint8Array;
  readonly #busy: Uint8Array;
  /** Dirty byte range of a slot; from > to when clean. */
  readonly #dirtyFrom: Uint32Array;
  readonly #dirtyTo: Uint32Array;
  readonly #ready = new WaitQueue();
  #hand = 0;
  #dirtyCount = 0;

  constructor(kernel: Pick<Kernel, "memory">, region: Region, slotSize: number, file: () => Node, hooks: TableCacheHooks) {
    this.#kernel = kernel;
    this.#base = region.offset;
    this.slotSize = slotSize;
    this.#slots = Math.floor(region.size / slotSize);
    assert(this.#slots >= 2, "a table cache needs two slots");
    this.#file = file;
    this.#hooks = hooks;
    this.#offsets = new Float64Array(this.#slots).fill(-1);
    this.#used = new Uint8Array(this.#slots);
    this.#busy = new Uint8Array(this.#slots);
    this.#dirtyFrom = new Uint32Array(this.#slots).fill(0xffffffff);
    this.#dirtyTo = new Uint32Array(this.#slots);
  }

  get isDirty(): boolean {
    return this.#dirtyCount > 0;
  }
  get slots(): number {
    return this.#slots;
  }

  /** Pointer to the slot that holds file offset `offset` (a multiple of the slot size into its table), or -1. */
  find(offset: number): number {
    const slot = this.#index.get(offset);
    if (slot === undefined || this.#busy[slot] === LOADING) return -1;
    this.#used[slot] = 1;
    return this.#base + slot * this.slotSize;
  }

  /** The slot of `offset`, read from the file if need be. `locked`: the caller holds the metadata lock. */
  *get(offset: number, locked: boolean): Op<number> {
    for (;;) {
      const pointer = this.find(offset);
      if (pointer >= 0) return pointer;
      yield* this.load(offset, locked);
    }
  }

  *load(offset: number, locked: boolean): Op<void> {
    if (this.#index.has(offset)) {
      // Somebody else is loading it.
      if (this.find(offset) < 0) yield new WaitRequest(this.#ready);
      return;
    }
    const slot = yield* this.#claim(offset, locked);
    if (slot < 0) return;
    let loaded = false;
    try {
      const at = this.#base + slot * this.slotSize;
      if (this.#hooks.loading !== undefined) yield* this.#hooks.loading(this.#file());
      yield* readPadded(this.#file(), this.#kernel.memory.subarray(at, at + this.slotSize), offset);
      loaded = true;
    } finally {
      this.#busy[slot] = 0;
      if (!loaded) this.#forget(slot);
      this.#ready.wakeAll();
    }
  }

  /** A zero-filled slot for a new table piece; all of it is dirty. */
  *create(offset: number): Op<number> {
    let slot = -1;
    while (slot < 0) {
      const known = this.#index.get(offset);
      if (known === undefined) slot = yield* this.#claim(offset, true);
      else if (this.#busy[known] !== LOADING) slot = known;
      // Somebody loads what was there in another life: his bytes must not arrive in the new table.
      else yield new WaitRequest(this.#ready);
    }
    this.#busy[slot] = 0;
    const at = this.#base + slot * this.slotSize;
    this.#kernel.memory.fill(0, at, at + this.slotSize);
    this.markDirty(at, 0, this.slotSize);
    return at;
  }

  /** Bytes [from, from+length) of the slot at `pointer` were changed. */
  markDirty(pointer: number, from: number, length: number): void {
    const slot = (pointer - this.#base) / this.slotSize;
    if (this.#dirtyTo[slot] === 0) this.#dirtyCount++;
    if (from < this.#dirtyFrom[slot]!) this.#dirtyFrom[slot] = from;
    if (from + length > this.#dirtyTo[slot]!) this.#dirtyTo[slot] = from + length;
  }

  /** Writes all dirty slots, in ascending file order. The metadata lock is held. */
  *writeBack(): Op<void> {
    if (this.#dirtyCount === 0) return;
    yield* this.#hooks.beforeWrite();
    const dirty: number[] = [];
    for (let slot = 0; slot < this.#slots; slot++) if (this.#dirtyTo[slot]! > 0) dirty.push(slot);
    dirty.sort((a, b) => this.#offsets[a]! - this.#offsets[b]!);
    for (const slot of dirty) yield* this.#writeSlot(slot);
  }

  *#writeSlot(slot: number): Op<void> {
    const from = alignDown(this.#dirtyFrom[slot]!, SECTOR);
    const to = Math.min(alignUp(this.#dirtyTo[slot]!, SECTOR), this.slotSize);
    const at = this.#base + slot * this.slotSize;
    const offset = this.#offsets[slot]!;
    if (this.#hooks.checkWrite !== undefined) yield* this.#hooks.checkWrite(offset + from, to - from);
    this.#busy[slot] = WRITING;
    try {
      yield* this.#hooks.write(this.#file(), this.#kernel.memory.subarray(at + from, at + to), offset + from);
    } finally {
      this.#busy[slot] = 0;
      this.#ready.wakeAll();
    }
    this.#clean(slot);
  }

  /** Forgets what it holds of a range of the file, dirty or not: the tables there are gone. */
  drop(offset: number, length: number): void {
    for (let at = offset; at < offset + length; at += this.slotSize) {
      const slot = this.#index.get(at);
      if (slot !== undefined) this.#forget(slot);
    }
  }

  /** Forgets everything. */
  dropAll(): void {
    for (const slot of [...this.#index.values()]) this.#forget(slot);
  }

  #clean(slot: number): void {
    if (this.#dirtyTo[slot]! > 0) this.#dirtyCount--;
    this.#dirtyFrom[slot] = 0xffffffff;
    this.#dirtyTo[slot] = 0;
  }

  #forget(slot: number): void {
    this.#clean(slot);
    this.#index.delete(this.#offsets[slot]!);
    this.#offsets[slot] = -1;
    this.#used[slot] = 0;
  }

  /** A slot for `offset`, marked as loading; -1 when the wait for one let somebody else load `offset`. */
  *#claim(offset: number, locked: boolean): Op<number> {
    for (;;) {
      const slot = this.#victim();
      if (slot >= 0) {
        if (this.#offsets[slot]! >= 0) this.#forget(slot);
        this.#offsets[slot] = offset;
        this.#index.set(offset, slot);
        this.#busy[slot] = LOADING;
        this.#used[slot] = 1;
        return slot;
      }
      if (this.#dirtyCount > 0) yield* this.#hooks.makeRoom(locked);
      else yield new WaitRequest(this.#ready);
      if (this.#index.has(offset)) return -1;
    }
  }

  /** Second-chance search for a clean slot that nobody is busy with. */
  #victim(): number {
    for (let turns = 2 * this.#slots; turns > 0; turns--) {
      const slot = this.#hand;
      this.#hand = slot + 1 === this.#slots ? 0 : slot + 1;
      if (this.#busy[slot] !== 0 || this.#dirtyTo[slot]! > 0) continue;
      if (this.#used[slot] === 1) {
        this.#used[slot] = 0;
        continue;
      }
      return slot;
    }
    return -1;
  }
}

const LOADING = 1;
const WRITING = 2;
