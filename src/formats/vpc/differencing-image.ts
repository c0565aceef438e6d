/** An open differencing VHD, read-only: sectors its bitmaps mark are its own, all others its parent's. */
import type { BackingLink, BlockDriverInfo, MappedImpl, Miss } from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import type { BlockTable } from "../shared/block-table.js";
import type { DynamicHeader } from "./dynamic-header.js";
import { NO_BLOCK } from "./dynamic-image.js";
import { SECTOR } from "./footer.js";
import type { Vhd, VhdIdentity } from "./identity.js";

/** Extents one `map` call appends at most. */
const MAP_EXTENTS = 64;
/** Memory for sector bitmaps. */
const BITMAP_BUDGET = 8 * 1048576;

class BitmapMiss implements Miss {
  readonly block: number;
  readonly offset: number;
  constructor(block: number, offset: number) {
    this.block = block;
    this.offset = offset;
  }
}

export class DifferencingImage implements MappedImpl, Vhd {
  readonly shape = "mapped";
  readonly size: number;
  readonly allocationUnit: number;
  readonly identity: VhdIdentity;
  /** The parent as the image names it. */
  readonly backingFile: BackingLink | null;
  readonly #node: Node;
  readonly #table: BlockTable;
  readonly #header: DynamicHeader;
  readonly #bitmaps = new Map<number, Uint8Array>();

  constructor(
    node: Node,
    table: BlockTable,
    header: DynamicHeader,
    identity: VhdIdentity,
    size: number,
    parent: BackingLink | null,
  ) {
    this.#node = node;
    this.#table = table;
    this.#header = header;
    this.identity = identity;
    this.size = size;
    this.allocationUnit = header.blockSize;
    this.backingFile = parent;
  }

  map(offset: number, length: number, out: ExtentList): Miss | null {
    const { blockSize, bitmapSize } = this.#header;
    const end = offset + length;
    const limit = out.count + MAP_EXTENTS;
    for (let at = offset; at < end && out.count <= limit;) {
      const block = Math.floor(at / blockSize);
      const page = this.#table.page(block);
      if (page === null) return this.#table.miss(block);
      const stop = Math.min(end, (block + 1) * blockSize);
      const entry = page[this.#table.slot(block)]!;
      if (entry === NO_BLOCK) {
        out.push(at, stop - at, ExtentKind.unallocated);
        at = stop;
        continue;
      }
      const record = entry * SECTOR;
      const bitmap = this.#bitmaps.get(block);
      if (bitmap === undefined) return new BitmapMiss(block, record);
      while (at < stop && out.count <= limit) {
        const inBlock = at - block * blockSize;
        const sector = Math.floor(inBlock / SECTOR);
        const own = isSet(bitmap, sector);
        let next = sector + 1;
        while (next * SECTOR < stop - block * blockSize && isSet(bitmap, next) === own) next++;
        const until = Math.min(stop, block * blockSize + next * SECTOR);
        if (own) out.push(at, until - at, ExtentKind.data, this.#node.file, record + bitmapSize + inBlock);
        else out.push(at, until - at, ExtentKind.unallocated);
        at = until;
      }
    }
    return null;
  }

  *load(miss: Miss): Op<void> {
    if (!(miss instanceof BitmapMiss)) {
      yield* this.#table.load(miss);
      return;
    }
    const bitmap = yield* readBytes(this.#node.file, miss.offset, this.#header.bitmapSize);
    if ((this.#bitmaps.size + 1) * bitmap.length > BITMAP_BUDGET) {
      for (const oldest of this.#bitmaps.keys()) {
        this.#bitmaps.delete(oldest);
        break;
      }
    }
    this.#bitmaps.set(miss.block, bitmap);
  }

  blockInfo(): BlockDriverInfo {
    return { clusterSize: this.#header.blockSize, dirty: false };
  }

  // eslint-disable-next-line require-yield
  *flush(): Op<void> {}
  // eslint-disable-next-line require-yield
  *close(): Op<void> {}
}

/** Sector bits: the first sector is the most significant bit of the first byte. */
const isSet = (bitmap: Uint8Array, sector: number): boolean => (bitmap[sector >>> 3]! & (0x80 >>> (sector & 7))) !== 0;
