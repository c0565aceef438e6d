/**
 * New refcount structures with the counts of the old ones: another width (amend), or as few and as low in the file as possible (an
 * emptied image). They are complete on disk before one write of the header puts them in the place of the old ones, which nothing
 * counts any more then. A crash before that leaks their space.
 */
import { allocate } from "../../base/allocate.js";
import { BlockError } from "../../base/error.js";
import { viewOf, writeU64BE } from "../../base/bytes.js";
import { divCeil } from "../../base/int.js";
import { readPadded, writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { createKernel } from "../../kernel/kernel.js";
import type { Kernel } from "../../kernel/types.js";
import { Allocator } from "./allocator.js";
import type { Qcow2 } from "./image.js";
import { MAX_REFTABLE_BYTES } from "./layout.js";

export type Progress = (done: number, total: number) => void;

/** Where the old and the new block lie in the memory of `Old`. */
const OLD = 64;

/** Refcounts as they are on disk, without those of the refcount structures themselves. */
class Old {
  readonly #image: Qcow2;
  readonly kernel: Kernel;
  readonly blocks: number[] = [];
  readonly own = new Set<number>();
  readonly #order: number;
  readonly perBlock: number;
  #loaded = -1;

  constructor(image: Qcow2) {
    this.#image = image;
    this.#order = image.header.refcountOrder;
    this.perBlock = image.allocator.blockEntries;
    this.kernel = createKernel(OLD + 2 * image.clusterSize);
    this.refresh();
  }
  get newBlock(): number {
    return OLD + this.#image.clusterSize;
  }

  /** The structures as they are now: taking space may have added to them. */
  refresh(): void {
    const { allocator, header, clusterSize } = this.#image;
    this.blocks.length = 0;
    this.own.clear();
    for (let i = 0; i < allocator.tableEntries; i++) {
      const offset = allocator.blockOffset(i);
      this.blocks.push(offset);
      if (offset !== 0) this.own.add(offset / clusterSize);
    }
    for (let i = 0; i < header.reftableClusters; i++) this.own.add(header.reftableOffset / clusterSize + i);
    this.#loaded = -1;
  }

  /** Calls `use` with every cluster in [from, to) that has references, and their number. */
  *each(from: number, to: number, use: (cluster: number, count: number) => void): Op<void> {
    const { kernel } = this;
    for (let at = from; at < to;) {
      const block = Math.floor(at / this.perBlock);
      const end = Math.min(to, (block + 1) * this.perBlock);
      const offset = this.blocks[block] ?? 0;
      if (offset === 0) {
        at = end;
        continue;
      }
      if (this.#loaded !== block) {
        yield* readPadded(this.#image.file, kernel.memory.subarray(OLD, OLD + this.#image.clusterSize), offset);
        this.#loaded = block;
      }
      while (at < end) {
        const index = at % this.perBlock;
        const used = kernel.refFindUsed(OLD, index, end - at, this.#order);
        if (used < 0) break;
        const cluster = block * this.perBlock + used;
        const count = kernel.refGet(OLD, used, this.#order) - (this.own.has(cluster) ? 1 : 0);
        if (count > 0) use(cluster, count);
        at = cluster + 1;
      }
      at = end;
    }
  }
}

/** The lock is held and nothing is dirty. @throws BlockError ENOTSUP when a refcount does not fit the new width */
export function* replaceRefcounts(image: Qcow2, order: number, progress: Progress = () => {}): Op<void> {
  const size = image.clusterSize;
  const perBlock = (size * 8) / 2 ** order;
  const most = order === 6 ? Infinity : 2 ** (2 ** order) - 1;
  const old = new Old(image);
  const steps = old.blocks.length;
  /** QEMU counts walks over the old table: to find out what is needed, to see that it is enough, to write. */
  let walks = 3;
  let walk = 0;

  // 1. Which blocks are needed for what is there.
  const used = new Set<number>();
  for (let i = 0; i < steps; i++) {
    progress(walk * steps + i, walks * steps);
    yield* old.each(i * old.perBlock, (i + 1) * old.perBlock, (cluster, count) => {
      if (count > most) throw tooMany(order, cluster * size, count);
      used.add(Math.floor(cluster / perBlock));
    });
  }
  progress(++walk * steps, walks * steps);

  // 2. Space for them and the table, until they count themselves too.
  let needed = used;
  let room = 0;
  let offset = 0;
  try {
    for (;;) {
      const table = divCeil((maxOf(needed) + 1) * 8, size);
      if (table * size > MAX_REFTABLE_BYTES) {
        throw new BlockError(
          "ERR_TOO_LARGE",
          "This operation would make the refcount table grow beyond the maximum size supported by QEMU, aborting",
          { errno: "ENOTSUP" },
        );
      }
      const enough = room >= needed.size + table;
      // From the second look on QEMU shows another walk; one that finds too little makes for one more.
      if (room > 0) {
        for (let i = 0; i < steps; i++) progress(walk * steps + i, walks * steps);
        progress(++walk * steps, walks * steps);
        if (!enough) walks = walk + 2;
      }
      if (enough) break;
      if (room > 0) yield* image.allocator.undo(offset, room * size);
      room = 0;
      const wanted = needed.size + table;
      offset = yield* image.allocator.allocate(wanted);
      room = wanted;
      needed = new Set(used);
      const first = offset / size;
      for (let block = Math.floor(first / perBlock); block <= Math.floor((first + room - 1) / perBlock); block++)
        needed.add(block);
    }
    yield* image.checkOverlap(offset, room * size, null);
    yield* image.allocator.writeBack();
    yield* image.barrier();
    old.refresh();

    // 3. Writing.
    const table = yield* write(image, old, order, needed, offset, room, (done, total) =>
      progress(walk * total + done, (walk + 1) * total),
    );
    yield* image.barrier();
    yield* image.updateHeader({
      reftableOffset: table.offset,
      reftableClusters: table.bytes.length / size,
      refcountOrder: order,
    });
    room = 0;
    yield* image.barrier();
    image.refblocks.dropAll();
    image.allocator = new Allocator(image, table.bytes);
  } catch (error) {
    if (room > 0) yield* image.allocator.undo(offset, room * size);
    throw error;
  }
}

const maxOf = (blocks: ReadonlySet<number>): number => {
  let most = 0;
  for (const block of blocks) if (block > most) most = block;
  return most;
};

function tooMany(order: number, offset: number, count: number): BlockError {
  return new BlockError(
    "ERR_UNSUPPORTED",
    `Cannot decrease refcount entry width to ${2 ** order} bits: Cluster at offset 0x${offset.toString(16)} has a refcount of ${count}`,
    { errno: "EINVAL", offset },
  );
}

function* write(
  image: Qcow2,
  old: Old,
  order: number,
  needed: ReadonlySet<number>,
  offset: number,
  room: number,
  progress: Progress,
): Op<{ offset: number; bytes: Uint8Array }> {
  const size = image.clusterSize;
  const perBlock = (size * 8) / 2 ** order;
  const { kernel, newBlock } = old;
  const blocks = [...needed].sort((a, b) => a - b);
  const table = allocate(divCeil((blocks[blocks.length - 1]! + 1) * 8, size) * size);
  const view = viewOf(table);
  const first = offset / size;
  // More room may have been taken than is needed in the end: the rest is free.
  const stop = first + blocks.length + table.length / size;
  let at = offset;
  for (let i = 0; i < blocks.length; i++) {
    progress(i, blocks.length);
    const block = blocks[i]!;
    kernel.memory.fill(0, newBlock, newBlock + size);
    yield* old.each(block * perBlock, (block + 1) * perBlock, (cluster, count) => {
      if (cluster < first || cluster >= first + room) kernel.refSet(newBlock, cluster % perBlock, order, count);
    });
    for (let cluster = Math.max(first, block * perBlock); cluster < Math.min(stop, (block + 1) * perBlock); cluster++) {
      kernel.refSet(newBlock, cluster % perBlock, order, 1);
    }
    yield* writeGrow(image.file, kernel.memory.subarray(newBlock, newBlock + size), at);
    writeU64BE(view, block * 8, at);
    at += size;
  }
  progress(blocks.length, blocks.length);
  yield* writeGrow(image.file, table, at);
  return { offset: at, bytes: table };
}
