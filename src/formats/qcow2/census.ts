/**
 * The census: who references which host cluster.
 *
 * One window of host clusters is counted at a time, in a kernel of its own, so that memory is bounded whatever the size of
 * the image; larger files take several passes over the tables. Tables that are referenced more than once (snapshots) are
 * read and walked once, with the number of references as weight. Findings about entries are told in the first pass only.
 */
import { readU64BE, viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignUp, divCeil, MiB } from "../../base/int.js";
import { readBytes, readPadded, writeGrow } from "../../block/io.js";
import { parallel, type Op } from "../../block/op.js";
import { CENSUS_STRIDE } from "../../kernel/layout.js";
import { readCensus } from "../../kernel/extent.js";
import { createKernel } from "../../kernel/kernel.js";
import { RegionPlan } from "../../kernel/memory.js";
import type { Kernel } from "../../kernel/types.js";
import { bitmapReferences } from "./check-bitmaps.js";
import { explainTable } from "./check-entries.js";
import { hex, hex64, type CheckState } from "./check-state.js";
import { L1_RESERVED_HI, L1_RESERVED_LO, OFFSET_HI, OFFSET_LO } from "./layout.js";
import type { Qcow2 } from "./image.js";
import type { Snapshot } from "./snapshot-table.js";

/** Counters of one window: a full 64 GiB image of 4 KiB clusters (1 TiB of 64 KiB) fits with its metadata. */
const WINDOW_CLUSTERS = 17 * 1024 * 1024;
const MIN_WINDOW_CLUSTERS = 1024 * 1024;
/** L2 tables read together. */
const TABLES_BYTES = 8 * MiB;
/** L1 entries collected before their tables are walked. */
const BATCH = 1024 * 1024;
/** QEMU's limit too: host clusters a check can handle. */
const MAX_CLUSTERS = 2 ** 31 - 1;
const FAN_OUT = 16;
/** Up to this many references a table is walked again instead of entry by entry. */
const REPEAT = 8;

export interface Window {
  /** First host cluster. */
  readonly base: number;
  readonly count: number;
  /** Entries are judged, and statistics counted, in this one. */
  readonly first: boolean;
  readonly last: boolean;
}

/** An L2 table in the kernel's memory. */
export interface LoadedTable {
  readonly pointer: number;
  /** Where it is in the file. */
  readonly offset: number;
  /** References from the active L1 table and from those of snapshots. */
  readonly active: number;
  readonly inactive: number;
}

/** Looks at a table; true when it changed it. */
export type TableVisitor = (table: LoadedTable) => boolean;

export class Census {
  readonly state: CheckState;
  readonly image: Qcow2;
  readonly kernel: Kernel;
  /** Pointers: u32 counters, a place for indexes of `indexRoom` u32, and one for refcount blocks. */
  readonly counters: number;
  readonly indexes: number;
  readonly indexRoom = 4096;
  readonly blocks: number;
  readonly blocksBytes: number;
  readonly #stats: number;
  readonly #tables: number;
  readonly #tablesBytes: number;
  /** Host clusters of the file, the last one may be partial. */
  readonly clusters: number;
  readonly fileSize: number;
  readonly snapshots: readonly Snapshot[];
  /** Statistics were counted before; or, while the first pass is done again, must not be counted twice. */
  keepStatistics = false;
  readonly statistics = { allocated: 0, compressed: 0, fragmented: 0 };
  window: Window = { base: 0, count: 0, first: true, last: true };
  readonly windows: readonly Window[];
  /** Refcounts on disk that do not fit into a counter. */
  readonly #large = new Map<number, number>();
  /** Entries that can be mended without loss are. */
  mendEntries = false;
  /** Bytes of misaligned tables and of overlapping L1 tables still to be followed: only in corrupt images are there any. */
  #patience = { tables: 64 * MiB, l1: 0 };
  /** What the table area holds, when the active tables fit into it all together. */
  #held: LoadedTable[] | null = null;

  constructor(state: CheckState, snapshots: readonly Snapshot[]) {
    const { image } = state;
    this.state = state;
    this.image = image;
    this.snapshots = snapshots;
    this.fileSize = image.file.size;
    this.clusters = divCeil(this.fileSize, image.clusterSize);
    if (this.clusters > MAX_CLUSTERS) {
      throw new BlockError("ERR_TOO_LARGE", "The image file is too large to be checked", {
        errno: "EFBIG",
        node: image.node.nodeName,
      });
    }
    const budget = Math.max(MIN_WINDOW_CLUSTERS, Math.min(WINDOW_CLUSTERS, Math.floor(image.node.environment.memoryBudget / 3)));
    // One more than the file has, as its last cluster may be partial and what reaches a little behind the end counts there;
    // and on to the end of that one's refcount block, which COPIED flags may be compared with.
    this.windows = windowsOf(alignUp(this.clusters + 1, Math.min(image.allocator.blockEntries, MiB)), budget);
    const plan = new RegionPlan();
    const stats = plan.add("statistics", CENSUS_STRIDE);
    const counters = plan.add("counters", this.windows[0]!.count * 4);
    const indexes = plan.add("indexes", this.indexRoom * 4);
    const blocks = plan.add(
      "refcount-blocks",
      Math.max(
        image.clusterSize,
        Math.min(MiB, alignUp((image.allocator.table.length / 8) * image.clusterSize, image.clusterSize)),
      ),
    );
    const tables = plan.add(
      "l2-tables",
      Math.max(image.clusterSize, Math.min(TABLES_BYTES, this.#mostTables() * image.clusterSize)),
    );
    this.kernel = plan.create(createKernel);
    this.#stats = stats.offset;
    this.counters = counters.offset;
    this.indexes = indexes.offset;
    this.blocks = blocks.offset;
    this.blocksBytes = blocks.size;
    this.#tables = tables.offset;
    this.#tablesBytes = tables.size;
  }

  #mostTables(): number {
    let entries = this.image.l1Entries;
    for (const snapshot of this.snapshots) entries += snapshot.l1Entries;
    return entries;
  }

  // ---- counters -----------------------------------------------------------------------------------------------------

  /** References to a host cluster of the window. */
  counter(cluster: number): number {
    return this.kernel.view.getUint32(this.counters + (cluster - this.window.base) * 4, true);
  }
  setCounter(cluster: number, value: number): void {
    if (value > 0xffffffff && this.#large.size < 4096) this.#large.set(cluster, value);
    this.kernel.view.setUint32(this.counters + (cluster - this.window.base) * 4, Math.min(value, 0xffffffff), true);
  }
  /** A refcount as text, given what the counter says: some do not fit into one. */
  refcountText(cluster: number, counter: number): string {
    const value = counter === 0xffffffff ? (this.#large.get(cluster) ?? counter) : counter;
    return Number.isFinite(value) ? String(value) : "> 2^53";
  }
  inWindow(cluster: number): boolean {
    return cluster >= this.window.base && cluster < this.window.base + this.window.count;
  }

  /** Whether a range lies so far behind the end of the file that it cannot be meant. */
  isOutside(offset: number, length: number): boolean {
    return !(offset + length - this.fileSize < this.image.clusterSize);
  }

  /** Counts `amount` references to every cluster of a byte range. */
  reference(offset: number, length: number, amount = 1): void {
    if (length <= 0) return;
    if (this.isOutside(offset, length)) {
      if (this.window.first) this.tellOutside(hex(offset), length, offset);
      return;
    }
    this.add(offset, length, amount);
  }
  tellOutside(offset: string, length: number, at?: number): void {
    this.state.corruption(
      "entries",
      `ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x${offset} size 0x${hex(length)}`,
      at,
    );
  }
  /** As `reference` for ranges inside the file; a negative amount takes back. */
  add(offset: number, length: number, amount: number): void {
    const size = this.image.clusterSize;
    const first = Math.floor(offset / size);
    const count = Math.floor((offset + length - 1) / size) - first + 1;
    if (amount > 0) {
      this.kernel.censusAdd(this.counters, this.window.count, first - this.window.base, count, amount);
      return;
    }
    for (let cluster = first; cluster < first + count; cluster++) {
      if (this.inWindow(cluster)) this.setCounter(cluster, Math.max(0, this.counter(cluster) + amount));
    }
  }

  // ---- counting -----------------------------------------------------------------------------------------------------

  /** Counts everything that references a cluster of the window. */
  *count(window: Window): Op<void> {
    this.window = window;
    this.kernel.memory.fill(0, this.counters, this.counters + window.count * 4);
    const { header, allocator } = this.image;
    this.add(0, this.image.clusterSize, 1);
    yield* this.#walk(true, (table) => this.#countTable(table));
    this.reference(header.snapshotsOffset, this.snapshotTableBytes);
    this.reference(header.reftableOffset, allocator.table.length);
    if (header.crypto !== null) this.reference(header.crypto.offset, header.crypto.length);
    yield* bitmapReferences(this);
    this.#countBlocks();
  }
  /** Bytes of the snapshot table; known once it was read. */
  snapshotTableBytes = 0;

  #countTable(table: LoadedTable): boolean {
    const { kernel, image, window } = this;
    const references = table.active + table.inactive;
    if (!image.hasDataFile || window.first) {
      kernel.memory.fill(0, this.#stats, this.#stats + CENSUS_STRIDE);
      const walk = (): void =>
        kernel.censusL2(
          table.pointer,
          image.l2Entries,
          image.clusterBits,
          image.scanFlags,
          this.counters,
          window.base,
          window.count,
          this.#stats,
        );
      walk();
      const found = readCensus(kernel.view, this.#stats);
      const suspicious = found.corrupt > 0 || this.isOutside(found.hostEnd, 0);
      if (references > 1 && references <= REPEAT && !suspicious) for (let i = 1; i < references; i++) walk();
      if (window.first && table.active > 0 && !this.keepStatistics) {
        this.statistics.allocated += found.allocated * table.active;
        this.statistics.compressed += found.compressed * table.active;
        this.statistics.fragmented += found.fragmented * table.active;
      }
      if (suspicious || references > REPEAT) return explainTable(this, table, references);
    }
    return false;
  }

  #countBlocks(): void {
    const { image, state, window } = this;
    const { allocator, clusterSize } = image;
    const view = viewOf(allocator.table);
    for (let i = 0; i < allocator.tableEntries; i++) {
      const hi = view.getUint32(i * 8);
      const lo = view.getUint32(i * 8 + 4);
      if (hi === 0 && lo === 0) continue;
      const offset = readU64BE(view, i * 8);
      const wrong = (text: string): void => {
        if (!window.first) return;
        state.corruption("blocks", text, image.header.reftableOffset + i * 8);
        state.rebuild = true;
      };
      if ((lo & 0x1ff) !== 0) wrong(`ERROR refcount table entry ${i} has reserved bits set`);
      else if (lo % clusterSize !== 0) wrong(`ERROR refcount block ${i} is not cluster aligned; refcount table entry corrupted`);
      else if (offset / clusterSize >= this.clusters) wrong(`ERROR refcount block ${i} is outside image`);
      else {
        const cluster = offset / clusterSize;
        this.add(offset, clusterSize, 1);
        if (!this.inWindow(cluster)) continue;
        const references = this.counter(cluster);
        if (references === 1) continue;
        state.corruption("blocks", `ERROR refcount block ${i} refcount=${references}`, offset);
        state.rebuild = true;
      }
    }
  }

  // ---- walking the L2 tables ----------------------------------------------------------------------------------------

  /** Shows every L2 table of the active L1 table to `visit`, each distinct one once; changed ones are written back. */
  *eachActiveTable(visit: TableVisitor): Op<void> {
    yield* this.#walk(false, visit);
  }

  *#walk(counting: boolean, visit: TableVisitor): Op<void> {
    const { image, state, window } = this;
    if (!counting && this.#held !== null) {
      yield* this.#show(this.#held, visit);
      return;
    }
    this.#held = null;
    this.#patience = { tables: 64 * MiB, l1: this.fileSize };
    const batch = new Float64Array(Math.min(BATCH, Math.max(1, this.#mostTables())));
    let filled = 0;
    let flushes = 0;
    const flush = function* (this: Census): Op<void> {
      flushes++;
      const all = yield* this.#visitBatch(batch.subarray(0, filled), counting, visit);
      this.#held = flushes === 1 && counting ? all : null;
      filled = 0;
    }.bind(this);
    const take = (view: DataView, from: number, entries: number, tag: number, at: number): number => {
      for (; at < entries; at++) {
        const hi = view.getUint32((at - from) * 8);
        const lo = view.getUint32((at - from) * 8 + 4);
        if (hi === 0 && lo === 0) continue;
        if (filled === batch.length) return at;
        const offset = (hi & OFFSET_HI) * 4294967296 + ((lo & OFFSET_LO) >>> 0);
        if (counting && window.first) {
          if ((hi & L1_RESERVED_HI) !== 0 || (lo & L1_RESERVED_LO) !== 0) {
            state.corruption("entries", `ERROR found L1 entry with reserved bits set: ${hex64(hi, lo)}`);
          }
          if ((lo & OFFSET_LO) % image.clusterSize !== 0) {
            state.corruption(
              "entries",
              `ERROR l2_offset=${hex(offset)}: Table is not cluster aligned; L1 entry corrupted`,
              offset,
            );
          }
          if (this.isOutside(offset, image.clusterSize))
            this.tellOutside(hex64(hi & OFFSET_HI, lo & OFFSET_LO), image.clusterSize, offset);
        }
        // What begins behind the end of the file holds no entries.
        if (offset >= this.fileSize) continue;
        if ((lo & OFFSET_LO) % image.clusterSize !== 0) {
          this.#patience.tables -= image.clusterSize;
          if (this.#patience.tables < 0) {
            if (this.#patience.tables + image.clusterSize >= 0)
              state.error("ERROR too many L2 tables are not cluster aligned; not all of them were checked");
            continue;
          }
        }
        batch[filled++] = offset + tag;
      }
      return at;
    };
    if (counting) this.reference(image.header.l1Offset, image.l1.length);
    for (let at = 0; ;) {
      at = take(image.l1View, 0, image.l1Entries, 0, at);
      if (at >= image.l1Entries) break;
      yield* flush();
    }
    if (counting) {
      for (const snapshot of this.snapshots) {
        this.reference(snapshot.l1Offset, snapshot.l1Entries * 8);
        // Tables that do not overlap fit into the file together.
        this.#patience.l1 -= Math.min(snapshot.l1Entries * 8, Math.max(0, this.fileSize - snapshot.l1Offset));
        if (this.#patience.l1 < 0) {
          state.error("ERROR the L1 tables of snapshots overlap each other; not all of them were checked", snapshot.l1Offset);
          break;
        }
        const step = MiB / 8;
        for (let from = 0; from < snapshot.l1Entries; from += step) {
          const to = Math.min(from + step, snapshot.l1Entries);
          if (snapshot.l1Offset + from * 8 >= this.fileSize) break;
          const view = viewOf(yield* readBytes(image.file, snapshot.l1Offset + from * 8, (to - from) * 8));
          for (let at = from; ;) {
            at = take(view, from, to, 1, at);
            if (at >= to) break;
            yield* flush();
          }
        }
      }
    }
    if (filled > 0 || flushes === 0) yield* flush();
  }

  /** Loads and shows the tables of a batch of L1 entries; returns them when all active ones are still in memory. */
  *#visitBatch(entries: Float64Array, counting: boolean, visit: TableVisitor): Op<LoadedTable[] | null> {
    const { image } = this;
    entries.sort();
    const room = Math.floor(this.#tablesBytes / image.clusterSize);
    const held: LoadedTable[] = [];
    let complete = true;
    let loaded: LoadedTable[] = [];
    for (let i = 0; i < entries.length;) {
      const offset = entries[i]! - (entries[i]! % 512);
      let active = 0;
      let inactive = 0;
      while (i < entries.length && entries[i]! <= offset + 1) {
        if (entries[i] === offset) active++;
        else inactive++;
        i++;
      }
      if (counting && !this.isOutside(offset, image.clusterSize)) this.add(offset, image.clusterSize, active + inactive);
      loaded.push({ pointer: this.#tables + loaded.length * image.clusterSize, offset, active, inactive });
      if (loaded.length < room && i < entries.length) continue;
      yield* this.#load(loaded);
      yield* this.#show(loaded, visit);
      if (i < entries.length) complete = false;
      else for (const table of loaded) if (table.active > 0) held.push(table);
      loaded = [];
    }
    return complete ? held : null;
  }

  *#show(tables: readonly LoadedTable[], visit: TableVisitor): Op<void> {
    for (const table of tables) if (visit(table)) yield* this.writeTable(table);
  }

  /** Writes a changed L2 table back; the caller's caches are dropped at the end of the repair. */
  *writeTable(table: LoadedTable): Op<void> {
    const { image, kernel } = this;
    const allowed = table.active > 0 ? "active-l2" : "inactive-l2";
    yield* image.checkOverlap(table.offset, image.clusterSize, allowed);
    yield* writeGrow(image.file, kernel.memory.subarray(table.pointer, table.pointer + image.clusterSize), table.offset);
  }

  /** Reads the tables into their places; neighbours in the file with one read. */
  *#load(tables: readonly LoadedTable[]): Op<void> {
    const size = this.image.clusterSize;
    let ops: Op<void>[] = [];
    for (let i = 0; i < tables.length;) {
      let run = 1;
      while (i + run < tables.length && tables[i + run]!.offset === tables[i]!.offset + run * size) run++;
      const { pointer, offset } = tables[i]!;
      ops.push(readPadded(this.image.file, this.kernel.memory.subarray(pointer, pointer + run * size), offset));
      if (ops.length === FAN_OUT) {
        yield* parallel(ops);
        ops = [];
      }
      i += run;
    }
    yield* parallel(ops);
  }
}

function windowsOf(clusters: number, most: number): Window[] {
  const windows: Window[] = [];
  for (let base = 0; base < clusters; base += most) {
    windows.push({ base, count: Math.min(most, clusters - base), first: base === 0, last: base + most >= clusters });
  }
  return windows;
}
