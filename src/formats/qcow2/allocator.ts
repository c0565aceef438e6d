/**
 * Refcounts and the allocation of host clusters. Frees are deferred (deferred-frees.ts).
 */
import { allocate } from "../../base/allocate.js";
import { BlockError } from "../../base/error.js";
import { alignUp, divCeil } from "../../base/int.js";
import { debugEvent } from "../../block/debug.js";
import { discard, writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { DeferredFrees, type Freed, type FreeReason } from "./deferred-frees.js";
import type { Qcow2 } from "./image.js";
import { MAX_REFTABLE_BYTES } from "./layout.js";
import type { Replacement } from "./refcount-replacement.js";
import { RefcountTable } from "./refcount-table.js";

export class Allocator {
  readonly #image: Qcow2;
  readonly #order: number;
  /** Refcounts (of as many host clusters) in one block and in one cached slice. */
  readonly blockEntries: number;
  readonly sliceEntries: number;
  readonly maxRefcount: number;

  /** For this folder. */
  readonly refcountTable: RefcountTable;
  /** Set while all refcount structures are being replaced. */
  replacement: Replacement | null = null;

  /** Where the next search begins. It passes by gaps too small for what was wanted until something is freed: no search twice. */
  #hint = 0;
  /** Where the next compressed cluster may begin inside a shared host cluster; 0: nowhere. */
  #nextByte = 0;
  readonly #frees: DeferredFrees;

  constructor(image: Qcow2, table: Uint8Array) {
    this.#image = image;
    this.#frees = new DeferredFrees(image, (freed) => this.#release(freed));
    this.#order = image.header.refcountOrder;
    this.blockEntries = (image.clusterSize * 8) >> this.#order;
    this.sliceEntries = (image.options.sliceSize * 8) >> this.#order;
    this.maxRefcount = this.#order === 6 ? Number.MAX_SAFE_INTEGER : 2 ** (2 ** this.#order) - 1;
    this.refcountTable = new RefcountTable(image.clusterSize, table);
  }

  get order(): number {
    return this.#order;
  }
  /** The bytes of the refcount table. */
  get table(): Uint8Array {
    return this.refcountTable.bytes;
  }
  get tableEntries(): number {
    return this.refcountTable.entries;
  }
  /** Offset of a refcount block as the table says; 0 when there is none. */
  blockOffset(index: number): number {
    return this.refcountTable.offset(index);
  }
  /** Whether a refcount block lies in the byte range. */
  blockInRange(start: number, end: number): boolean {
    return this.refcountTable.hasBlockIn(start, end);
  }
  get isDirty(): boolean {
    return this.#image.refblocks.isDirty || this.refcountTable.isDirty;
  }
  get wantsBarrier(): boolean {
    return this.#frees.wantsBarrier;
  }
  get hasPendingFrees(): boolean {
    return !this.#frees.isEmpty;
  }

  // ---- single refcounts -------------------------------------------------------------------------------------------

  /** `blockOffset`, refused where it cannot be one. */
  checkedBlock(index: number): number {
    const offset = this.blockOffset(index);
    if (offset % this.#image.clusterSize !== 0 || !Number.isFinite(offset)) {
      throw this.#image.corruption(
        `Refblock offset ${hex(offset)} unaligned (reftable index: ${hex(index)})`,
        this.#image.header.reftableOffset + index * 8,
      );
    }
    return offset;
  }

  /** Pointer (good until the next yield) to the slice with the refcount of `cluster`, or -1 when its block does not exist. */
  *slice(cluster: number): Op<number> {
    const block = this.checkedBlock(Math.floor(cluster / this.blockEntries));
    if (block === 0) return -1;
    const slice = Math.floor((cluster % this.blockEntries) / this.sliceEntries);
    const offset = block + slice * this.#image.options.sliceSize;
    const pointer = this.#image.refblocks.find(offset);
    return pointer >= 0 ? pointer : yield* this.#image.refblocks.get(offset, true);
  }

  /** The refcount of a host cluster. The lock is held. */
  *refcount(cluster: number): Op<number> {
    const pointer = yield* this.slice(cluster);
    return pointer < 0 ? 0 : this.#image.kernel.refGet(pointer, cluster % this.sliceEntries, this.#order);
  }

  /** Adds `delta` (+1 or -1) to the refcounts of `count` host clusters: all of them or, when that throws, none. */
  *update(first: number, count: number, delta: 1 | -1): Op<void> {
    let at = first;
    const end = first + count;
    try {
      while (at < end) {
        if (delta > 0) yield* debugEvent(this.#image.file, "refblock_alloc");
        if (delta > 0 && this.blockOffset(Math.floor(at / this.blockEntries)) === 0)
          yield* this.#ensureBlock(Math.floor(at / this.blockEntries));
        const run = Math.min(end - at, this.sliceEntries - (at % this.sliceEntries));
        yield* debugEvent(this.#image.file, "refblock_load");
        const pointer = yield* this.slice(at);
        const index = at % this.sliceEntries;
        const wrong = pointer < 0 ? 0 : this.#image.kernel.refAddRange(pointer, index, run, this.#order, delta);
        if (wrong >= 0) {
          throw delta > 0
            ? new BlockError(
                "ERR_TOO_LARGE",
                "The refcount of a cluster cannot grow any more: too many snapshots for this refcount width",
                {
                  errno: "EINVAL",
                  node: this.#image.node.nodeName,
                  offset: (at + (wrong - index)) * this.#image.clusterSize,
                },
              )
            : this.#image.corruption(
                `Freeing a cluster that has no reference: cluster ${at} at offset ${hex(at * this.#image.clusterSize)}`,
                at * this.#image.clusterSize,
              );
        }
        this.#markDirty(pointer, index, run);
        at += run;
      }
    } catch (error) {
      if (at > first) yield* this.update(first, at - first, delta === 1 ? -1 : 1);
      throw error;
    }
  }

  #markDirty(pointer: number, index: number, count: number): void {
    const bits = 2 ** this.#order;
    const from = Math.floor((index * bits) / 8);
    this.#image.refblocks.markDirty(pointer, from, divCeil((index + count) * bits, 8) - from);
  }

  // ---- allocation -------------------------------------------------------------------------------------------------

  /** Takes `count` host clusters that follow each other; returns the offset of the first. The lock is held. */
  *allocate(count: number, what = "data cluster"): Op<number> {
    yield* debugEvent(this.#image.file, "cluster_alloc");
    for (;;) {
      const cluster = yield* this.#find(count);
      if (cluster === 0) throw this.#image.corruption(`Preventing invalid allocation of ${what} at offset 0`, 0);
      // New blocks may take clusters for themselves: look again when one had to be made.
      if (yield* this.#ensureBlocks(cluster, count)) continue;
      yield* this.update(cluster, count, 1);
      this.#hint = cluster + count;
      return cluster * this.#image.clusterSize;
    }
  }

  /** Takes as many as possible of the `count` clusters at `offset`, from the first on; returns how many. */
  *allocateAt(offset: number, count: number): Op<number> {
    const first = offset / this.#image.clusterSize;
    for (;;) {
      let free = 0;
      while (free < count && (yield* this.refcount(first + free)) === 0) free++;
      if (free === 0) return 0;
      if (yield* this.#ensureBlocks(first, free)) continue;
      yield* this.update(first, free, 1);
      return free;
    }
  }

  /** Room for `bytes` compressed bytes (at most a cluster), packed behind the last ones where that works; returns the host offset. */
  *allocateBytes(bytes: number): Op<number> {
    yield* debugEvent(this.#image.file, "cluster_alloc_bytes");
    const size = this.#image.clusterSize;
    for (;;) {
      let offset = this.#nextByte;
      if (offset > 0 && (yield* this.refcount(Math.floor(offset / size))) >= this.maxRefcount) offset = 0;
      const room = offset === 0 ? 0 : size - (offset % size);
      if (room < bytes) {
        const cluster = yield* this.#find(1);
        if (cluster === 0) throw this.#image.corruption("Preventing invalid allocation of compressed cluster at offset 0", 0);
        if (yield* this.#ensureBlocks(cluster, 1)) continue;
        if (room === 0 || cluster * size !== alignUp(offset, size)) offset = cluster * size;
        this.#hint = cluster;
      }
      const first = Math.floor(offset / size);
      yield* this.update(first, Math.floor((offset + bytes - 1) / size) - first + 1, 1);
      this.#nextByte = (offset + bytes) % size === 0 ? 0 : offset + bytes;
      return offset;
    }
  }

  /** Makes missing refcount blocks for a range; true when there was one to make. */
  *#ensureBlocks(first: number, count: number): Op<boolean> {
    let made = false;
    for (
      let block = Math.floor(first / this.blockEntries);
      block <= Math.floor((first + count - 1) / this.blockEntries);
      block++
    ) {
      if (this.blockOffset(block) === 0) {
        yield* this.#ensureBlock(block, first + count);
        made = true;
      }
    }
    return made;
  }

  /** Index of the first of `count` free clusters in a row; their blocks may not exist yet. */
  *#find(count: number, from: number = this.#hint): Op<number> {
    const kernel = this.#image.kernel;
    let at = from;
    let run = 0;
    for (;;) {
      const left = this.sliceEntries - (at % this.sliceEntries);
      const pointer = yield* this.slice(at);
      if (pointer < 0) {
        // A block that does not exist is free, and so is all behind the end of the table.
        const step = this.blockEntries - (at % this.blockEntries);
        run += step;
        at += step;
        if (run >= count || at > this.tableEntries * this.blockEntries) return at - run;
        continue;
      }
      const index = at % this.sliceEntries;
      const used = kernel.refFindUsed(pointer, index, left, this.#order);
      const lead = used < 0 ? left : used - index;
      if (run + lead >= count) return at - run;
      if (used < 0) run += left;
      else {
        const found = kernel.refFindFreeRun(pointer, index, left, this.#order, count);
        if (found >= 0) return at + (found - index);
        run = kernel.refFreeTail(pointer, index, left, this.#order);
      }
      at += left;
      if (!Number.isSafeInteger(at * this.#image.clusterSize)) {
        throw new BlockError("ERR_NO_SPACE", "The image file cannot grow any more", { errno: "EFBIG" });
      }
    }
  }

  // ---- blocks and the table ---------------------------------------------------------------------------------------

  /** @param behind a cluster from which on to look for room, so that runs that are being allocated stay whole */
  *#ensureBlock(block: number, behind: number = this.#hint): Op<void> {
    const image = this.#image;
    while (this.checkedBlock(block) === 0) {
      if (block >= this.tableEntries) {
        // Room for the new table may have been taken where this block counts: then it exists now.
        yield* this.#growTable(block + 1);
        continue;
      }
      const cluster = yield* this.#find(1, behind);
      if (cluster === 0) throw image.corruption("Preventing invalid allocation of refcount block at offset 0", 0);
      const owner = Math.floor(cluster / this.blockEntries);
      if (owner !== block && this.blockOffset(owner) === 0) {
        yield* this.#ensureBlock(owner, behind);
        continue;
      }
      const offset = cluster * image.clusterSize;
      yield* image.checkOverlap(offset, image.clusterSize, null);
      // A block in another one's range is counted there; one in its own range counts itself.
      if (owner !== block) yield* this.update(cluster, 1, 1);
      try {
        for (let at = 0; at < image.clusterSize; at += image.options.sliceSize) yield* image.refblocks.create(offset + at);
        this.refcountTable.set(block, offset);
        if (owner === block) yield* this.update(cluster, 1, 1);
        yield* debugEvent(image.file, "refblock_alloc_write");
      } catch (error) {
        // As if it had never been: nothing may write to its place any more.
        image.refblocks.drop(offset, image.clusterSize);
        this.refcountTable.set(block, 0);
        if (owner !== block) yield* this.update(cluster, 1, -1);
        throw error;
      }
    }
  }

  /** Moves the refcount table to a larger place. */
  *#growTable(entries: number): Op<void> {
    const image = this.#image;
    const perCluster = image.clusterSize / 8;
    const wanted = alignUp(Math.max(entries + 1, Math.ceil(this.tableEntries * 1.5)), perCluster);
    if (wanted * 8 > MAX_REFTABLE_BYTES)
      throw new BlockError("ERR_NO_SPACE", "The refcount table cannot grow any more", { errno: "EFBIG" });
    const old = this.table;
    const { reftableOffset: oldOffset, reftableClusters: oldClusters } = image.header;
    const table = allocate(wanted * 8);
    table.set(old);
    this.refcountTable.bytes = table;
    if (this.replacement !== null) {
      // A replacement is written as a whole, wherever there is room for it.
      if (this.replacement.isPlaced) throw image.corruption("The image refers to clusters that have no refcount", 0);
      return;
    }
    this.refcountTable.held = true;
    try {
      const clusters = table.length / image.clusterSize;
      yield* debugEvent(image.file, "reftable_grow");
      const offset = yield* this.allocate(clusters);
      yield* image.checkOverlap(offset, table.length, null);
      yield* debugEvent(image.file, "refblock_alloc_write_blocks");
      yield* this.writeBack();
      yield* image.barrier();
      yield* debugEvent(image.file, "refblock_alloc_write_table");
      yield* writeGrow(image.file, table, offset);
      yield* image.barrier();
      yield* debugEvent(image.file, "refblock_alloc_switch_table");
      yield* image.updateHeader({ reftableOffset: offset, reftableClusters: clusters });
    } catch (error) {
      this.#backToTable(old);
      throw error;
    }
    this.refcountTable.isWritten();
    this.free(oldOffset, oldClusters * image.clusterSize, "other");
    yield* image.barrier();
  }

  /** After a failed move: the old table counts again. Blocks that were made behind its end are gone, with all that they counted. */
  #backToTable(old: Uint8Array): void {
    const { refcountTable } = this;
    for (let index = old.length / 8; index < refcountTable.entries; index++) {
      const block = refcountTable.offset(index);
      if (block === 0) continue;
      this.#image.refblocks.drop(block, this.#image.clusterSize);
      refcountTable.set(index, 0);
    }
    old.set(refcountTable.bytes.subarray(0, old.length));
    refcountTable.held = false;
    refcountTable.bytes = old;
  }

  /**
   * Gives up refcount blocks that count nothing, or only themselves: after a disk was made smaller. The table lets go of them
   * durably before their space counts as free. No free is pending; the lock is held.
   */
  *dropEmptyBlocks(): Op<void> {
    const image = this.#image;
    // A block may be there only for one that goes now.
    for (;;) {
      const dropped = new Map<number, number>();
      for (let index = 0; index < this.tableEntries; index++) {
        const offset = this.checkedBlock(index);
        if (offset !== 0 && (yield* this.#countsNothing(index, offset / image.clusterSize))) dropped.set(index, offset);
      }
      if (dropped.size === 0) return;
      yield* this.writeBack();
      yield* image.barrier();
      try {
        for (const index of dropped.keys()) this.refcountTable.set(index, 0);
        yield* this.writeBack();
        yield* image.barrier();
      } catch (error) {
        // Whichever of them the file has: the table is written again before a block of it counts.
        for (const [index, offset] of dropped) this.refcountTable.set(index, offset);
        throw error;
      }
      for (const offset of dropped.values()) {
        image.refblocks.drop(offset, image.clusterSize);
        if ((yield* this.slice(offset / image.clusterSize)) >= 0) yield* this.undo(offset, image.clusterSize);
      }
    }
  }

  *#countsNothing(block: number, own: number): Op<boolean> {
    const first = block * this.blockEntries;
    for (let at = first; at < first + this.blockEntries;) {
      const index = at % this.sliceEntries;
      const pointer = yield* this.slice(at);
      const used = this.#image.kernel.refFindUsed(pointer, index, this.sliceEntries - index, this.#order);
      if (used < 0) at += this.sliceEntries - index;
      else if (at - index + used === own) at = own + 1;
      else return false;
    }
    return true;
  }

  /** Tells the runs of clusters in [first, first+count) that have no reference. */
  *freeRuns(first: number, count: number, tell: (first: number, count: number) => void): Op<void> {
    const { kernel } = this.#image;
    const end = first + count;
    for (let at = first; at < end;) {
      const stop = Math.min(end, at - (at % this.sliceEntries) + this.sliceEntries);
      const pointer = yield* this.slice(at);
      const base = at - (at % this.sliceEntries);
      if (pointer < 0) at = stop;
      while (at < stop) {
        const free = kernel.refFindFree(pointer, at - base, stop - at, this.#order);
        if (free < 0) break;
        const used = kernel.refFindUsed(pointer, free, stop - base - free, this.#order);
        const to = used < 0 ? stop : base + used;
        tell(base + free, to - base - free);
        at = to;
      }
      at = stop;
    }
  }

  /** Takes over the table of other structures that are on disk (repair, another refcount width). */
  adopt(table: Uint8Array): void {
    this.refcountTable.adopt(table);
    this.restart(0);
  }

  /** Where the next search begins. */
  get hint(): number {
    return this.#hint;
  }
  /** The next search begins at cluster `hint`, and compressed bytes go to a cluster of their own. */
  restart(hint: number): void {
    this.#hint = hint;
    this.#nextByte = 0;
  }

  /** Writes dirty refcount blocks, then the table entries of new ones. The lock is held. */
  *writeBack(): Op<void> {
    const image = this.#image;
    if (image.refblocks.isDirty) {
      yield* image.refblocks.writeBack();
      image.barrierNeeded = true;
    }
    const range = this.refcountTable.dirtyRange();
    if (range === null) return;
    const [from, to] = range;
    yield* image.barrier();
    yield* image.checkOverlap(image.header.reftableOffset + from, to - from, "refcount-table");
    yield* debugEvent(image.file, "refblock_alloc_hookup");
    yield* writeGrow(image.file, this.table.subarray(from, to), image.header.reftableOffset + from);
    this.refcountTable.isWritten();
    image.barrierNeeded = true;
  }

  // ---- freeing ----------------------------------------------------------------------------------------------------

  /** Notes that one reference to every host cluster touched by [offset, offset+length) is gone. */
  free(offset: number, length: number, reason: FreeReason): void {
    this.#frees.note(offset, length, reason);
  }

  /** Takes back clusters that were allocated but never linked: nothing on disk points to them. */
  *undo(offset: number, length: number): Op<void> {
    const size = this.#image.clusterSize;
    const first = Math.floor(offset / size);
    const count = Math.floor((offset + length - 1) / size) - first + 1;
    yield* this.update(first, count, -1);
    yield* this.#becameFree(first, count);
  }

  /** After a barrier: frees noted so far take effect where no earlier reader is left. The lock is held. */
  releaseFreed(): Op<void> {
    return this.#frees.release();
  }

  *#release(freed: Freed): Op<void> {
    const image = this.#image;
    yield* debugEvent(image.file, "cluster_free");
    yield* this.update(freed.cluster, freed.count, -1);
    const start = yield* this.#becameFree(freed.cluster, freed.count);
    const pass =
      freed.reason === "request"
        ? image.options.passDiscardRequest
        : freed.reason === "snapshot"
          ? image.options.passDiscardSnapshot
          : image.options.passDiscardOther;
    if (!pass) return;
    for (const [cluster, count] of start) {
      const offset = cluster * image.clusterSize;
      const length = Math.min(count * image.clusterSize, image.file.size - offset);
      if (length > 0) yield* discard(image.file, offset, length);
    }
  }

  /** Looks which clusters of the range have no reference left, and makes them findable. */
  *#becameFree(first: number, count: number): Op<[number, number][]> {
    const image = this.#image;
    const runs: [number, number][] = [];
    for (let cluster = first; cluster < first + count; cluster++) {
      if ((yield* this.refcount(cluster)) !== 0) continue;
      const last = runs[runs.length - 1];
      if (last !== undefined && last[0] + last[1] === cluster) last[1]++;
      else runs.push([cluster, 1]);
      // The compressed bytes next to be written must not land in a cluster that is somebody else's by then.
      if (Math.floor(this.#nextByte / image.clusterSize) === cluster) this.#nextByte = 0;
    }
    if (runs.length > 0) {
      this.#hint = Math.min(this.#hint, runs[0]![0]);
      image.decompressed.clear();
    }
    return runs;
  }
}

const hex = (value: number): string => `0x${value.toString(16)}`;
