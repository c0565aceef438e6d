/**
 * Rebuilding the refcount structures from the census alone.
 *
 * The new blocks and the new table go behind the end of the file, where nothing can be overwritten, whatever the image
 * says about free space. They are on disk before the header points to them; until then the image is as it was. They still count
 * the clusters of the old structures, which nothing refers to after that: these are leaks to be repaired.
 */
import { allocate } from "../../base/allocate.js";
import { BlockError } from "../../base/error.js";
import { viewOf, writeU64BE } from "../../base/bytes.js";
import { divCeil } from "../../base/int.js";
import { writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import type { Census } from "./census.js";
import { MAX_REFTABLE_BYTES } from "./layout.js";

/** @param used first host cluster (index) behind everything that is in use */
export function* rebuildRefcounts(census: Census, used: number): Op<void> {
  const { image, kernel, state } = census;
  const { order, blockEntries, maxRefcount } = image.allocator;
  const size = image.clusterSize;
  const scratch = census.blocks;
  const end = clearOf(census, used);
  /** Block index and where the new block is, in clusters. */
  const placed: [number, number][] = [];
  let next = end;

  const place = function* (block: number): Op<void> {
    const offset = next * size;
    yield* image.checkOverlap(offset, size, null);
    yield* writeGrow(image.file, kernel.memory.slice(scratch, scratch + size), offset);
    placed.push([block, next++]);
  };
  const clear = (): void => void kernel.memory.fill(0, scratch, scratch + size);

  // Blocks of what is there. A block may span two windows; the last one stays in the scratch area.
  clear();
  let block = 0;
  for (const window of census.windows) {
    state.quiet = true;
    yield* census.count(window);
    state.quiet = false;
    const stop = Math.min(window.base + window.count, end);
    for (let cluster = window.base; cluster < stop;) {
      const blockEnd = (block + 1) * blockEntries;
      const until = Math.min(stop, blockEnd);
      while (cluster < until) {
        const rest = (until - cluster) * 4;
        const skipped = kernel.findNonZero(census.counters + (cluster - window.base) * 4, rest);
        if (skipped === rest) break;
        cluster += Math.floor(skipped / 4);
        kernel.refSet(scratch, cluster % blockEntries, order, Math.min(census.counter(cluster), maxRefcount));
        cluster++;
      }
      cluster = until;
      if (until < blockEnd) break;
      if (!kernel.isZero(scratch, size)) yield* place(block);
      clear();
      block++;
    }
  }

  // Blocks for the new structures themselves: as many as it takes to count them too.
  let clusters = 0;
  let table = 0;
  let last = block;
  for (;;) {
    const blocks = placed.length + (last - block + 1);
    table = divCeil((last + 1) * 8, size);
    clusters = blocks + table;
    const needed = Math.floor((end + clusters - 1) / blockEntries);
    if (needed <= last) break;
    last = needed;
  }
  if (table * size > MAX_REFTABLE_BYTES) {
    throw new BlockError("ERR_TOO_LARGE", "ERROR allocating reftable: File too large", {
      errno: "EFBIG",
      node: image.node.nodeName,
    });
  }
  for (; block <= last; block++) {
    const from = Math.max(end, block * blockEntries);
    const to = Math.min(end + clusters, (block + 1) * blockEntries);
    for (let cluster = from; cluster < to; cluster++) kernel.refSet(scratch, cluster % blockEntries, order, 1);
    yield* place(block);
    clear();
  }
  const bytes = allocate(table * size);
  const view = viewOf(bytes);
  for (const [index, at] of placed) writeU64BE(view, index * 8, at * size);
  yield* image.checkOverlap(next * size, bytes.length, null);
  yield* writeGrow(image.file, bytes, next * size);
  yield* image.barrier();
  yield* image.updateHeader({ reftableOffset: next * size, reftableClusters: table });
  yield* image.barrier();
  image.refblocks.dropAll();
  image.allocator.adopt(bytes);
}

/** Where the new structures begin: at `used`, or behind what the image's own pointers say is there, right or wrong. */
function clearOf(census: Census, used: number): number {
  const { image } = census;
  const size = image.clusterSize;
  // At most: a block for every range that has one, those for themselves, and the table.
  const blocks = divCeil(used, image.allocator.blockEntries) + 2;
  const most = blocks + divCeil(blocks * 8, size) + divCeil(blocks, image.allocator.blockEntries) + 1;
  let end = used;
  for (let tries = 0; tries < 4096; tries++) {
    if (image.overlap.find(end * size, most * size, null) === null) return end;
    const table = image.header.reftableOffset / size;
    const behind = table + image.header.reftableClusters;
    end = table <= end + most && behind > end ? behind : end + 1;
  }
  throw new BlockError("ERR_CORRUPT", "ERROR allocating reftable: the image's tables point everywhere behind its end", {
    errno: "EIO",
    node: image.node.nodeName,
  });
}
