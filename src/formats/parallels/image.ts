/** An open Parallels image. */
import { BlockError } from "../../base/error.js";
import { alignUp, divCeil, MiB } from "../../base/int.js";
import type { BitmapStore, TruncateOptions } from "../../block/driver.js";
import { ExtentKind } from "../../block/extent.js";
import { flush, readBytes, truncate, write, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { storageCan, type Op } from "../../block/op.js";
import type { CheckOptions, ImageCheck } from "../../block/types.js";
import { BlockImage } from "../shared/block-image.js";
import type { BlockTable } from "../shared/block-table.js";
import { attachBitmaps, bitmapStore } from "./bitmaps.js";
import { checkBat } from "./check.js";
import type { ParallelsExtension } from "./extension.js";
import { clearExtension, HEADER_BYTES, IN_USE, SECTOR, updateHeader, type ParallelsHeader } from "./header.js";

/** Largest cluster that a repair copies, as one write. */
const MAX_COPY = 64 * MiB;

export interface ParallelsImageOptions {
  node: Node;
  table: BlockTable;
  header: ParallelsHeader;
  headerBytes: Uint8Array;
  extension: ParallelsExtension | null;
  /** There is one that cannot be read: no reader opens the image with it. */
  isExtensionDamaged: boolean;
  /** Clusters begin here at the earliest: where the data area begins, or the first cluster in use before that. */
  lowest: number;
  /** First byte behind all clusters in use. */
  end: number;
  /** Bytes to add whenever the file must grow. */
  preallocSize: number;
  preallocMode: "falloc" | "truncate";
}

export class ParallelsImage extends BlockImage {
  readonly #header: ParallelsHeader;
  readonly #headerBytes: Uint8Array;
  readonly #options: ParallelsImageOptions;
  /** Bytes one unit of a BAT entry stands for. */
  readonly #unit: number;
  /** The header says that we write. */
  #isMarked = false;
  /** The mark is on its way to the disk, or there: also where it could not be made sure, closing takes it away. */
  #mayBeMarked = false;
  /** This session took space ahead of need, and gives it back when it closes. */
  #hasSpaceAhead = false;
  /** Opened unclean, and not repaired yet. */
  #isUnclean: boolean;
  #isExtensionDamaged: boolean;
  /** Dirty bitmaps of the format extension, read-only. */
  readonly bitmaps: BitmapStore;

  constructor(options: ParallelsImageOptions) {
    const { header } = options;
    const clusterBytes = header.tracks * SECTOR;
    super({
      node: options.node,
      table: options.table,
      size: header.sectors * SECTOR,
      blockSize: clusterBytes,
      lead: 0,
      end: options.end,
      dataStart: HEADER_BYTES + header.batEntries * 4,
      hole: ExtentKind.unallocated,
    });
    this.#options = options;
    this.#header = header;
    this.#headerBytes = options.headerBytes;
    this.#unit = header.generation === 1 ? SECTOR : clusterBytes;
    this.#isUnclean = header.inuse === IN_USE;
    this.#isExtensionDamaged = options.isExtensionDamaged;
    // A writer does not keep the extension up to date: its bitmaps are of use to readers only.
    const readable = options.node.readOnly ? options.extension : null;
    this.bitmaps = bitmapStore(readable);
    attachBitmaps(options.node, this.file, readable, clusterBytes, header.sectors * SECTOR);
  }

  protected get maxRecord(): number {
    return 0xffffffff * this.#unit;
  }
  protected recordOf(entry: number): number {
    return entry === 0 ? -1 : entry * this.#unit;
  }
  protected entryOf(record: number): number {
    return record / this.#unit;
  }

  protected *grow(begin: number, count: number): Op<void> {
    yield* this.#mark();
    const end = begin + count * this.blockSize;
    const file = this.file;
    if (end <= file.size) return;
    this.#hasSpaceAhead = true;
    const goal = end + this.#options.preallocSize;
    const impl = file.impl;
    const canAllocate = impl.shape === "storage" && storageCan(impl.storage, "allocate");
    try {
      yield* truncate(file, goal, { preallocation: this.#options.preallocMode === "falloc" && canAllocate ? "falloc" : "off" });
    } catch (error) {
      // The space ahead is a wish, the clusters are a need.
      if (!(error instanceof BlockError) || error.code !== "ERR_NO_SPACE") throw error;
      yield* truncate(file, end, { preallocation: "off" });
    }
  }

  protected override touch(): Op<void> {
    return this.#mark();
  }

  /** Says in the header that the image is being written, before anything else is. */
  *#mark(): Op<void> {
    if (this.#isMarked) return;
    this.#mayBeMarked = true;
    yield* this.#putHeader({ inuse: IN_USE });
    yield* flush(this.file);
    this.#isMarked = true;
  }

  /** Changes header fields, on disk and, when that has worked, here. */
  *#putHeader(changes: Partial<ParallelsHeader>): Op<void> {
    const bytes = this.#headerBytes.slice();
    updateHeader(bytes, { ...this.#header, ...changes });
    yield* writeGrow(this.file, bytes, 0);
    Object.assign(this.#header, changes);
    this.#headerBytes.set(bytes);
  }

  override *close(): Op<void> {
    if (!this.node.readOnly) yield* this.#settle();
  }
  /** Becoming read-only leaves the file as closing would. */
  *accessChanging(write: boolean): Op<void> {
    if (!write) yield* this.#settle();
  }

  *#settle(): Op<void> {
    yield* this.flush();
    if (!this.#mayBeMarked || this.#isUnclean) return;
    // Space taken ahead goes back.
    yield* this.withoutAllocation(this.#giveBack());
    yield* this.#putHeader({ inuse: 0 });
    yield* flush(this.file);
    this.#isMarked = this.#mayBeMarked = false;
  }

  *#giveBack(): Op<void> {
    if (this.file.size > this.end) yield* truncate(this.file, this.end, { preallocation: "off" });
  }

  /** Grows the disk as far as the space between BAT and data area allows. */
  *truncate(size: number, options: TruncateOptions): Op<void> {
    const header = this.#header;
    const old = this.size;
    if (options.preallocation !== "off")
      throw new BlockError("ERR_UNSUPPORTED", `Unsupported preallocation mode '${options.preallocation}'`);
    if (size === old) return;
    if (size < old) throw new BlockError("ERR_UNSUPPORTED", "Shrinking Parallels images is not supported");
    if (size % SECTOR !== 0) throw new BlockError("ERR_INVALID_ARGUMENT", "The new size must be a multiple of 512");
    const entries = divCeil(size, this.blockSize);
    const room = Math.floor((this.#options.lowest - HEADER_BYTES) / 4);
    if (entries > room || (header.generation === 1 && size / SECTOR > 0xffffffff)) {
      throw new BlockError(
        "ERR_UNSUPPORTED",
        `The allocation table of this image has room for ${room * this.blockSize} bytes only`,
        {
          hint: "Convert the image into a larger one.",
        },
      );
    }
    yield* this.#mark();
    if (entries > header.batEntries) {
      const from = this.table.count;
      this.table.count = entries;
      for (let index = from; index < entries; index++) {
        yield* this.table.ensure(index);
        this.table.set(index, 0);
      }
    }
    // The rest of the last cluster may hold anything: other programs write it, too.
    if (this.node.backing === null) yield* this.writeZeroes(old, size - old, {});
    yield* this.flush();
    yield* this.#putHeader({ batEntries: Math.max(header.batEntries, entries), sectors: size / SECTOR });
    this.dataStart = HEADER_BYTES + header.batEntries * 4;
    yield* flush(this.file);
    this.setSize(size);
  }

  *check(options: CheckOptions): Op<ImageCheck> {
    const { node } = this;
    const writable = !node.readOnly;
    if (writable) yield* this.flush();
    const result: ImageCheck = { filename: node.filename, format: "parallels", "check-errors": 0 };
    const repair = options.fix === "all" && writable;
    if (repair) yield* this.#mark();
    const damage = (text: string): void => {
      options.report({ severity: repair ? "repair" : "corruption", text: `${repair ? "Repairing" : "ERROR"} ${text}` });
      result.corruptions = (result.corruptions ?? 0) + 1;
      if (repair) result["corruptions-fixed"] = (result["corruptions-fixed"] ?? 0) + 1;
    };
    if (this.#isUnclean) {
      damage("image was not closed correctly");
      this.#isUnclean &&= !repair;
    }
    if (this.#isExtensionDamaged) {
      damage("format extension cannot be read");
      if (repair) yield* this.#dropExtension();
    }
    const fileEnd = alignUp(this.file.size, SECTOR);
    const unshare = this.blockSize <= MAX_COPY ? (block: number) => this.#unshare(block) : null;
    const found = yield* checkBat(this.table, {
      recordOf: (entry) => this.recordOf(entry),
      clusterBytes: this.blockSize,
      fileEnd,
      repair: repair ? { save: () => this.flush(), unshare } : null,
      report: options.report,
    });
    const wrong = found.outside + found.duplicates;
    const fixed = repair ? found.outside + (unshare === null ? 0 : found.duplicates) : 0;
    if (wrong > 0) result.corruptions = (result.corruptions ?? 0) + wrong;
    if (fixed > 0) result["corruptions-fixed"] = (result["corruptions-fixed"] ?? 0) + fixed;
    result["total-clusters"] = this.table.count;
    if (found.allocated > 0) result["allocated-clusters"] = found.allocated;
    if (found.fragmented > 0) result["fragmented-clusters"] = found.fragmented;
    const copied = repair && found.duplicates > 0 ? this.end : 0;
    const end = Math.max(found.highest + this.blockSize, this.#options.extension?.end ?? 0, copied);
    result["image-end-offset"] = end;
    if (fileEnd > end && !this.#hasSpaceAhead) yield* this.#checkTail(end, fileEnd, options, result);
    return result;
  }

  /** Gives a block that shares its cluster with another one a cluster of its own, with the same content. */
  *#unshare(block: number): Op<void> {
    const start = block * this.blockSize;
    const bytes = yield* readBytes(this.node, start, Math.max(0, Math.min(this.blockSize, this.size - start)));
    // From here until the block has its new entry none must go to disk.
    yield* this.flush();
    const entry = (yield* this.table.ensure(block))[this.table.slot(block)]!;
    this.table.set(block, 0);
    try {
      if (bytes.length > 0) yield* write(this.node, bytes, start);
    } catch (error) {
      yield* this.table.ensure(block);
      this.table.set(block, entry);
      throw error;
    }
  }

  /** What an extension held (dirty bitmaps) cannot be told any more: without it the image opens again. */
  *#dropExtension(): Op<void> {
    clearExtension(this.#headerBytes);
    yield* this.#putHeader({ inuse: IN_USE });
    this.#isExtensionDamaged = false;
  }

  *#checkTail(end: number, fileEnd: number, options: CheckOptions, result: ImageCheck): Op<void> {
    const fix = options.fix !== "none" && !this.node.readOnly;
    options.report({
      severity: fix ? "repair" : "leak",
      text: `${fix ? "Repairing" : "ERROR"} space leaked at the end of the image ${fileEnd - end}`,
    });
    result.leaks = divCeil(fileEnd - end, this.blockSize);
    if (!fix) return;
    // Never into header and table, whatever the clusters say.
    yield* this.withoutAllocation(
      truncate(this.file, Math.max(end, HEADER_BYTES + this.table.storedCount * 4), { preallocation: "off" }),
    );
    result["leaks-fixed"] = result.leaks;
  }
}
