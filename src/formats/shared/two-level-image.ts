/**
 * What images with an L1 table, L2 tables and clusters but without refcounts have in common (qed, qcow): mapping, writing,
 * and the order in which things reach the disk.
 *
 * New clusters and tables are taken behind the end of everything. Their bytes are durable before the L2 entries that point to
 * them are written, and L2 tables before the L1 entries that point to those (`flush`). A crash therefore loses at most writes
 * that were not flushed, and leaks the clusters they had.
 */
import { BlockError, type Errno } from "../../base/error.js";
import { alignDown, alignUp } from "../../base/int.js";
import type { MappedImpl, Miss, WritePiece, WritePlan } from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { flush, truncate } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { Mutex, type Op } from "../../block/op.js";
import { EntryPages, PAGE_ENTRIES, type EntryPage, type EntryTable } from "./entry-pages.js";

/** Extents one `map` call appends at most: callers that only want the first must not pay for the whole image. */
const MAP_EXTENTS = 64;
/** Guest bytes one plan covers at most. */
const PLAN_LIMIT = 16 * 1024 * 1024;

/** What an L2 entry says of its cluster. */
export type ClusterKind = "unallocated" | "zero" | "data" | "compressed";

export interface Cluster {
  kind: ClusterKind;
  /** Byte offset in the file, for data and compressed clusters. */
  host: number;
  /** Bytes in the file, for compressed clusters. */
  length: number;
}

export interface TwoLevelOptions {
  node: Node;
  size: number;
  clusterSize: number;
  /** Entries of an L2 table. */
  l2Entries: number;
  l1: EntryTable;
  /** Bytes of memory the tables may use. */
  budget: number;
}

/** Space was taken for this piece by its plan. */
interface FreshPiece extends WritePiece {
  allocated: boolean;
}

export abstract class TwoLevelImage implements MappedImpl {
  readonly shape = "mapped";
  readonly allocationUnit: number;
  readonly clusterSize: number;
  readonly node: Node;
  protected readonly pages: EntryPages;
  protected readonly l1: EntryTable;
  protected readonly l2Entries: number;
  /** Guest bytes one L2 table covers. */
  protected readonly coverage: number;
  protected guestSize: number;
  /** Serialises allocation and changes of tables. */
  protected readonly lock: Mutex = new Mutex();
  readonly #flushing = new Mutex();
  /** First byte behind everything in use; -1 until the first allocation. */
  #end = -1;
  readonly #cluster: Cluster = { kind: "unallocated", host: -1, length: 0 };

  constructor(options: TwoLevelOptions) {
    this.node = options.node;
    this.guestSize = options.size;
    this.clusterSize = options.clusterSize;
    this.allocationUnit = options.clusterSize;
    this.l2Entries = options.l2Entries;
    this.coverage = options.clusterSize * options.l2Entries;
    this.l1 = options.l1;
    this.pages = new EntryPages(() => options.node.file, options.budget);
  }

  get size(): number {
    return this.guestSize;
  }
  protected get file(): Node {
    return this.node.file;
  }

  // ---- what a format says ----

  /** Reads the offset of an L2 table; 0 when there is none. Throws for one that cannot be. */
  protected abstract readL1(page: EntryPage, slot: number): number;
  protected abstract writeL1(page: EntryPage, slot: number, offset: number): void;
  /** Decodes an L2 entry into `into`. Throws for one that cannot be. */
  protected abstract readL2(page: EntryPage, slot: number, into: Cluster): void;
  protected abstract writeL2(page: EntryPage, slot: number, cluster: Cluster): void;
  /** Where allocation begins, for a file of this length: everything from there on is free. */
  protected abstract firstFree(fileSize: number): number;
  /** Bytes of an L2 table in the file. */
  protected get l2Bytes(): number {
    return this.l2Entries * 8;
  }
  /** Called before clusters are allocated; the lock is held. */
  // eslint-disable-next-line require-yield
  protected *beforeAllocation(): Op<void> {}
  /** Refuses to write in place where that would hit the image's own metadata. */
  protected abstract checkWritable(host: number): void;

  /** What QEMU reports for damaged tables of the format. */
  protected readonly corruptErrno: Errno = "EIO";

  protected error(message: string, offset: number): BlockError {
    return new BlockError("ERR_CORRUPT", message, { errno: this.corruptErrno, node: this.node.nodeName, offset });
  }

  // ---- reading ----

  protected l2Table(offset: number): EntryTable {
    return { offset, entries: this.l2Entries, level: 2 };
  }

  map(offset: number, length: number, out: ExtentList): Miss | null {
    const end = offset + length;
    const limit = out.count + MAP_EXTENTS;
    let at = offset;
    try {
      while (at < end && out.count <= limit) {
        const index = Math.floor(at / this.coverage);
        const stop = Math.min(end, (index + 1) * this.coverage);
        if (index >= this.l1.entries) throw this.error(`The image's L1 table has no entry for offset ${at}`, this.l1.offset);
        const page = this.pages.find(this.l1, index);
        if (page === null) return this.pages.miss(this.l1, index);
        const l2 = this.readL1(page, index % PAGE_ENTRIES);
        if (l2 === 0) {
          out.push(at, stop - at, ExtentKind.unallocated);
          at = stop;
          continue;
        }
        const table = this.l2Table(l2);
        const first = this.#l2Index(at);
        const entries = this.pages.find(table, first);
        if (entries === null) return this.pages.miss(table, first);
        at = this.#mapPage(entries, first, at, stop, limit, out);
      }
    } catch (error) {
      // What is sound comes first; the error when it is asked for.
      if (out.count === 0) throw error;
    }
    return null;
  }

  #mapPage(page: EntryPage, first: number, from: number, stop: number, limit: number, out: ExtentList): number {
    const { clusterSize } = this;
    const cluster = this.#cluster;
    const last = Math.min(this.l2Entries, (Math.floor(first / PAGE_ENTRIES) + 1) * PAGE_ENTRIES);
    let at = from;
    for (let index = first; index < last && at < stop && out.count <= limit; index++) {
      const start = alignDown(at, clusterSize);
      const next = Math.min(stop, start + clusterSize);
      this.readL2(page, index % PAGE_ENTRIES, cluster);
      switch (cluster.kind) {
        case "unallocated":
          out.push(at, next - at, ExtentKind.unallocated);
          break;
        case "zero":
          out.push(at, next - at, ExtentKind.zero);
          break;
        case "data":
          out.push(at, next - at, ExtentKind.data, this.file, cluster.host + (at - start));
          break;
        case "compressed":
          out.pushSpecial(at, next - at, this.file, cluster.host, cluster.length, true);
          break;
      }
      at = next;
    }
    return at;
  }

  load(miss: Miss): Op<void> {
    return this.pages.load(miss);
  }

  /** The cluster at a guest offset. */
  protected *clusterAt(guest: number): Op<Cluster> {
    const found: Cluster = { kind: "unallocated", host: -1, length: 0 };
    const l2 = yield* this.#l2Of(guest);
    if (l2 === 0) return found;
    const index = this.#l2Index(guest);
    this.readL2(yield* this.pages.ensure(this.l2Table(l2), index), index % PAGE_ENTRIES, found);
    return found;
  }

  /** Index of a guest offset's entry in its L2 table. */
  #l2Index(guest: number): number {
    return Math.floor((guest % this.coverage) / this.clusterSize);
  }
  /** Guest offset behind what the page of L2 entries with the entry of `guest` covers. */
  #pageEnd(guest: number): number {
    const covered = Math.min(PAGE_ENTRIES, this.l2Entries) * this.clusterSize;
    return alignDown(guest, covered) + covered;
  }

  *#l2Of(guest: number): Op<number> {
    const index = Math.floor(guest / this.coverage);
    if (index >= this.l1.entries) throw this.error(`The image's L1 table has no entry for offset ${guest}`, this.l1.offset);
    return this.readL1(yield* this.pages.ensure(this.l1, index), index % PAGE_ENTRIES);
  }

  // ---- writing ----

  *prepareWrite(offset: number, length: number): Op<WritePlan> {
    if (this.pages.isCrowded) yield* this.flush();
    const release = yield* this.lock.acquire();
    try {
      const { clusterSize, file } = this;
      const end = Math.min(offset + length, alignDown(offset, clusterSize) + PLAN_LIMIT);
      const pieces: FreshPiece[] = [];
      for (const run of yield* this.#runsIn(offset, end)) {
        if (run.host < 0) {
          const bytes = run.end - run.start;
          const host = yield* this.allocate(bytes, clusterSize);
          pieces.push({ start: run.start, length: bytes, file, host, fresh: true, allocated: true });
        } else {
          const start = Math.max(offset, run.start);
          const host = run.host + (start - run.start);
          pieces.push({ start, length: Math.min(end, run.end) - start, file, host, fresh: false, allocated: false });
        }
      }
      return { length: end - offset, pieces };
    } finally {
      release();
    }
  }

  /** The clusters of a guest range, as runs of those that can be written where they are and lie in a row, and of those that need space. */
  *#runsIn(from: number, to: number): Op<ClusterRun[]> {
    const { clusterSize } = this;
    const cluster = this.#cluster;
    const runs: ClusterRun[] = [];
    const end = alignUp(to, clusterSize);
    for (let at = alignDown(from, clusterSize); at < end;) {
      const l2 = yield* this.#l2Of(at);
      const stop = Math.min(end, this.#pageEnd(at));
      if (l2 === 0) {
        addRun(runs, at, stop, -1);
        at = stop;
        continue;
      }
      const page = yield* this.pages.ensure(this.l2Table(l2), this.#l2Index(at));
      for (let slot = this.#l2Index(at) % PAGE_ENTRIES; at < stop; at += clusterSize, slot++) {
        this.readL2(page, slot, cluster);
        const isOurs = cluster.kind === "data";
        if (isOurs) this.checkWritable(cluster.host);
        addRun(runs, at, at + clusterSize, isOurs ? cluster.host : -1);
      }
    }
    return runs;
  }

  /** Takes space behind the end; the lock is held. Nobody else gets it, and it was never written before. */
  protected *allocate(bytes: number, alignment: number): Op<number> {
    yield* this.beforeAllocation();
    if (this.#end < 0) {
      const { file } = this;
      this.#end = this.firstFree(file.size);
      // A partial cluster at the end belongs to nothing: without it all that follows is fresh.
      if (this.#end < file.size) yield* truncate(file, this.#end, { preallocation: "off" });
    }
    const host = alignUp(this.#end, alignment);
    if (!Number.isSafeInteger(host + bytes))
      throw new BlockError("ERR_NO_SPACE", "The image cannot grow any more", { node: this.node.nodeName });
    this.#end = host + bytes;
    return host;
  }

  /** The file ends at its metadata again. */
  protected resetAllocation(): void {
    this.#end = -1;
  }

  *commitWrite(plan: WritePlan): Op<void> {
    const fresh = (plan.pieces as FreshPiece[]).filter((piece) => piece.allocated);
    if (fresh.length === 0) return;
    const release = yield* this.lock.acquire();
    try {
      for (const piece of fresh) yield* this.#link(piece);
    } finally {
      release();
    }
  }

  *#link({ start, length, host }: FreshPiece): Op<void> {
    const { clusterSize } = this;
    const cluster: Cluster = { kind: "data", host, length: 0 };
    for (let at = start; at < start + length;) {
      const page = yield* this.#pageForChange(at);
      const stop = Math.min(start + length, this.#pageEnd(at));
      for (let slot = this.#l2Index(at) % PAGE_ENTRIES; at < stop; at += clusterSize, slot++) {
        this.writeL2(page, slot, cluster);
        this.pages.markDirty(page, slot);
        cluster.host += clusterSize;
      }
    }
  }

  /** Changes the entry of a cluster, making its L2 table where there is none. The lock is held. */
  protected *setCluster(guest: number, cluster: Cluster): Op<void> {
    const page = yield* this.#pageForChange(guest);
    const slot = this.#l2Index(guest) % PAGE_ENTRIES;
    this.writeL2(page, slot, cluster);
    this.pages.markDirty(page, slot);
  }

  /** The page with the entry of a cluster, in an L2 table that is made where there is none. Valid until the caller waits. */
  *#pageForChange(guest: number): Op<EntryPage> {
    let l2 = yield* this.#l2Of(guest);
    if (l2 === 0) {
      l2 = yield* this.allocate(this.l2Bytes, this.clusterSize);
      // The table must exist as a whole: it reads as zeros.
      if (this.file.size < l2 + this.l2Bytes) yield* truncate(this.file, l2 + this.l2Bytes, { preallocation: "off" });
      const index = Math.floor(guest / this.coverage);
      const page = yield* this.pages.ensure(this.l1, index);
      this.writeL1(page, index % PAGE_ENTRIES, l2);
      this.pages.markDirty(page, index % PAGE_ENTRIES);
    }
    return yield* this.pages.ensure(this.l2Table(l2), this.#l2Index(guest));
  }

  // ---- durability ----

  *flush(): Op<void> {
    const unlock = yield* this.#flushing.acquire();
    try {
      const l2 = this.pages.takeDirty(2);
      const l1 = this.pages.takeDirty(1);
      let written = 0;
      try {
        yield* flush(this.file);
        if (l2.length > 0) {
          yield* this.pages.writeBack(l2);
          yield* flush(this.file);
        }
        written = 1;
        if (l1.length > 0) {
          yield* this.pages.writeBack(l1);
          yield* flush(this.file);
        }
        written = 2;
      } finally {
        this.pages.settle(l2, written >= 1);
        this.pages.settle(l1, written >= 2);
      }
    } finally {
      unlock();
    }
  }

  *close(): Op<void> {
    if (!this.node.readOnly) yield* this.flush();
  }
}

/** A row of clusters, from guest offset `start` to `end`; they begin at host offset `host`, or need space (-1). */
interface ClusterRun {
  start: number;
  end: number;
  host: number;
}

function addRun(runs: ClusterRun[], start: number, end: number, host: number): void {
  const last = runs[runs.length - 1];
  const goesOn = last !== undefined && (host < 0 ? last.host < 0 : last.host >= 0 && last.host + (start - last.start) === host);
  if (goesOn) last.end = end;
  else runs.push({ start, end, host });
}
