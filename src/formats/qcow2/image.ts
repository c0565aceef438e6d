/**
 * The state of an open qcow2 image: header, geometry, L1 table, caches, and the order in which metadata reaches the disk.
 *
 * Crash order (docs/CRASH-SAFETY.md). `commitMetadata` is the only place that writes tables back:
 *   1. refcount blocks (increments), then refcount table entries of new blocks
 *   2. barrier, if anything of 1 or any fresh data was written since the last one
 *   3. L2 tables
 *   4. barrier, if L1 entries are dirty
 *   5. L1 entries
 * Frees are deferred (`refcounts.ts`): a cluster loses its reference only after a barrier behind the tables that let go of it.
 */
import { type BlockError, errnoError, toBlockError, type Errno } from "../../base/error.js";
import { viewOf, writeU64BE } from "../../base/bytes.js";
import { alignDown, divCeil } from "../../base/int.js";
import type { OpenFlags } from "../../block/context.js";
import type { SnapshotVerbs } from "../../block/driver.js";
import { debugEvent } from "../../block/debug.js";
import { flush, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { Mutex, type Op } from "../../block/op.js";
import type { Codecs } from "../../codec/codec.js";
import type { Region } from "../../kernel/memory.js";
import type { Kernel } from "../../kernel/types.js";
import type { TableCache } from "../shared/table-cache.js";
import type { Allocator } from "./allocator.js";
import type { PersistentBitmaps } from "./bitmaps.js";
import type { Header } from "./header.js";
import { writeHeader } from "./write-header.js";
import { COPIED_HI, Incompatible } from "./layout.js";
import type { Options } from "./options.js";
import { OverlapGuard, overlapMessage, type MetadataKind } from "./overlap.js";
import { Qcow2View } from "./view.js";

export type { MetadataKind };

export class Qcow2 extends Qcow2View {
  /** All kernels, not only those of a reader. */
  declare readonly kernel: Kernel;
  readonly options: Options;
  /** Serialises everything that changes metadata. */
  readonly lock: Mutex = new Mutex();
  /** Keeps writes off metadata. */
  readonly overlap: OverlapGuard = new OverlapGuard(this);

  /** First and last dirty L1 index; from > to when clean. */
  #l1DirtyFrom = Infinity;
  #l1DirtyTo = -1;

  refblocks!: TableCache;
  allocator!: Allocator;
  snapshots: SnapshotVerbs | null = null;
  /** Persistent dirty bitmaps; null while the image is being checked and they cannot be read. */
  bitmaps: PersistentBitmaps | null = null;

  /** Fresh data or tables were written since the last barrier: nothing may point to them yet. */
  barrierNeeded = false;
  /** The image was modified in this session (autoclear bits are gone, the dirty bit is set where needed). */
  #modified = false;
  /** Set when corruption was found: no more writes. */
  corrupt = false;
  closed = false;

  constructor(
    node: Node,
    header: Header,
    options: Options,
    codecs: Codecs,
    kernel: Kernel,
    scan: Region,
    sliceSize: number,
    l1: Uint8Array,
  ) {
    super(node, header, codecs, kernel, scan, sliceSize, l1);
    this.options = options;
  }

  get flags(): OpenFlags {
    return this.node.flags;
  }
  get lazyRefcounts(): boolean {
    return this.options.lazyRefcounts;
  }
  get isDirty(): boolean {
    return (this.header.incompatible.lo & Incompatible.dirty) !== 0;
  }

  // ---- L1 ---------------------------------------------------------------------------------------------------------

  /** The L2 table is ours alone: no snapshot shares it. */
  l2IsCopied(index: number): boolean {
    return (this.l1View.getUint32(index * 8) & COPIED_HI) !== 0;
  }
  setL1(index: number, l2Offset: number, copied: boolean): void {
    this.overlap.l1Changed(this.l2Offset(index), l2Offset);
    writeU64BE(this.l1View, index * 8, l2Offset);
    if (copied) this.l1View.setUint32(index * 8, (this.l1View.getUint32(index * 8) | COPIED_HI) >>> 0);
    this.markL1Dirty(index, index);
  }
  markL1Dirty(from: number, to: number): void {
    this.#l1DirtyFrom = Math.min(this.#l1DirtyFrom, from);
    this.#l1DirtyTo = Math.max(this.#l1DirtyTo, to);
  }
  /** The L1 table was replaced by one that is on disk already. */
  replaceL1(l1: Uint8Array): void {
    this.l1 = l1;
    this.l1View = viewOf(l1);
    this.overlap.l1Replaced();
    this.#l1DirtyFrom = Infinity;
    this.#l1DirtyTo = -1;
  }
  get l1IsDirty(): boolean {
    return this.#l1DirtyTo >= 0;
  }

  /** Index of the entry for `guest` inside its slice. */
  sliceIndex(guest: number): number {
    return Math.floor((guest % this.sliceCoverage) / this.clusterSize);
  }

  // ---- reaching the disk ------------------------------------------------------------------------------------------

  /** Waits until everything written so far to the image file (and the data file) is durable. */
  *barrier(): Op<void> {
    if (this.hasDataFile) yield* flush(this.dataFile);
    yield* flush(this.file);
    this.barrierNeeded = false;
  }

  /** Before any L2 slot is written: what it may point to is durable. */
  *beforeL2Write(): Op<void> {
    this.#refuseWhenLost();
    if (!this.isDirty) yield* this.allocator.writeBack();
    if (this.barrierNeeded) yield* this.barrier();
  }

  /** Writes all dirty tables in order. The lock is held. Afterwards a barrier makes them durable. */
  *commitMetadata(): Op<void> {
    this.#refuseWhenLost();
    if (!this.isDirty) yield* this.allocator.writeBack();
    yield* this.l2.writeBack();
    if (this.l1IsDirty) {
      yield* this.beforeL2Write();
      yield* this.#writeL1();
    }
  }

  *#writeL1(): Op<void> {
    const from = alignDown(this.#l1DirtyFrom * 8, 512);
    const to = Math.min(divCeil((this.#l1DirtyTo + 1) * 8, 512) * 512, this.l1.length);
    // L2 tables that new entries point to were written after the last barrier.
    yield* this.barrier();
    yield* this.checkOverlap(this.header.l1Offset + from, to - from, "active-l1");
    yield* debugEvent(this.file, "l1_update");
    yield* writeGrow(this.file, this.l1.subarray(from, to), this.header.l1Offset + from);
    this.#l1DirtyFrom = Infinity;
    this.#l1DirtyTo = -1;
  }

  /** A guest flush: everything durable, then deferred frees take effect. */
  *flush(): Op<void> {
    const release = yield* this.lock.acquire();
    try {
      yield* this.flushLocked();
    } finally {
      release();
    }
  }

  *flushLocked(): Op<void> {
    yield* this.commitMetadata();
    yield* debugEvent(this.file, "flush_to_disk");
    yield* this.barrier();
    yield* this.allocator.releaseFreed();
  }

  /** Everything as it should be in a file at rest: refcounts of deferred frees too, dirty bit cleared. */
  *settle(): Op<void> {
    const release = yield* this.lock.acquire();
    try {
      yield* this.flushLocked();
      if (this.allocator.isDirty) {
        yield* this.allocator.writeBack();
        yield* this.barrier();
      }
      if (this.isDirty && !this.corrupt) yield* this.clearDirty();
    } finally {
      release();
    }
  }

  // ---- header -----------------------------------------------------------------------------------------------------

  /** Rewrites header, extensions and backing file name, so that a crash leaves the old or the new ones. */
  *writeHeader(): Op<void> {
    yield* writeHeader(this.file, this.header, () => this.barrier());
  }

  /**
   * Changes fields of the header, in memory and in the file. When the write fails the old header is put back, here and there: what
   * the file says and what we go by never differ. Where that fails too nobody knows which one is there, and nothing more is written.
   * A barrier before and after is the caller's business; what the new header points to is durable.
   */
  *updateHeader(change: Partial<Header>): Op<void> {
    const before: Partial<Header> = {};
    for (const key of Object.keys(change) as (keyof Header)[]) Object.assign(before, { [key]: this.header[key] });
    Object.assign(this.header, change);
    try {
      yield* this.writeHeader();
    } catch (error) {
      Object.assign(this.header, before);
      try {
        yield* this.writeHeader();
        // Only then can what the new one pointed to be used for something else.
        yield* this.barrier();
      } catch (again) {
        this.#lost = toBlockError(again).errno;
      }
      throw error;
    }
  }
  /** A write of the header failed in a way that leaves open which one is in the file: this session writes no more. */
  #lost: Errno | null = null;
  get lost(): boolean {
    return this.#lost !== null;
  }
  #refuseWhenLost(): void {
    if (this.#lost !== null)
      throw errnoError(this.#lost, "The image header could not be written; nothing more is written to this image", {
        node: this.node.nodeName,
      });
  }

  /**
   * Called before every change: at the first of a session autoclear bits we do not keep go, lazy refcounts set the dirty bit, and
   * persistent bitmaps are marked in use (unless the bitmaps themselves are what changes). Nothing else is under way; the lock is held.
   */
  *beginModifying(markBitmaps = true): Op<void> {
    if (this.corrupt)
      throw errnoError("EIO", "Image is marked corrupt; repair it with check first", { node: this.node.nodeName });
    this.#refuseWhenLost();
    if (!this.#modified) {
      const keep = this.options.autoclearKept;
      const { autoclear } = this.header;
      if (autoclear.hi !== 0 || (autoclear.lo & ~keep) !== 0) {
        yield* this.updateHeader({ autoclear: { hi: 0, lo: autoclear.lo & keep } });
        this.#headerUnsure = true;
      }
      this.#modified = true;
    }
    if (this.lazyRefcounts && !this.isDirty) {
      const { hi, lo } = this.header.incompatible;
      yield* this.updateHeader({ incompatible: { hi, lo: (lo | Incompatible.dirty) >>> 0 } });
      this.#headerUnsure = true;
    }
    // Also when an earlier attempt at the barrier failed: the bits are on disk before anything else is.
    if (this.#headerUnsure) {
      yield* this.barrier();
      this.#headerUnsure = false;
    }
    if (markBitmaps && this.bitmaps?.needsMark === true) yield* this.bitmaps.markInUse();
    if (this.allocator.wantsBarrier) yield* this.flushLocked();
  }
  /** The header was written and no barrier has followed. */
  #headerUnsure = false;

  *clearDirty(): Op<void> {
    yield* this.allocator.writeBack();
    yield* this.barrier();
    const { hi, lo } = this.header.incompatible;
    yield* this.updateHeader({ incompatible: { hi, lo: (lo & ~Incompatible.dirty) >>> 0 } });
    yield* flush(this.file);
  }

  // ---- corruption -------------------------------------------------------------------------------------------------

  /** An error for contradictory metadata. Writable images are marked corrupt on the next occasion that holds the lock. */
  override corruption(message: string, offset: number): BlockError {
    if (this.corruptionFound === null) {
      this.corruptionFound = { message, offset };
      this.node.environment.imageCorrupted?.({ node: this.node, message, offset, fatal: !this.node.readOnly });
    }
    return super.corruption(message, offset);
  }
  corruptionFound: { message: string; offset: number } | null = null;

  /** Sets the corrupt bit: the image cannot be written any more until it is repaired. */
  *markCorrupt(): Op<void> {
    if (this.corruptionFound === null || this.corrupt) return;
    this.corrupt = true;
    const { environment } = this.node;
    (environment.notice ?? environment.warn)(
      `qcow2: ${this.node.readOnly ? "Image is corrupt" : "Marking image as corrupt"}: ${this.corruptionFound.message}; further corruption events will be suppressed`,
    );
    if (this.node.readOnly || this.header.version < 3) return;
    const { hi, lo } = this.header.incompatible;
    yield* this.updateHeader({ incompatible: { hi, lo: (lo | Incompatible.corrupt) >>> 0 } });
    yield* flush(this.file);
  }

  /** Refuses a write that would hit other metadata. `allowed` names the structure that is meant to be there. */
  *checkOverlap(offset: number, length: number, allowed: MetadataKind | null): Op<void> {
    yield* this.overlap.prepare();
    const hit = this.overlap.find(offset, length, allowed);
    if (hit !== null) {
      throw this.corruption(overlapMessage(hit), offset);
    }
  }
}
