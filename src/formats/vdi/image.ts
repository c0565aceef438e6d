/** An open VDI image: where blocks are, how new ones are made, how it grows. */
import { BlockError } from "../../base/error.js";
import { divCeil } from "../../base/int.js";
import type { BlockDriverInfo, TruncateOptions } from "../../block/driver.js";
import { ExtentKind } from "../../block/extent.js";
import { flush, truncate, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import type { CheckOptions, ImageCheck } from "../../block/types.js";
import { BlockImage } from "../shared/block-image.js";
import { BlockTable } from "../shared/block-table.js";
import { checkMap } from "./check.js";
import { BLOCK_SIZE, checkDiskSize, DISCARDED, UNALLOCATED, updateHeader, VDI_STATIC, type VdiHeader } from "./header.js";
import { surveyMap } from "./survey.js";

export class VdiImage extends BlockImage {
  readonly #header: VdiHeader;
  readonly #headerBytes: Uint8Array;
  /** Until this session allocates, a wrong count in the header is only reported. */
  #hasAllocated = false;
  /** A static image's blocks are all there: what is zero in it only the file below knows. */
  readonly recurseStatus: boolean;

  private constructor(node: Node, table: BlockTable, header: VdiHeader, headerBytes: Uint8Array, usedBlocks: number) {
    super({
      node,
      table,
      size: header.diskSize,
      blockSize: BLOCK_SIZE,
      lead: 0,
      end: header.dataOffset + usedBlocks * BLOCK_SIZE,
      dataStart: Math.max(header.dataOffset, header.bmapOffset + header.blocksInImage * 4),
      hole: header.isDifferencing ? ExtentKind.unallocated : ExtentKind.zero,
    });
    this.#header = header;
    this.#headerBytes = headerBytes;
    this.recurseStatus = header.imageType === VDI_STATIC;
  }

  static *open(node: Node, header: VdiHeader, headerBytes: Uint8Array): Op<VdiImage> {
    const table = new BlockTable({
      file: node.file,
      offset: header.bmapOffset,
      count: header.blocksInImage,
      bigEndian: false,
      budget: node.environment.memoryBudget,
    });
    if (node.readOnly) return new VdiImage(node, table, header, headerBytes, header.blocksAllocated);
    // The map is the truth; after a crash the header may count blocks that nothing uses.
    const survey = yield* surveyMap(table, header.blocksInImage);
    const image = new VdiImage(node, table, header, headerBytes, survey.end);
    image.addFree(survey.holes.map((index) => header.dataOffset + index * BLOCK_SIZE));
    return image;
  }

  protected get maxRecord(): number {
    return this.#header.dataOffset + (this.#header.blocksInImage - 1) * BLOCK_SIZE;
  }
  protected recordOf(entry: number): number {
    return entry < DISCARDED ? this.#header.dataOffset + entry * BLOCK_SIZE : -1;
  }
  protected override holeOf(entry: number): ExtentKind {
    return entry === DISCARDED ? ExtentKind.zero : super.holeOf(entry);
  }
  protected entryOf(record: number): number {
    return (record - this.#header.dataOffset) / BLOCK_SIZE;
  }

  protected *grow(begin: number, count: number): Op<void> {
    this.#hasAllocated = true;
    const end = begin + count * BLOCK_SIZE;
    if (this.file.size < end) yield* truncate(this.file, end, { preallocation: "off" });
  }

  protected override linked(): void {
    this.#hasAllocated = true;
  }

  protected override get isHeaderStale(): boolean {
    return this.#hasAllocated && this.entryOf(this.end) !== this.#header.blocksAllocated;
  }

  /** The block count goes to disk before the map that needs it: QEMU allocates by it. */
  protected override *writeHeader(): Op<void> {
    if (this.isHeaderStale) yield* this.#putHeader({ blocksAllocated: this.entryOf(this.end) });
  }

  /** Changes header fields, on disk and, when that has worked, here. */
  *#putHeader(changes: Partial<VdiHeader>): Op<void> {
    const bytes = this.#headerBytes.slice();
    updateHeader(bytes, { ...this.#header, ...changes });
    yield* writeGrow(this.file, bytes, 0);
    Object.assign(this.#header, changes);
    this.#headerBytes.set(bytes);
  }

  blockInfo(): BlockDriverInfo {
    return { clusterSize: BLOCK_SIZE, dirty: false };
  }

  /** Grows the disk as far as the space between block map and first block allows; nothing is moved. */
  *truncate(size: number, options: TruncateOptions): Op<void> {
    const header = this.#header;
    const old = header.diskSize;
    if (options.preallocation !== "off")
      throw new BlockError("ERR_UNSUPPORTED", `Unsupported preallocation mode '${options.preallocation}'`);
    if (size === old) return;
    if (header.isDifferencing) throw new BlockError("ERR_UNSUPPORTED", "Resizing differencing VDI images is not supported");
    if (size < old) throw new BlockError("ERR_UNSUPPORTED", "Shrinking VDI images is not supported");
    if (size % 512 !== 0) throw new BlockError("ERR_INVALID_ARGUMENT", "The new size must be a multiple of 512");
    checkDiskSize(size);
    const blocks = divCeil(size, BLOCK_SIZE);
    if (blocks > header.blocksInImage) {
      if (header.imageType === VDI_STATIC) throw new BlockError("ERR_UNSUPPORTED", "Resizing static VDI images is not supported");
      const room = Math.floor((header.dataOffset - header.bmapOffset) / 4);
      if (blocks > room) {
        throw new BlockError("ERR_UNSUPPORTED", `The block map of this image has room for ${room * BLOCK_SIZE} bytes only`, {
          hint: "Convert the image into a larger one.",
        });
      }
      yield* this.#growMap(blocks);
    }
    // The rest of the last block may hold anything: other programs write it, too.
    yield* this.writeZeroes(old, Math.min(size, header.blocksInImage * BLOCK_SIZE) - old, {});
    yield* this.flush();
    yield* this.#putHeader({ blocksInImage: Math.max(header.blocksInImage, blocks), diskSize: size });
    yield* flush(this.file);
    this.setSize(size);
  }

  *#growMap(blocks: number): Op<void> {
    const from = this.table.count;
    this.table.count = blocks;
    for (let block = from; block < blocks; block++) {
      yield* this.table.ensure(block);
      this.table.set(block, UNALLOCATED);
    }
  }

  *check(options: CheckOptions): Op<ImageCheck> {
    if (!this.node.readOnly) yield* this.flush();
    const result: ImageCheck = { filename: this.node.filename, format: "vdi", "check-errors": 0 };
    const found = yield* checkMap(this.table, this.#header, this.file.size, options.report);
    if (found.corruptions === 0 && found.allocated === this.#header.blocksAllocated) return result;
    result.corruptions = found.corruptions;
    if (found.allocated === this.#header.blocksAllocated) return result;
    result.corruptions++;
    const { blocksAllocated } = this.#header;
    // The count alone is wrong: it can be set right when the blocks in use are the first ones of the file.
    if (options.fix === "all" && found.corruptions === 0 && found.end === found.allocated) {
      options.report({
        severity: "repair",
        text: `Repairing allocated blocks mismatch, is ${found.allocated}, was ${blocksAllocated}`,
      });
      yield* this.#putHeader({ blocksAllocated: found.allocated });
      yield* flush(this.file);
      result["corruptions-fixed"] = 1;
    } else {
      options.report({
        severity: "corruption",
        text: `ERROR: allocated blocks mismatch, is ${found.allocated}, should be ${blocksAllocated}`,
      });
    }
    return result;
  }
}
