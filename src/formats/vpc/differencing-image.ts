/**
 * An open differencing VHD: sectors that the bitmaps mark are its own, all others its parent's.
 *
 * Sectors are written as wholes (`transformUnit`), so that nothing is ever copied from the parent. Order on disk: a new block's bitmap
 * (empty), the guest's data and the footer are durable before bitmap bits and table entries that lead there; these are collected and
 * written by `flush`. A crash loses at most writes that were not flushed.
 */
import { BlockError } from "../../base/error.js";
import type { BackingLink, BlockDriverInfo, Miss, WritePlan } from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { writeGrow } from "../../block/io.js";
import { parallel, type Op } from "../../block/op.js";
import { BlockImage } from "../shared/block-image.js";
import { NO_BLOCK, placeOfBlocks, type DynamicImageOptions } from "./dynamic-image.js";
import { SECTOR } from "./footer.js";
import type { Vhd, VhdIdentity } from "./identity.js";
import { isSet, SectorBitmaps } from "./sector-bitmaps.js";

/** Extents one `map` call appends at most. */
const MAP_EXTENTS = 64;

class BitmapMiss implements Miss {
  readonly block: number;
  readonly offset: number;
  constructor(block: number, offset: number) {
    this.block = block;
    this.offset = offset;
  }
}

export class DifferencingImage extends BlockImage implements Vhd {
  readonly identity: VhdIdentity;
  readonly transformUnit: number = SECTOR;
  /** The parent as the image names it. */
  readonly backingFile: BackingLink | null;
  readonly #options: DynamicImageOptions;
  readonly #bitmaps: SectorBitmaps;

  constructor(options: DynamicImageOptions, parent: BackingLink | null) {
    super({ ...placeOfBlocks(options), hole: ExtentKind.unallocated });
    this.#options = options;
    this.identity = options.identity;
    this.backingFile = parent;
    this.#bitmaps = new SectorBitmaps(() => this.file, options.header.bitmapSize);
  }

  protected readonly maxRecord: number = (NO_BLOCK - 1) * SECTOR;
  protected recordOf(entry: number): number {
    return entry === NO_BLOCK ? -1 : entry * SECTOR;
  }
  protected entryOf(record: number): number {
    return record / SECTOR;
  }

  /** Without its parent sectors cannot be told from zeros. */
  refuseWrite(): void {
    if (this.node.backing !== null || this.node.flags.noBacking) return;
    throw new BlockError("ERR_READ_ONLY", "A differencing VHD image without its parent can only be opened read-only", {
      errno: "ENOTSUP",
      node: this.node.nodeName,
    });
  }
  // eslint-disable-next-line require-yield
  *accessChanging(write: boolean): Op<void> {
    if (write) this.refuseWrite();
  }

  // ---- reading ----

  override map(offset: number, length: number, out: ExtentList): Miss | null {
    const { blockSize, table, lead } = this;
    const end = offset + length;
    const limit = out.count + MAP_EXTENTS;
    for (let at = offset; at < end && out.count <= limit;) {
      const block = Math.floor(at / blockSize);
      const page = table.page(block);
      if (page === null) return table.miss(block);
      const stop = Math.min(end, (block + 1) * blockSize);
      const record = this.recordOf(page[table.slot(block)]!);
      if (record < 0) {
        out.push(at, stop - at, ExtentKind.unallocated);
        at = stop;
        continue;
      }
      const bits = this.#bitmaps.get(block);
      if (bits === undefined) return new BitmapMiss(block, record);
      while (at < stop && out.count <= limit) {
        const inBlock = at - block * blockSize;
        const sector = Math.floor(inBlock / SECTOR);
        const own = isSet(bits, sector);
        let next = sector + 1;
        while (next * SECTOR < stop - block * blockSize && isSet(bits, next) === own) next++;
        const until = Math.min(stop, block * blockSize + next * SECTOR);
        if (own) out.push(at, until - at, ExtentKind.data, this.file, record + lead + inBlock);
        else out.push(at, until - at, ExtentKind.unallocated);
        at = until;
      }
    }
    return null;
  }

  override load(miss: Miss): Op<void> {
    return miss instanceof BitmapMiss ? this.#bitmaps.load(miss.block, miss.offset) : super.load(miss);
  }

  // ---- writing ----

  override *prepareWrite(offset: number, length: number): Op<WritePlan> {
    if (this.#bitmaps.isCrowded) yield* this.flush();
    return yield* super.prepareWrite(offset, length);
  }

  /** Sectors that are not written stay the parent's. */
  protected override needsFill(): boolean {
    return false;
  }

  protected *grow(begin: number, count: number): Op<void> {
    yield* writeGrow(this.file, this.#options.footer, begin + count * this.stride);
  }
  protected override *reserved(records: readonly number[]): Op<void> {
    const none = new Uint8Array(this.lead);
    yield* parallel(records.map((record) => writeGrow(this.file, none, record)));
  }

  override *commitWrite(plan: WritePlan): Op<void> {
    yield* super.commitWrite(plan);
    const { blockSize, table } = this;
    for (const piece of plan.pieces) {
      for (let at = piece.start; at < piece.start + piece.length;) {
        const block = Math.floor(at / blockSize);
        const until = Math.min(piece.start + piece.length, (block + 1) * blockSize);
        const inBlock = at - block * blockSize;
        const page = yield* table.ensure(block);
        const record = this.recordOf(page[table.slot(block)]!);
        yield* this.#bitmaps.own(block, record, inBlock / SECTOR, (until - at) / SECTOR);
        at = until;
      }
    }
  }

  protected override get hasMore(): boolean {
    return this.#bitmaps.hasDirty;
  }
  protected override takeMore(): () => Op<void> {
    return this.#bitmaps.takeDirty();
  }

  blockInfo(): BlockDriverInfo {
    return { clusterSize: this.blockSize, dirty: false };
  }
}
