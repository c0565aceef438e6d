/** An open dynamic VHD. Blocks carry a sector bitmap in front; a copy of the footer ends the file. */
import { BlockError } from "../../base/error.js";
import { divCeil } from "../../base/int.js";
import type { BlockDriverInfo, TruncateOptions } from "../../block/driver.js";
import { ExtentKind } from "../../block/extent.js";
import { flush, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { parallel, type Op } from "../../block/op.js";
import { BlockImage, type BlockImageOptions } from "../shared/block-image.js";
import type { BlockTable } from "../shared/block-table.js";
import { setEntries, type DynamicHeader } from "./dynamic-header.js";
import { resizeFooter, SECTOR } from "./footer.js";
import type { Geometry } from "./geometry.js";
import { resizedShape, type Vhd, type VhdIdentity } from "./identity.js";

export const NO_BLOCK = 0xffffffff;

export interface DynamicImageOptions {
  node: Node;
  table: BlockTable;
  footer: Uint8Array;
  headerBytes: Uint8Array;
  headerOffset: number;
  header: DynamicHeader;
  identity: VhdIdentity;
  size: number;
  /** First byte behind all blocks, where the footer is. */
  end: number;
  /** Byte offset of the first block in the file. */
  lowest: number;
}

/** Where the blocks of an image with a table are. */
export function placeOfBlocks(options: DynamicImageOptions): Omit<BlockImageOptions, "hole"> {
  const { node, table, size, end, header, headerOffset, headerBytes } = options;
  return {
    node,
    table,
    size,
    blockSize: header.blockSize,
    lead: header.bitmapSize,
    end,
    dataStart: Math.max(headerOffset + headerBytes.length, header.tableOffset + header.entries * 4),
  };
}

export class DynamicImage extends BlockImage implements Vhd {
  readonly identity: VhdIdentity;
  readonly #options: DynamicImageOptions;
  /** Blocks whose bitmap says that all sectors are in use: a bit each. */
  #full: Uint8Array;

  constructor(options: DynamicImageOptions) {
    super({ ...placeOfBlocks(options), hole: ExtentKind.zero });
    this.#options = options;
    this.identity = options.identity;
    this.#full = new Uint8Array(divCeil(options.header.entries, 8));
  }

  protected readonly maxRecord: number = (NO_BLOCK - 1) * SECTOR;

  protected recordOf(entry: number): number {
    return entry === NO_BLOCK ? -1 : entry * SECTOR;
  }
  protected entryOf(record: number): number {
    return record / SECTOR;
  }

  /** Bitmaps that say "all in use", and the footer behind the last block. The old footer's place is the first new bitmap's. */
  protected *grow(begin: number, count: number): Op<void> {
    const ones = new Uint8Array(this.lead).fill(0xff);
    const writes: Op<void>[] = [writeGrow(this.file, this.#options.footer, begin + count * this.stride)];
    for (let i = 0; i < count; i++) writes.push(writeGrow(this.file, ones, begin + i * this.stride));
    yield* parallel(writes);
  }

  /** Programs that heed the bitmaps must see what is written: like QEMU, a block that is written at all becomes full. */
  protected override *touch(blocks: readonly number[], records: readonly number[]): Op<void> {
    const writes: Op<void>[] = [];
    for (let i = 0; i < blocks.length; i++) {
      const block = blocks[i]!;
      if ((this.#full[block >>> 3]! & (1 << (block & 7))) !== 0) continue;
      writes.push(writeGrow(this.file, new Uint8Array(this.lead).fill(0xff), records[i]!));
    }
    if (writes.length === 0) return;
    yield* parallel(writes);
    for (const block of blocks) this.linked(block);
  }

  /** New blocks have full bitmaps from the start. */
  protected override linked(block: number): void {
    this.#full[block >>> 3]! |= 1 << (block & 7);
  }

  blockInfo(): BlockDriverInfo {
    return { clusterSize: this.blockSize, dirty: false };
  }

  /** Grows the disk as far as the space between the table and the first block allows. */
  *truncate(size: number, options: TruncateOptions): Op<void> {
    if (options.preallocation !== "off")
      throw new BlockError("ERR_UNSUPPORTED", `Unsupported preallocation mode '${options.preallocation}'`);
    const { header, lowest } = this.#options;
    const old = this.size;
    if (size === old) return;
    if (size < old) throw new BlockError("ERR_UNSUPPORTED", "Shrinking dynamic VHD images is not supported");
    const geometry = resizedShape(this.identity, size);
    const entries = divCeil(size, this.blockSize);
    const room = Math.floor((lowest - header.tableOffset) / 4);
    if (entries > Math.max(room, header.entries)) {
      throw new BlockError(
        "ERR_UNSUPPORTED",
        `The block allocation table of this image has room for ${room * this.blockSize} bytes only`,
        {
          hint: "Convert the image into a larger one.",
        },
      );
    }
    if (entries > header.entries) {
      this.table.count = entries;
      for (let index = header.entries; index < entries; index++) {
        yield* this.table.ensure(index);
        this.table.set(index, NO_BLOCK);
      }
      header.entries = entries;
      const full = new Uint8Array(divCeil(entries, 8));
      full.set(this.#full);
      this.#full = full;
    }
    yield* this.writeZeroes(old, size - old, {});
    yield* this.flush();
    yield* this.withoutAllocation(this.#putSize(size, geometry));
    this.dataStart = Math.max(this.dataStart, header.tableOffset + header.entries * 4);
    this.setSize(size);
  }

  *#putSize(size: number, geometry: Geometry): Op<void> {
    const { header, footer, headerBytes, headerOffset } = this.#options;
    setEntries(headerBytes, header.entries);
    const resized = footer.slice();
    resizeFooter(resized, size, geometry);
    yield* writeGrow(this.file, headerBytes, headerOffset);
    // The larger size counts only when the table for it is there.
    yield* flush(this.file);
    yield* writeGrow(this.file, resized, 0);
    yield* writeGrow(this.file, resized, this.end);
    yield* flush(this.file);
    footer.set(resized);
  }
}
