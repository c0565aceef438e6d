/**
 * Replacing all refcount structures at once: a change that touches refcounts, flags and tables in many places takes effect with one
 * write of the header, or not at all.
 */
import { readU64BE, viewOf } from "../../base/bytes.js";
import { writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import type { Header } from "./header.js";
import type { Qcow2 } from "./image.js";

export class Replacement {
  readonly #image: Qcow2;
  /** The table that is in force. */
  readonly #table: Uint8Array;
  /** Host offsets of its blocks, and of their copies. */
  readonly #blocks: readonly number[];
  readonly #copies: readonly number[];
  readonly #hint: number;
  /** Where the new table goes; 0 until `placeTable`. */
  #place = 0;

  private constructor(image: Qcow2, blocks: readonly number[], copies: readonly number[]) {
    this.#image = image;
    this.#table = image.allocator.table;
    this.#blocks = blocks;
    this.#copies = copies;
    this.#hint = image.allocator.hint;
  }

  /**
   * From here on all changes of refcounts go to copies of the refcount blocks, while the file's own stay as they are. Nothing is dirty
   * and no free is pending; the lock is held. Space must not be allocated any more once references have been taken away: it may be
   * in use by what is on disk. Ends with `finish` or `abandon`.
   */
  static *begin(image: Qcow2): Op<Replacement> {
    const { allocator, clusterSize } = image;
    const copies: number[] = [];
    try {
      // Space for the copies is taken in the old structures; that may make new blocks, which need copies as well.
      for (let wanted = -1; wanted !== copies.length;) {
        wanted = blockOffsets(image).length;
        while (copies.length < wanted) {
          const offset = yield* allocator.allocate(1);
          copies.push(offset);
          yield* image.checkOverlap(offset, clusterSize, null);
        }
      }
      yield* allocator.writeBack();
      yield* image.barrier();
    } catch (error) {
      for (const offset of copies) yield* allocator.undo(offset, clusterSize);
      throw error;
    }
    const replacement = new Replacement(image, blockOffsets(image), copies);
    allocator.replacement = replacement;
    try {
      yield* replacement.#copyAll();
    } catch (error) {
      yield* replacement.abandon();
      throw error;
    }
    return replacement;
  }

  *#copyAll(): Op<void> {
    const { refcountTable } = this.#image.allocator;
    refcountTable.held = true;
    refcountTable.bytes = this.#table.slice();
    const view = viewOf(this.#table);
    let next = 0;
    for (let index = 0; index < refcountTable.entries; index++) {
      const from = readU64BE(view, index * 8);
      if (from === 0) continue;
      const to = this.#copies[next++]!;
      yield* this.#copyBlock(from, to);
      refcountTable.set(index, to);
      refcountTable.keep([from]);
    }
  }

  *#copyBlock(from: number, to: number): Op<void> {
    const { refblocks, kernel, clusterSize } = this.#image;
    refblocks.drop(to, clusterSize);
    for (let at = 0; at < clusterSize; at += refblocks.slotSize) {
      const source = yield* refblocks.get(from + at, true);
      const bytes = kernel.memory.slice(source, source + refblocks.slotSize);
      const target = yield* refblocks.create(to + at);
      kernel.memory.set(bytes, target);
    }
  }

  get isPlaced(): boolean {
    return this.#place !== 0;
  }

  /** Takes room for the new table: the last allocation before references are taken away. */
  *placeTable(): Op<void> {
    const { allocator, clusterSize } = this.#image;
    for (;;) {
      const { table } = allocator;
      const clusters = table.length / clusterSize;
      const offset = yield* allocator.allocate(clusters);
      this.#place = offset;
      // The room itself may have needed more blocks than the table could hold.
      if (allocator.table === table) return;
      yield* allocator.update(offset / clusterSize, clusters, -1);
      this.#place = 0;
    }
  }

  /** Writes it all; after a barrier the header can point to it with the fields returned. */
  *write(): Op<Pick<Header, "reftableOffset" | "reftableClusters">> {
    const image = this.#image;
    const { table } = image.allocator;
    yield* image.checkOverlap(this.#place, table.length, null);
    yield* image.refblocks.writeBack();
    yield* writeGrow(image.file, table, this.#place);
    return { reftableOffset: this.#place, reftableClusters: table.length / image.clusterSize };
  }

  /** The header points to the replacement: the old structures, whose table was at `oldOffset`, are given back. */
  finish(oldOffset: number): void {
    const image = this.#image;
    const { allocator, clusterSize } = image;
    allocator.replacement = null;
    allocator.adopt(allocator.table);
    for (const block of this.#blocks) {
      image.refblocks.drop(block, clusterSize);
      allocator.free(block, clusterSize, "other");
    }
    allocator.free(oldOffset, this.#table.length, "other");
    image.decompressed.clear();
  }

  /** Nothing of the replacement counts; the copies' space is free again. */
  *abandon(): Op<void> {
    const { allocator, refblocks, clusterSize } = this.#image;
    const kept = new Set(this.#blocks);
    // Copies that were begun, and blocks that were made since.
    for (const offset of [...this.#copies, ...blockOffsets(this.#image)])
      if (!kept.has(offset)) refblocks.drop(offset, clusterSize);
    allocator.replacement = null;
    allocator.adopt(this.#table);
    allocator.restart(this.#hint);
    for (const offset of this.#copies) yield* allocator.undo(offset, clusterSize);
  }
}

function blockOffsets({ allocator }: Qcow2): number[] {
  const list: number[] = [];
  for (let i = 0; i < allocator.tableEntries; i++) {
    const offset = allocator.checkedBlock(i);
    if (offset !== 0) list.push(offset);
  }
  return list;
}
