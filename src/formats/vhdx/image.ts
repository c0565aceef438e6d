/** An open VHDX: mapping, writing, zeroing; the block allocation table is changed through the log. */
import { BlockError } from "../../base/error.js";
import { viewOf } from "../../base/bytes.js";
import { alignDown, alignUp } from "../../base/int.js";
import type { BackingLink, BlockDriverInfo, MappedImpl, Miss, WriteFlags, WritePiece, WritePlan } from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { skipFilters } from "../../block/graph.js";
import { discard, flush, readBytes, truncate, writeZeroes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { Mutex, type Op } from "../../block/op.js";
import type { CheckOptions, ImageCheck } from "../../block/types.js";
import { guidToText, randomGuid } from "../../codec/guid.js";
import { FreeSpace } from "../shared/free-space.js";
import { type Bat, entryOf, offsetOf, stateOf } from "./bat.js";
import type { Headers } from "./headers.js";
import { BlockState, HEADER_SECTION_BYTES, LOG_SECTOR, MiB } from "./layout.js";
import { LogWriter, type LoggedSector } from "./log-writer.js";
import type { Metadata } from "./metadata.js";
import type { RegionMap } from "./regions.js";
import { checkBlocks, type Survey } from "./survey.js";

/** Extents one `map` call appends at most: callers that only want the first must not pay for the whole image. */
const MAP_EXTENTS = 64;
/** Blocks one plan covers at most. */
const PLAN_BLOCKS = 256;
/** Bytes of sector bitmaps kept. */
const BITMAP_BUDGET = 1048576;

export interface VhdxImageOptions {
  node: Node;
  headers: Headers;
  metadata: Metadata;
  bat: Bat;
  /** The header section, the log, the table and the metadata. */
  regions: RegionMap;
  survey: Survey;
  /** The file seen through its log, where that was not replayed into it. */
  pending: PendingLog;
  /** The log was replayed into the file when it was opened. */
  replayed: boolean;
  /** Throws where the image can only be read. */
  refuseWrite: () => void;
  backingFile: BackingLink | null;
}

/** A log that is replayed in memory only, as long as the file is not to be written. */
export interface PendingLog {
  overlay: Node | null;
  /** Replays it into the file after all. */
  replay(): Op<void>;
}

class BitmapMiss implements Miss {
  readonly block: number;
  readonly offset: number;
  constructor(block: number, offset: number) {
    this.block = block;
    this.offset = offset;
  }
}

class BlockPlan implements WritePlan {
  length = 0;
  readonly pieces: WritePiece[] = [];
  /** Entries to be set: places of new blocks, and of partly present ones that become whole. */
  readonly blocks: { index: number; offset: number; isNew: boolean }[] = [];
}

const isStored = (state: number): boolean => state === BlockState.fullyPresent || state === BlockState.partiallyPresent;

export class VhdxImage implements MappedImpl {
  readonly shape = "mapped";
  readonly size: number;
  readonly allocationUnit: number;
  readonly zeroUnit: number;
  readonly discardUnit: number = 512;
  readonly backingFile: BackingLink | null;
  readonly #node: Node;
  readonly #headers: Headers;
  readonly #metadata: Metadata;
  readonly #bat: Bat;
  readonly #regions: RegionMap;
  readonly #pending: PendingLog;
  readonly #refuseWrite: () => void;
  readonly #replayed: boolean;
  readonly #log: LogWriter;
  readonly #bitmaps = new Map<number, Uint8Array>();
  /** First byte behind all space handed out. */
  #end: number;
  /** Blocks from here on were made in this session. */
  readonly #ownFrom: number;
  /** No two blocks of the image lie over each other; null: nobody has looked. */
  #isSound: boolean | null = null;
  /** Blocks that nothing uses any more. */
  readonly #free: FreeSpace;
  #begun = false;
  /** All data write GUIDs it has had since it was opened. */
  readonly #guids = new Set<string>();
  readonly #beginning = new Mutex();
  readonly #allocating = new Mutex();
  readonly #flushing = new Mutex();

  constructor(options: VhdxImageOptions) {
    this.#node = options.node;
    this.#headers = options.headers;
    this.#metadata = options.metadata;
    this.#bat = options.bat;
    this.#regions = options.regions;
    this.#pending = options.pending;
    this.#refuseWrite = options.refuseWrite;
    this.#replayed = options.replayed;
    this.#log = new LogWriter(options.node, options.headers);
    this.size = options.metadata.virtualSize;
    this.allocationUnit = options.metadata.blockSize;
    this.backingFile = options.backingFile;
    // Part of a block can be made zeros in place only where it is the image's own as a whole.
    this.zeroUnit = options.metadata.parent === null ? 1 : options.metadata.blockSize;
    this.#free = new FreeSpace(options.node.requests);
    this.#guids.add(this.dataWriteGuid);
    this.#end = alignUp(Math.max(options.survey.end, options.node.file.size), MiB);
    this.#ownFrom = this.#end;
  }

  get #file(): Node {
    return this.#pending.overlay ?? this.#node.file;
  }

  /** Bytes. */
  get logicalSector(): number {
    return this.#metadata.logicalSector;
  }
  /** What a child's parent locator names this image by. */
  get dataWriteGuid(): string {
    return guidToText(this.#headers.fields.dataWriteGuid);
  }

  /** Where the entry of a payload block is in the table. */
  #indexOf(block: number): number {
    return block + Math.floor(block / this.#metadata.chunkRatio);
  }

  // ---- reading ----

  map(offset: number, length: number, out: ExtentList): Miss | null {
    const { blockSize, chunkRatio } = this.#metadata;
    const bat = this.#bat;
    const end = offset + length;
    const limit = out.count + MAP_EXTENTS;
    let at = offset;
    for (let block = Math.floor(offset / blockSize); at < end;) {
      const index = block + Math.floor(block / chunkRatio);
      if (index >= bat.storedCount) {
        out.push(at, end - at, ExtentKind.unallocated);
        return null;
      }
      const page = bat.page(index);
      if (page === null) return bat.miss(index);
      const slot = bat.slot(index);
      const entry = page[slot]!;
      // Blocks without a place come in long rows.
      let run = 1;
      if (entry <= BlockState.unmapped) {
        const most = Math.min(page.length - slot, chunkRatio - (block % chunkRatio), Math.ceil(end / blockSize) - block);
        while (run < most && page[slot + run] === entry) run++;
      }
      const next = Math.min(end, (block + run) * blockSize);
      const miss = this.#mapBlock(block, entry, at, next, out);
      if (miss !== null) return miss;
      if (out.end < next || out.count > limit) return null;
      at = next;
      block += run;
    }
    return null;
  }

  #mapBlock(block: number, entry: number, at: number, next: number, out: ExtentList): Miss | null {
    const { blockSize, parent } = this.#metadata;
    switch (stateOf(entry)) {
      case BlockState.notPresent:
        out.push(at, next - at, ExtentKind.unallocated);
        return null;
      case BlockState.undefined:
      case BlockState.zero:
      case BlockState.unmapped:
      case BlockState.unmappedDraft:
        out.push(at, next - at, ExtentKind.zero);
        return null;
      case BlockState.fullyPresent: {
        const host = offsetOf(entry);
        if (!Number.isSafeInteger(host + blockSize) || host < HEADER_SECTION_BYTES) break;
        out.push(at, next - at, ExtentKind.data, this.#file, host + (at - block * blockSize));
        return null;
      }
      case BlockState.partiallyPresent:
        if (parent !== null && Number.isSafeInteger(offsetOf(entry) + blockSize))
          return this.#mapPartial(block, offsetOf(entry), at, next, out);
    }
    if (out.count > 0 && out.end === at) return null; // what is sound comes first; the error when it is asked for
    throw new BlockError(
      "ERR_CORRUPT",
      `VHDX: the table entry of block ${block} (state ${stateOf(entry)}, offset ${offsetOf(entry)}) is not valid`,
      {
        errno: "EIO",
        node: this.#node.nodeName,
        offset: at,
      },
    );
  }

  /** A block of which some sectors are here and the others in the parent: the sector bitmap knows. */
  #mapPartial(block: number, host: number, at: number, next: number, out: ExtentList): Miss | null {
    const { blockSize, logicalSector, chunkRatio } = this.#metadata;
    const bitmap = this.#bitmaps.get(block);
    if (bitmap === undefined) {
      const index = Math.floor(block / chunkRatio) * (chunkRatio + 1) + chunkRatio;
      const page = this.#bat.page(index);
      if (page === null) return this.#bat.miss(index);
      const entry = page[this.#bat.slot(index)]!;
      const where = offsetOf(entry);
      if (stateOf(entry) !== BlockState.fullyPresent || !Number.isSafeInteger(where) || where < HEADER_SECTION_BYTES) {
        throw new BlockError("ERR_CORRUPT", `VHDX: block ${block} is partially present, but its sector bitmap is not there`, {
          errno: "EIO",
          node: this.#node.nodeName,
        });
      }
      return new BitmapMiss(block, where + (block % chunkRatio) * (blockSize / logicalSector / 8));
    }
    const base = block * blockSize;
    const isHere = (sector: number): boolean => ((bitmap[sector >>> 3]! >>> (sector & 7)) & 1) !== 0;
    for (let from = at; from < next;) {
      let sector = Math.floor((from - base) / logicalSector);
      const here = isHere(sector);
      const last = Math.ceil((next - base) / logicalSector);
      while (sector < last && isHere(sector) === here) sector++;
      const to = Math.min(next, base + sector * logicalSector);
      if (here) out.push(from, to - from, ExtentKind.data, this.#file, host + (from - base));
      else out.push(from, to - from, ExtentKind.unallocated);
      from = to;
    }
    return null;
  }

  *load(miss: Miss): Op<void> {
    if (!(miss instanceof BitmapMiss)) {
      yield* this.#bat.load(miss);
      return;
    }
    const { blockSize, logicalSector } = this.#metadata;
    const bitmap = yield* readBytes(this.#file, miss.offset, blockSize / logicalSector / 8);
    if ((this.#bitmaps.size + 1) * bitmap.length > BITMAP_BUDGET) {
      for (const oldest of this.#bitmaps.keys()) {
        this.#bitmaps.delete(oldest);
        break;
      }
    }
    this.#bitmaps.set(miss.block, bitmap);
  }

  // ---- writing ----

  /** Before the first change of a session both GUIDs are renewed: children and other programs see that the disk is another one. */
  *#begin(): Op<void> {
    if (this.#begun) return;
    const unlock = yield* this.#beginning.acquire();
    try {
      if (this.#begun) return;
      yield* this.#headers.update({ fileWriteGuid: randomGuid(), dataWriteGuid: randomGuid() });
      this.#guids.add(this.dataWriteGuid);
      this.#begun = true;
    } finally {
      unlock();
    }
  }

  *prepareWrite(offset: number, length: number): Op<WritePlan> {
    const { blockSize } = this.#metadata;
    yield* this.#begin();
    if (this.#bat.isCrowded) yield* this.flush();
    const first = Math.floor(offset / blockSize);
    const last = Math.min(Math.ceil((offset + length) / blockSize), first + PLAN_BLOCKS);
    const plan = new BlockPlan();
    plan.length = Math.min(offset + length, last * blockSize) - offset;
    const places: number[] = [];
    const states: number[] = [];
    let missing = 0;
    for (let block = first; block < last; block++) {
      const entry = yield* this.#bat.get(this.#indexOf(block));
      const place = this.#placeOf(block, entry);
      places.push(place);
      states.push(stateOf(entry));
      if (place < 0) missing++;
    }
    const made = missing === 0 ? [] : yield* this.#allocate(missing);
    let used = 0;
    for (let block = first; block < last; block++) {
      const known = places[block - first]!;
      const state = states[block - first]!;
      const place = known >= 0 ? known : made[used++]!;
      if (state !== BlockState.fullyPresent) plan.blocks.push({ index: this.#indexOf(block), offset: place, isNew: known < 0 });
      // What the parent shows through must be in the block before that is the image's own.
      const isFilled =
        state === BlockState.partiallyPresent || (state === BlockState.notPresent && this.#metadata.parent !== null);
      this.#addPiece(plan, block, place, offset, isFilled);
    }
    return plan;
  }

  /** Byte offset of a block that can be written; -1: it has no place. */
  #placeOf(block: number, entry: number): number {
    const state = stateOf(entry);
    if (state <= BlockState.unmapped || state === BlockState.unmappedDraft) return -1;
    const place = offsetOf(entry);
    // A damaged entry must not make a write destroy the header or stretch the file.
    const isPresent =
      state === BlockState.fullyPresent || (state === BlockState.partiallyPresent && this.#metadata.parent !== null);
    if (isPresent && place >= HEADER_SECTION_BYTES && place < this.#node.file.size) return place;
    throw new BlockError(
      "ERR_CORRUPT",
      `VHDX: the table entry of block ${block} (state ${state}, offset ${place}) is not valid`,
      { errno: "EIO", node: this.#node.nodeName, offset: place },
    );
  }

  /** @param fresh the whole block is written; others read as zeros as they are, and only the guest's bytes need writing */
  #addPiece(plan: BlockPlan, block: number, place: number, offset: number, fresh: boolean): void {
    const { blockSize } = this.#metadata;
    const base = block * blockSize;
    const start = fresh ? base : Math.max(base, offset);
    const end = fresh ? Math.min(base + blockSize, this.size) : Math.min(base + blockSize, offset + plan.length);
    const host = place + (start - base);
    const previous = plan.pieces[plan.pieces.length - 1];
    if (
      previous !== undefined &&
      previous.fresh === fresh &&
      previous.start + previous.length === start &&
      previous.host + previous.length === host
    )
      previous.length += end - start;
    else plan.pieces.push({ start, length: end - start, file: this.#node.file, host, fresh });
  }

  /** Places of `count` new blocks, all zeros. */
  *#allocate(count: number): Op<number[]> {
    const { blockSize } = this.#metadata;
    const unlock = yield* this.#allocating.acquire();
    const file = this.#node.file;
    const reused = this.#free.take(count);
    try {
      for (const place of reused) yield* writeZeroes(file, place, blockSize);
      const missing = count - reused.length;
      if (missing === 0) return reused;
      // Another program may have made the file longer since.
      const begin = Math.max(this.#end, alignUp(file.size, MiB));
      const end = begin + missing * blockSize;
      if (!Number.isSafeInteger(end))
        throw new BlockError("ERR_NO_SPACE", "The VHDX cannot hold more blocks", { node: this.#node.nodeName });
      yield* truncate(file, end, { preallocation: "off" });
      this.#end = end;
      const places = [...reused];
      for (let i = 0; i < missing; i++) places.push(begin + i * blockSize);
      return places;
    } catch (error) {
      this.#free.give(reused);
      throw error;
    } finally {
      unlock();
    }
  }

  *commitWrite(plan: WritePlan): Op<void> {
    for (const { index, offset } of (plan as BlockPlan).blocks) {
      yield* this.#bat.get(index);
      this.#bat.set(index, entryOf(BlockState.fullyPresent, offset));
    }
  }

  // eslint-disable-next-line require-yield
  *abortWrite(plan: WritePlan): Op<void> {
    this.#free.give((plan as BlockPlan).blocks.flatMap(({ offset, isNew }) => (isNew ? [offset] : [])));
  }

  // ---- zeros and discard ----

  *writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    yield* this.#begin();
    const covered = this.#metadata.parent !== null;
    // Over a parent blocks without data of their own become zeros, too. Space that is to stay stays where that is possible.
    const lets = (state: number): boolean =>
      state === BlockState.fullyPresent ? flags.mayUnmap === true : covered && state !== BlockState.zero;
    yield* this.#clear(offset, length, BlockState.zero, lets, (host, bytes) => writeZeroes(this.#node.file, host, bytes, flags));
  }

  *discard(offset: number, length: number): Op<void> {
    yield* this.#begin();
    yield* this.#clear(offset, length, BlockState.unmapped, isStored, (host, bytes) => discard(this.#node.file, host, bytes));
  }

  /**
   * Clears a range: whole blocks whose state `lets` go become `state`, and their space is used again once that is on disk; of other
   * stored ones the parts in the range are cleared by `inPlace`. Blocks of fixed disks keep their places.
   */
  *#clear(
    offset: number,
    length: number,
    state: number,
    lets: (state: number) => boolean,
    inPlace: (host: number, length: number) => Op<void>,
  ): Op<void> {
    const { blockSize, fixed, parent } = this.#metadata;
    const end = offset + length;
    for (let block = Math.floor(offset / blockSize); block * blockSize < end; block++) {
      const index = this.#indexOf(block);
      if (index >= this.#bat.storedCount && parent === null) return;
      if (this.#bat.isCrowded) yield* this.flush();
      const entry = yield* this.#bat.get(index);
      const place = this.#placeOf(block, entry);
      const from = Math.max(offset, block * blockSize);
      const to = Math.min(end, (block + 1) * blockSize);
      const isWhole = from === block * blockSize && to === Math.min(this.size, (block + 1) * blockSize);
      if (stateOf(entry) === BlockState.fullyPresent) {
        const host = place + (from - block * blockSize);
        const inside = Math.min(to - from, this.#node.file.size - host);
        if (inside > 0) yield* inPlace(host, inside);
      }
      if (!isWhole || fixed || !lets(stateOf(entry))) continue;
      const isOwn = place >= 0 && (yield* this.#isOwn(place));
      yield* this.#bat.get(index);
      this.#bat.set(index, entryOf(state, 0));
      if (isOwn) this.#free.release(place);
    }
  }

  /** Whether a block that is let go leaves its place to nobody: in a damaged image another block may lie there, too. */
  *#isOwn(place: number): Op<boolean> {
    if (place >= this.#ownFrom) return true;
    this.#isSound ??= (yield* checkBlocks(this.#bat, this.#metadata, this.#regions, this.#file.size, () => {})) === 0;
    return this.#isSound;
  }

  /** A commit changes the parent's data write GUID; the image names the new one from then on, if it named the parent's before. */
  *followBacking(): Op<void> {
    const { backing } = this.#node;
    const parent = backing === null ? null : skipFilters(backing).impl;
    const locator = this.#metadata.parent;
    if (!(parent instanceof VhdxImage) || locator === null || locator.linkageOffset < 0) return;
    const guid = parent.dataWriteGuid;
    if (locator.linkages.includes(guid) || !locator.linkages.some((known) => parent.#guids.has(known))) return;
    yield* this.#begin();
    const unlock = yield* this.#flushing.acquire();
    try {
      yield* this.#log.write(yield* changedText(this.#node.file, locator.linkageOffset, `{${guid}}`));
      yield* flush(this.#node.file);
      locator.linkages[0] = guid;
    } finally {
      unlock();
    }
  }

  // ---- durability ----

  *flush(): Op<void> {
    const unlock = yield* this.#flushing.acquire();
    try {
      const sectors = this.#bat.takeDirty();
      if (sectors.length === 0) {
        yield* flush(this.#node.file);
        return;
      }
      this.#free.beginFlush();
      let written = false;
      try {
        yield* this.#log.write(sectors);
        written = true;
      } finally {
        this.#bat.settle(sectors, written);
        this.#free.endFlush(written);
      }
    } finally {
      unlock();
    }
  }

  *close(): Op<void> {
    if (this.#node.readOnly) return;
    yield* this.flush();
    yield* this.#log.close();
  }

  *accessChanging(write: boolean): Op<void> {
    if (write) {
      this.#refuseWrite();
      if (this.#pending.overlay === null) return;
      yield* this.#pending.replay();
      this.#pending.overlay = null;
      return;
    }
    yield* this.#log.close();
    this.#begun = false;
  }

  // ---- what qemu-img shows ----

  blockInfo(): BlockDriverInfo {
    return { clusterSize: this.#metadata.blockSize, dirty: false };
  }

  /** The log is replayed by opening; beyond QEMU's check, blocks must not share space. */
  *check(options: CheckOptions): Op<ImageCheck> {
    const result: ImageCheck = { filename: "", format: "vhdx", "check-errors": 0, corruptions: 0 };
    if (this.#replayed && options.fix !== "none") result["corruptions-fixed"] = 1;
    result.corruptions = yield* checkBlocks(this.#bat, this.#metadata, this.#regions, this.#file.size, options.report);
    return result;
  }
}

/** The sectors of the file with a UTF-16 text put over what is there, for the log. */
function* changedText(file: Node, offset: number, text: string): Op<LoggedSector[]> {
  const start = alignDown(offset, LOG_SECTOR);
  const bytes = yield* readBytes(file, start, alignUp(offset + 2 * text.length, LOG_SECTOR) - start);
  for (let i = 0; i < text.length; i++) viewOf(bytes).setUint16(offset - start + 2 * i, text.charCodeAt(i), true);
  const sectors: LoggedSector[] = [];
  for (let at = 0; at < bytes.length; at += LOG_SECTOR)
    sectors.push({ offset: start + at, bytes: bytes.subarray(at, at + LOG_SECTOR) });
  return sectors;
}
