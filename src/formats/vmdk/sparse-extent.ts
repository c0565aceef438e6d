/**
 * Sparse extents: grain directory, grain tables, grains.
 *
 * Order on disk: a grain is durable before the entries that point to it are written (both copies of its table); changed
 * tables are collected and written back by `flush`. A crash loses at most writes that were not flushed, and leaks their grains.
 */
import { viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignDown, alignUp, divCeil } from "../../base/int.js";
import type { Miss, WriteFlags, WritePiece, WritePlan } from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { discard, flush, readBytes, writeGrow, writeZeroes, zeroGrow } from "../../block/io.js";
import type { Child, Node } from "../../block/node.js";
import { Mutex, type Op } from "../../block/op.js";
import { FreeSpace } from "../shared/free-space.js";
import type { VmdkExtent } from "./extent.js";
import type { Directory, PlainDirectory, TablePlace } from "./directory.js";
import { DAMAGED, GrainTable, TableCache, TableMiss, UNALLOCATED, ZEROED } from "./grain-tables.js";
import { GTE_ZEROED, MAX_FILE_SECTORS, SECTOR } from "./layout.js";

/** Extents one `map` call appends at most. */
const MAP_EXTENTS = 64;
/** Grain tables read together where they lie together. */
const READ_AHEAD = 16;
/** Guest bytes of new grains one plan covers at most (at least one grain). */
const PLAN_BYTES = 32 << 20;

export interface SparseExtentOptions {
  node: Node;
  child: Child;
  /** Guest offset and length in bytes. */
  start: number;
  length: number;
  type: string;
  grainSize: number;
  /** Grains of one table. */
  tableEntries: number;
  directory: Directory;
  compressed: boolean;
  /** Entries may say "zeros". */
  zeroedGrain: boolean;
  /** Bytes of one table entry on disk. */
  entryBytes: 4 | 8;
  /** Turns an entry of a loaded table into a grain place. */
  decode: (view: DataView, at: number) => number;
  /** Bytes of memory for tables. */
  budget: number;
}

class GrainPlan implements WritePlan {
  length = 0;
  readonly pieces: WritePiece[] = [];
  readonly grains: { index: number; host: number }[] = [];
}

export class SparseExtent implements VmdkExtent {
  readonly start: number;
  readonly end: number;
  readonly type: string;
  readonly grainSize: number;
  readonly compressed: boolean;
  readonly #node: Node;
  readonly #child: Child;
  readonly #tableEntries: number;
  readonly #directory: Directory;
  readonly #zeroedGrain: boolean;
  readonly #entryBytes: 4 | 8;
  readonly #decode: (view: DataView, at: number) => number;
  readonly #tables: TableCache;
  readonly #free: FreeSpace;
  readonly #loading = new Mutex();
  readonly #allocating = new Mutex();
  readonly #flushing = new Mutex();
  /** First byte behind all grains handed out. */
  #next: number;
  /** Grains from here on were handed out by us: no damaged entry shares them. */
  readonly #ownFrom: number;

  constructor(options: SparseExtentOptions) {
    this.#node = options.node;
    this.#child = options.child;
    this.start = options.start;
    this.end = options.start + options.length;
    this.type = options.type;
    this.grainSize = options.grainSize;
    this.compressed = options.compressed;
    this.#tableEntries = options.tableEntries;
    this.#directory = options.directory;
    this.#zeroedGrain = options.zeroedGrain;
    this.#entryBytes = options.entryBytes;
    this.#decode = options.decode;
    this.#tables = new TableCache(options.budget);
    this.#free = new FreeSpace(options.node.requests);
    this.#next = alignUp(options.child.node.size, options.compressed ? SECTOR : options.grainSize);
    this.#ownFrom = this.#next;
  }

  get file(): Node {
    return this.#child.node;
  }
  get damage(): string | null {
    return this.#directory.damage;
  }
  get #tableBytes(): number {
    return this.#tableEntries * this.#entryBytes;
  }
  get #coverage(): number {
    return this.#tableEntries * this.grainSize;
  }

  // ---- reading ----

  map(offset: number, end: number, out: ExtentList): Miss | null {
    const { start } = this;
    const coverage = this.#coverage;
    const limit = out.count + MAP_EXTENTS;
    const stored = this.#directory.storedCount;
    let at = offset;
    while (at < end) {
      const index = Math.floor((at - start) / coverage);
      if (index >= stored) {
        out.push(at, end - at, ExtentKind.unallocated);
        return null;
      }
      const tableStart = start + index * coverage;
      const stop = Math.min(end, tableStart + coverage);
      const place = this.#directory.place(index);
      if (place instanceof TableMiss) return place;
      if (place.offset < 0) {
        out.push(at, stop - at, ExtentKind.unallocated);
        at = stop;
        continue;
      }
      const table = this.#tables.find(place.offset);
      if (table === null) return new TableMiss(place.offset, index);
      at = this.#mapTable(table, tableStart, at, stop, out, limit);
      if (out.count > limit) return null;
      if (at < stop) return null;
    }
    return null;
  }

  /** Appends the grains of one table; returns how far it came. */
  #mapTable(table: GrainTable, tableStart: number, from: number, stop: number, out: ExtentList, limit: number): number {
    const { grainSize, file } = this;
    const { grains } = table;
    let at = from;
    let grain = Math.floor((at - tableStart) / grainSize);
    while (at < stop && out.count <= limit) {
      const grainStart = tableStart + grain * grainSize;
      const host = grains[grain]!;
      const step = host > 0 && !this.compressed ? grainSize : 0;
      const last = Math.ceil((stop - tableStart) / grainSize);
      // Grains of one kind, or that lie in one row, are one extent.
      let run = 1;
      if (host <= 0 || step > 0) while (grain + run < last && grains[grain + run] === host + run * step) run++;
      const next = Math.min(stop, grainStart + run * grainSize);
      if (host === UNALLOCATED) out.push(at, next - at, ExtentKind.unallocated);
      else if (host === ZEROED) out.push(at, next - at, ExtentKind.zero);
      else if (host === DAMAGED) {
        if (out.count > 0) return at;
        throw new BlockError("ERR_CORRUPT", `VMDK: invalid grain table entry for sector ${at / SECTOR} in '${file.filename}'`, {
          errno: "EIO",
          node: this.#node.nodeName,
          offset: at,
        });
      } else if (this.compressed) out.pushSpecial(at, next - at, file, host, 0, true);
      else out.push(at, next - at, ExtentKind.data, file, host + (at - grainStart));
      at = next;
      grain += run;
    }
    return at;
  }

  *load(miss: Miss): Op<void> {
    const { index, offset } = miss as TableMiss;
    const place = this.#directory.place(index);
    if (place instanceof TableMiss) {
      yield* this.#directory.load(place);
      return;
    }
    if (place.offset === offset) yield* this.#loadTables(index, place);
  }

  /** Loads a table, and those that follow it in the disk and in the file, as they do in new images. */
  *#loadTables(index: number, first: TablePlace): Op<void> {
    const unlock = yield* this.#loading.acquire();
    try {
      if (this.#tables.find(first.offset) !== null) return;
      const places = [first];
      while (places.length < READ_AHEAD && index + places.length < this.#directory.storedCount) {
        const next = this.#directory.place(index + places.length);
        if (
          next instanceof TableMiss ||
          next.offset !== first.offset + places.length * this.#tableBytes ||
          this.#tables.find(next.offset) !== null
        )
          break;
        places.push(next);
      }
      const bytes = yield* readBytes(this.file, first.offset, places.length * this.#tableBytes);
      const view = viewOf(bytes);
      places.forEach((place, table) => {
        const grains = new Float64Array(this.#tableEntries);
        const from = table * this.#tableBytes;
        // Most tables of a new image are empty.
        if (new Int32Array(bytes.buffer, from, this.#tableBytes / 4).some((word) => word !== 0)) {
          for (let i = 0; i < grains.length; i++) grains[i] = this.#decode(view, from + i * this.#entryBytes);
        }
        this.#tables.add(new GrainTable(place.offset, place.copy, grains));
      });
    } finally {
      unlock();
    }
  }

  // ---- tables for writers ----

  *#place(index: number): Op<TablePlace> {
    for (;;) {
      const place = this.#directory.place(index);
      if (!(place instanceof TableMiss)) return place;
      yield* this.#directory.load(place);
    }
  }

  /** The table with grain `index` (of the extent); made where there is none and `make` is true. */
  *#table(index: number, make: boolean): Op<GrainTable | null> {
    const number = Math.floor(index / this.#tableEntries);
    for (;;) {
      const place = yield* this.#place(number);
      if (place.offset < 0) {
        if (!make) return null;
        yield* this.#makeTable(number);
        continue;
      }
      if (place.damaged || place.offset + this.#tableBytes > this.file.size) {
        throw new BlockError(
          "ERR_CORRUPT",
          `VMDK: grain table ${number} of '${this.file.filename}' is damaged; that part of the image can only be read`,
          {
            errno: "EIO",
            node: this.#node.nodeName,
          },
        );
      }
      const table = this.#tables.find(place.offset);
      if (table !== null) return table;
      yield* this.#loadTables(number, place);
    }
  }

  /** Room for a grain table, both copies, at the end of the file; the directory points to it when its zeros are on disk. */
  *#makeTable(number: number): Op<void> {
    const directory = this.#directory as PlainDirectory;
    const unlock = yield* this.#allocating.acquire();
    try {
      if ((yield* this.#place(number)).offset >= 0) return;
      const bytes = alignUp(this.#tableBytes, SECTOR);
      const copies = directory.redundant === null ? 1 : 2;
      const offset = this.#next;
      this.#checkRoom(offset + copies * bytes);
      this.#next = alignUp(offset + copies * bytes, this.compressed ? SECTOR : this.grainSize);
      yield* zeroGrow(this.file, offset, copies * bytes);
      yield* flush(this.file);
      for (const [table, at] of [
        [directory.primary, offset],
        [directory.redundant, offset + bytes],
      ] as const) {
        if (table === null) continue;
        yield* table.ensure(number);
        table.set(number, at / SECTOR);
        const runs = table.takeDirty();
        let written = false;
        try {
          yield* table.writeBack(runs);
          written = true;
        } finally {
          table.settle(runs, written);
        }
      }
    } finally {
      unlock();
    }
  }

  #checkRoom(end: number): void {
    if (end / SECTOR <= MAX_FILE_SECTORS) return;
    throw new BlockError("ERR_NO_SPACE", `VMDK: '${this.file.filename}' cannot hold more grains`, { node: this.#node.nodeName });
  }

  // ---- writing ----

  *prepareWrite(offset: number, length: number): Op<WritePlan> {
    const { grainSize, start } = this;
    if (this.#tables.isCrowded) yield* this.flush();
    const first = Math.floor((offset - start) / grainSize);
    const table = (yield* this.#table(first, true))!;
    const tableEnd = (Math.floor(first / this.#tableEntries) + 1) * this.#tableEntries;
    const most = Math.max(1, Math.floor(PLAN_BYTES / grainSize));
    const last = Math.min(tableEnd, first + most, divCeil(offset + length - start, grainSize));
    const plan = new GrainPlan();
    plan.length = Math.min(offset + length, start + last * grainSize) - offset;
    const places: number[] = [];
    let missing = 0;
    for (let grain = first; grain < last; grain++) {
      const host = table.grains[grain % this.#tableEntries]!;
      places.push(host);
      if (host <= 0) missing++;
      else this.#checkGrain(grain, host);
    }
    const fresh = missing === 0 ? [] : yield* this.#allocate(missing);
    let used = 0;
    for (let grain = first; grain < last; grain++) {
      const known = places[grain - first]!;
      const host = known > 0 ? known : fresh[used++]!;
      if (known <= 0) plan.grains.push({ index: grain, host });
      this.#addPiece(plan, grain, host, known <= 0, offset);
    }
    if (missing > 0) yield* this.#fillLastGrain(plan);
    return plan;
  }

  /** A damaged entry must not make a write destroy the header or stretch the file. */
  #checkGrain(grain: number, host: number): void {
    if (host >= SECTOR && host < this.file.size) return;
    throw new BlockError(
      "ERR_CORRUPT",
      `VMDK: grain ${grain} of '${this.file.filename}' lies at offset ${host}, outside of the file's grains`,
      {
        errno: "EIO",
        node: this.#node.nodeName,
        offset: host,
      },
    );
  }

  #addPiece(plan: GrainPlan, grain: number, host: number, fresh: boolean, offset: number): void {
    const from = this.start + grain * this.grainSize;
    const to = Math.min(this.end, from + this.grainSize);
    const start = fresh ? from : Math.max(from, offset);
    const end = fresh ? to : Math.min(to, offset + plan.length);
    const at = host + (start - from);
    const previous = plan.pieces[plan.pieces.length - 1];
    if (
      previous !== undefined &&
      previous.fresh === fresh &&
      previous.start + previous.length === start &&
      previous.host + previous.length === at
    ) {
      previous.length += end - start;
      return;
    }
    plan.pieces.push({ start, length: end - start, file: this.file, host: at, fresh });
  }

  /** The last grain may reach behind the end of the extent: what no guest byte covers is zeros, so that the file holds whole grains. */
  *#fillLastGrain(plan: GrainPlan): Op<void> {
    const last = plan.grains[plan.grains.length - 1]!;
    const used = this.end - (this.start + last.index * this.grainSize);
    if (used < this.grainSize) yield* zeroGrow(this.file, last.host + used, this.grainSize - used);
  }

  *#allocate(count: number): Op<number[]> {
    const unlock = yield* this.#allocating.acquire();
    try {
      const hosts = this.#free.take(count);
      const missing = count - hosts.length;
      if (missing === 0) return hosts;
      const begin = this.#next;
      try {
        this.#checkRoom(begin + missing * this.grainSize);
      } catch (error) {
        this.#free.give(hosts);
        throw error;
      }
      this.#next = begin + missing * this.grainSize;
      for (let i = 0; i < missing; i++) hosts.push(begin + i * this.grainSize);
      return hosts;
    } finally {
      unlock();
    }
  }

  *commitWrite(plan: WritePlan): Op<void> {
    for (const { index, host } of (plan as GrainPlan).grains) {
      const table = (yield* this.#table(index, true))!;
      table.grains[index % this.#tableEntries] = host;
      this.#tables.markDirty(table);
    }
  }

  // eslint-disable-next-line require-yield
  *abortWrite(plan: WritePlan): Op<void> {
    this.#free.give((plan as GrainPlan).grains.map(({ host }) => host));
  }

  /** Links a grain that the caller has written (compressed ones): the guest range at `offset` must have none. */
  *link(offset: number, host: number): Op<void> {
    const index = Math.floor((offset - this.start) / this.grainSize);
    const table = (yield* this.#table(index, true))!;
    table.grains[index % this.#tableEntries] = host;
    this.#tables.markDirty(table);
    if (this.#tables.isCrowded) yield* this.flush();
  }

  /** Takes `bytes` bytes at the end of the file, whole sectors, for compressed grains. */
  *reserve(bytes: number): Op<number> {
    const unlock = yield* this.#allocating.acquire();
    try {
      const host = this.#next;
      this.#checkRoom(host + bytes);
      this.#next = alignUp(host + bytes, SECTOR);
      return host;
    } finally {
      unlock();
    }
  }

  /** Whether the grain at `offset` is stored. */
  *isStored(offset: number): Op<boolean> {
    const index = Math.floor((offset - this.start) / this.grainSize);
    const table = yield* this.#table(index, false);
    return table !== null && table.grains[index % this.#tableEntries]! !== UNALLOCATED;
  }

  // ---- zeros and discard ----

  *writeZeroes(offset: number, length: number, flags: WriteFlags, dryRun: boolean): Op<void> {
    if (this.compressed && !this.#zeroedGrain)
      throw new BlockError("ERR_UNSUPPORTED", "streamOptimized images have no zeros but written ones");
    yield* this.#clear(
      offset,
      length,
      dryRun,
      (host, bytes) => writeZeroes(this.file, host, bytes, flags),
      flags.mayUnmap === true,
    );
  }

  *discard(offset: number, length: number): Op<void> {
    if (this.compressed) return;
    let [from, to] = [offset, offset + length];
    if (this.#node.backing !== null) {
      // Without the entry for zeros a grain that is let go shows the backing file again, and so does part of one that is not stored.
      if (!this.#zeroedGrain) return;
      from = this.start + alignUp(from - this.start, this.grainSize);
      if (to !== this.end) to = this.start + alignDown(to - this.start, this.grainSize);
    }
    if (from < to) yield* this.#clear(from, to - from, false, (host, bytes) => discard(this.file, host, bytes), true);
  }

  /**
   * Makes a range zeros: whole grains by their entry, parts of stored grains in place with `inPlace`.
   * @param mayFree whole grains may be let go where there is no entry for zeros
   */
  *#clear(
    offset: number,
    length: number,
    dryRun: boolean,
    inPlace: (host: number, bytes: number) => Op<void>,
    mayFree: boolean,
  ): Op<void> {
    const { grainSize, start } = this;
    const covered = this.#node.backing !== null;
    const end = offset + length;
    let at = offset;
    while (at < end) {
      const grain = Math.floor((at - start) / grainSize);
      const from = start + grain * grainSize;
      const next = Math.min(end, from + grainSize);
      const table = yield* this.#table(grain, covered && !dryRun && this.#zeroedGrain);
      if (table === null) {
        // No table: nothing is stored here, up to the end of what the table would cover.
        if (covered && !this.#zeroedGrain) throw unsupportedZeros();
        at = covered ? next : Math.min(end, start + (Math.floor(grain / this.#tableEntries) + 1) * this.#coverage);
        continue;
      }
      const slot = grain % this.#tableEntries;
      const host = table.grains[slot]!;
      const whole = at === from && next === Math.min(this.end, from + grainSize);
      if (host > 0 && this.compressed) {
        throw new BlockError("ERR_IO", "Could not write to allocated cluster for streamOptimized", {
          node: this.#node.nodeName,
          offset: at,
        });
      }
      if (whole && this.#zeroedGrain) {
        if (!dryRun && (host > 0 || (covered && host === UNALLOCATED))) this.#unlink(table, slot, ZEROED);
      } else if (whole && mayFree && !covered) {
        if (!dryRun && host > 0) this.#unlink(table, slot, UNALLOCATED);
      } else if (host > 0) {
        this.#checkGrain(grain, host);
        const inside = Math.min(next - at, this.file.size - (host + (at - from)));
        if (!dryRun && inside > 0) yield* inPlace(host + (at - from), inside);
      } else if (host === UNALLOCATED && covered) {
        throw unsupportedZeros();
      }
      at = next;
    }
  }

  #unlink(table: GrainTable, slot: number, to: number): void {
    const host = table.grains[slot]!;
    table.grains[slot] = to;
    this.#tables.markDirty(table);
    if (host >= this.#ownFrom) this.#free.release(host);
  }

  // ---- durability ----

  /** Brings grains down to the file, then the tables that were changed before. */
  *flush(): Op<void> {
    const unlock = yield* this.#flushing.acquire();
    try {
      const tables = this.#tables.takeDirty();
      if (tables.length === 0) {
        yield* flush(this.file);
        return;
      }
      this.#free.beginFlush();
      // As they are now: what is linked from here on has its data behind the flush.
      const images = tables.map((table) => this.#encode(table));
      let written = false;
      try {
        yield* flush(this.file);
        for (let i = 0; i < tables.length; i++) {
          const { offset, copy } = tables[i]!;
          yield* writeGrow(this.file, images[i]!, offset);
          if (copy >= 0) yield* writeGrow(this.file, images[i]!, copy);
        }
        yield* flush(this.file);
        written = true;
      } finally {
        for (const table of tables) {
          table.writing--;
          if (!written) this.#tables.markDirty(table);
        }
        this.#free.endFlush(written);
      }
    } finally {
      unlock();
    }
  }

  #encode(table: GrainTable): Uint8Array {
    const bytes = new Uint8Array(this.#tableBytes);
    const view = viewOf(bytes);
    for (let i = 0; i < table.grains.length; i++) {
      const host = table.grains[i]!;
      view.setUint32(i * 4, host === ZEROED ? GTE_ZEROED : host / SECTOR, true);
    }
    return bytes;
  }
}

const unsupportedZeros = (): BlockError =>
  new BlockError("ERR_UNSUPPORTED", "Zeros over a backing file must be written: the image has no zeroed grains");
