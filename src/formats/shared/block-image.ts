/**
 * What images made of equal blocks and one table have in common (VDI, Parallels, dynamic VHD): mapping, writing, zeroing.
 *
 * Order on disk: a new block's bytes (and whatever the format keeps in front of the table, `writeHeader`) are durable
 * before the table entry that points to them is written; entries are collected and written back by `flush`. A crash
 * therefore loses at most writes that were not flushed, and leaks the blocks they had.
 */
import { BlockError } from "../../base/error.js";
import type { MappedImpl, Miss, WriteFlags, WritePiece, WritePlan } from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { discard, flush, writeZeroes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { Mutex, type Op } from "../../block/op.js";
import type { BlockTable } from "./block-table.js";

/** Extents one `map` call appends at most: callers that only want the first must not pay for the whole image. */
const MAP_EXTENTS = 64;
/** Blocks one plan covers at most. */
const PLAN_BLOCKS = 1024;

export interface BlockImageOptions {
  node: Node;
  table: BlockTable;
  /** Virtual size in bytes. */
  size: number;
  /** Guest bytes of a block. */
  blockSize: number;
  /** Bytes the format keeps before each block's data (the sector bitmap of VHD). */
  lead: number;
  /** Where new blocks go: the first byte behind everything in use. */
  end: number;
  /** No block may begin before this byte of the file: it holds the header and the table. */
  dataStart: number;
  /** What a block without an entry is: `zero`, or `unallocated` where a backing file may show through. */
  hole: ExtentKind;
}

/** A plan, and the blocks that were allocated for it. */
class BlockPlan implements WritePlan {
  length = 0;
  readonly pieces: WritePiece[] = [];
  readonly blocks: number[] = [];
  records: readonly number[] = [];
}

export abstract class BlockImage implements MappedImpl {
  readonly shape = "mapped";
  readonly allocationUnit: number;
  readonly zeroUnit: number = 1;
  readonly discardUnit: number = 512;
  protected readonly node: Node;
  protected readonly table: BlockTable;
  protected readonly blockSize: number;
  protected readonly lead: number;
  /** No block may begin before this byte. */
  protected dataStart: number;
  readonly #hole: ExtentKind;
  #size: number;
  /** First byte behind all space handed out. */
  #end: number;
  /** Space from here on was never written, in this session or before: it reads as zeros. */
  #virginFrom: number;
  /** Space (record offsets) before `#end` that nothing uses. */
  readonly #free: number[] = [];
  readonly #allocating = new Mutex();
  readonly #flushing = new Mutex();

  constructor(options: BlockImageOptions) {
    this.node = options.node;
    this.table = options.table;
    this.#size = options.size;
    this.blockSize = options.blockSize;
    this.allocationUnit = options.blockSize;
    this.lead = options.lead;
    this.dataStart = options.dataStart;
    this.#end = options.end;
    this.#virginFrom = Math.max(options.end, this.file.size);
    this.#hole = options.hole;
  }

  get size(): number {
    return this.#size;
  }
  protected setSize(size: number): void {
    this.#size = size;
  }
  protected get file(): Node {
    return this.node.file;
  }
  /** First byte behind all space in use, in flight ones included. */
  protected get end(): number {
    return this.#end;
  }
  /** Bytes a block takes in the file. */
  protected get stride(): number {
    return this.lead + this.blockSize;
  }

  // ---- what a format says ----

  /** The record (lead and data) an entry points to, as a byte offset in the file; -1 when it points to none. */
  protected abstract recordOf(entry: number): number;
  /** What a block is whose entry points to no record. */
  protected holeOf(_entry: number): ExtentKind {
    return this.#hole;
  }
  /** The entry for a record. */
  protected abstract entryOf(record: number): number;
  /** The largest byte offset a record can have. */
  protected abstract readonly maxRecord: number;
  /** Makes the file cover `count` new records from `begin` on. Calls do not overlap. */
  protected abstract grow(begin: number, count: number): Op<void>;
  /** Called for the records of new blocks, before anything is written there. */
  // eslint-disable-next-line require-yield
  protected *reserved(_records: readonly number[]): Op<void> {}
  /** Called before the first write of any kind to blocks that are there already. */
  // eslint-disable-next-line require-yield
  protected *touch(_blocks: readonly number[], _records: readonly number[]): Op<void> {}
  /** Called when a new block got its entry. */
  protected linked(_block: number): void {}
  /** Whether `writeHeader` has something to write though the table has not changed. */
  protected get isHeaderStale(): boolean {
    return false;
  }
  /** Header fields that must not be older than the table. */
  // eslint-disable-next-line require-yield
  protected *writeHeader(): Op<void> {}

  /** Whether `takeMore` has something to take. */
  protected get hasMore(): boolean {
    return false;
  }
  /** What goes to disk with the table entries, when the data of all writes until now is durable; as it is now. */
  protected takeMore(): () => Op<void> {
    return function* (): Op<void> {};
  }

  /** Blocks from here on have no entry, or one of zero that means the same. */
  get #storedCount(): number {
    return this.recordOf(0) < 0 ? this.table.storedCount : this.table.count;
  }

  // ---- reading ----

  map(offset: number, length: number, out: ExtentList): Miss | null {
    const { blockSize, table, lead } = this;
    const file = this.file;
    const end = offset + length;
    const limit = out.count + MAP_EXTENTS;
    const stored = this.#storedCount;
    let at = offset;
    let block = Math.floor(offset / blockSize);
    while (at < end) {
      if (block >= stored) {
        out.push(at, end - at, this.#hole);
        return null;
      }
      const page = table.page(block);
      if (page === null) return table.miss(block);
      const last = Math.min(table.pageEnd(block), stored);
      for (; block < last && at < end; block++) {
        const next = Math.min(end, (block + 1) * blockSize);
        const entry = page[table.slot(block)]!;
        const record = this.recordOf(entry);
        if (record < 0) out.push(at, next - at, this.holeOf(entry));
        else out.push(at, next - at, ExtentKind.data, file, record + lead + (at - block * blockSize));
        at = next;
        if (out.count > limit) return null;
      }
    }
    return null;
  }

  load(miss: Miss): Op<void> {
    return this.table.load(miss);
  }

  // ---- writing ----

  *prepareWrite(offset: number, length: number): Op<WritePlan> {
    const { blockSize, table } = this;
    if (table.isCrowded) yield* this.flush();
    const first = Math.floor(offset / blockSize);
    this.#checkBlock(first);
    const page = yield* table.ensure(first);
    const last = Math.min(Math.ceil((offset + length) / blockSize), table.pageEnd(first), first + PLAN_BLOCKS);
    const plan = new BlockPlan();
    plan.length = Math.min(offset + length, last * blockSize) - offset;
    // The caller holds these blocks: nobody changes their entries while we wait for something.
    const records: number[] = [];
    const present: number[] = [];
    for (let block = first; block < last; block++) {
      const record = this.recordOf(page[table.slot(block)]!);
      records.push(record);
      if (record < 0) plan.blocks.push(block);
      else {
        this.#checkRecord(block, record);
        present.push(block);
      }
    }
    if (present.length > 0)
      yield* this.touch(
        present,
        records.filter((record) => record >= 0),
      );
    if (plan.blocks.length > 0) yield* this.#allocateFor(plan);
    let used = 0;
    for (let block = first; block < last; block++) {
      const known = records[block - first]!;
      const record = known >= 0 ? known : plan.records[used++]!;
      this.#addPiece(plan, block, record, known < 0 && this.needsFill(record), offset);
    }
    return plan;
  }

  #checkBlock(block: number): void {
    if (block < this.table.count) return;
    throw new BlockError("ERR_CORRUPT", `The image's table has no entry for block ${block}`, {
      errno: "EIO",
      node: this.node.nodeName,
    });
  }

  /** A damaged entry must not make a write destroy the header or stretch the file. */
  #checkRecord(block: number, record: number): void {
    if (record >= this.dataStart && record < this.file.size) return;
    throw new BlockError(
      "ERR_CORRUPT",
      `Block ${block} of the image lies at offset ${record}, ${record < this.dataStart ? "inside the image's header" : "behind the end of the file"}`,
      {
        errno: "EIO",
        node: this.node.nodeName,
        offset: record,
      },
    );
  }

  /** What the guest does not write of a new block must be written, too; not where the space reads as zeros as it is. */
  protected needsFill(record: number): boolean {
    return record + this.lead < this.#virginFrom || this.node.backing !== null;
  }

  #addPiece(plan: BlockPlan, block: number, record: number, fresh: boolean, offset: number): void {
    const from = block * this.blockSize;
    const start = fresh ? from : Math.max(from, offset);
    const end = fresh ? from + this.blockSize : Math.min(from + this.blockSize, offset + plan.length);
    const host = record + this.lead + (start - from);
    const previous = plan.pieces[plan.pieces.length - 1];
    if (
      previous !== undefined &&
      previous.fresh === fresh &&
      previous.start + previous.length === start &&
      previous.host + previous.length === host
    ) {
      previous.length += end - start;
      return;
    }
    plan.pieces.push({ start, length: end - start, file: this.file, host, fresh });
  }

  *#allocateFor(plan: BlockPlan): Op<void> {
    const unlock = yield* this.#allocating.acquire();
    try {
      const count = plan.blocks.length;
      const records = this.#free.splice(Math.max(0, this.#free.length - count));
      const missing = count - records.length;
      if (missing > 0) {
        const begin = this.#end;
        try {
          if (begin + (missing - 1) * this.stride > this.maxRecord) {
            throw new BlockError("ERR_NO_SPACE", "The image cannot hold more blocks", { node: this.node.nodeName });
          }
          yield* this.grow(begin, missing);
        } catch (error) {
          this.#free.push(...records);
          throw error;
        }
        this.#end = begin + missing * this.stride;
        for (let i = 0; i < missing; i++) records.push(begin + i * this.stride);
      }
      plan.records = records;
      try {
        yield* this.reserved(records);
      } catch (error) {
        this.#free.push(...records);
        this.#virginFrom = Math.max(this.#virginFrom, this.#end);
        throw error;
      }
    } finally {
      unlock();
    }
  }

  /** Does something that must not meet an allocation: it moves or writes what lies behind the last block. */
  protected *withoutAllocation(work: Op<void>): Op<void> {
    const unlock = yield* this.#allocating.acquire();
    try {
      yield* work;
    } finally {
      unlock();
    }
  }

  *commitWrite(plan: WritePlan): Op<void> {
    const { blocks, records } = plan as BlockPlan;
    for (let i = 0; i < blocks.length; i++) {
      if (this.table.page(blocks[i]!) === null) yield* this.table.ensure(blocks[i]!);
      this.table.set(blocks[i]!, this.entryOf(records[i]!));
      this.linked(blocks[i]!);
    }
  }

  // eslint-disable-next-line require-yield
  *abortWrite(plan: WritePlan): Op<void> {
    this.addFree((plan as BlockPlan).records);
  }

  /** Space before `end` that nothing uses: taken first by the next writers. It may hold anything. */
  protected addFree(records: readonly number[]): void {
    if (records.length === 0) return;
    this.#free.push(...records);
    this.#virginFrom = Math.max(this.#virginFrom, this.#end);
    if (this.#allocating.held) return;
    this.#free.sort((a, b) => a - b);
    while (this.#free.length > 0 && this.#free[this.#free.length - 1] === this.#end - this.stride) {
      this.#free.pop();
      this.#end -= this.stride;
    }
  }

  // ---- zeros and discard ----

  *writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    if (this.node.backing !== null) throw new BlockError("ERR_UNSUPPORTED", "Zeros over a backing file must be written");
    yield* this.#eachPresent(offset, length, function* (file, host, bytes) {
      yield* writeZeroes(file, host, bytes, flags);
    });
  }

  *discard(offset: number, length: number): Op<void> {
    yield* this.#eachPresent(offset, length, function* (file, host, bytes) {
      yield* discard(file, host, bytes);
    });
  }

  /** The stored parts of a range, as ranges inside the file. What lies behind the end of the file is zeros already. */
  *#eachPresent(offset: number, length: number, work: (file: Node, host: number, length: number) => Op<void>): Op<void> {
    const { blockSize, table } = this;
    const file = this.file;
    const stored = this.#storedCount;
    let at = offset;
    while (at < offset + length) {
      const block = Math.floor(at / blockSize);
      if (block >= stored) return;
      const page = yield* table.ensure(block);
      const record = this.recordOf(page[table.slot(block)]!);
      const end = Math.min(offset + length, (block + 1) * blockSize);
      if (record >= 0) {
        this.#checkRecord(block, record);
        yield* this.touch([block], [record]);
        const host = record + this.lead + (at - block * blockSize);
        const inside = Math.min(end - at, file.size - host);
        if (inside > 0) yield* work(file, host, inside);
      }
      at = end;
    }
  }

  // ---- durability ----

  *flush(): Op<void> {
    const unlock = yield* this.#flushing.acquire();
    try {
      const runs = this.table.takeDirty();
      const writeMore = this.hasMore ? this.takeMore() : null;
      if (runs.length === 0 && writeMore === null && !this.isHeaderStale) {
        yield* flush(this.file);
        return;
      }
      let written = false;
      try {
        yield* this.writeHeader();
        yield* flush(this.file);
        if (writeMore !== null) yield* writeMore();
        yield* this.table.writeBack(runs);
        yield* flush(this.file);
        written = true;
      } finally {
        this.table.settle(runs, written);
      }
    } finally {
      unlock();
    }
  }

  *close(): Op<void> {
    if (!this.node.readOnly) yield* this.flush();
  }
}
