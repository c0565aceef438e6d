/** Refcounts on disk against the census of a window, and putting them right. */
import { readU64BE, viewOf } from "../../base/bytes.js";
import { readPadded, writeGrow } from "../../block/io.js";
import { parallel, type Op } from "../../block/op.js";
import type { CheckFix } from "../../block/types.js";
import type { Census } from "./census.js";

const WIDEN =
  "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing";

export interface Comparison {
  /** Host clusters up to the last one that is referenced or has a refcount. */
  end: number;
}

/** What a comparison does about differences, besides counting and telling them. */
export interface Mending {
  readonly fix: CheckFix;
  /** The counters become what the disk says in the end: what the check of COPIED flags goes by. */
  readonly adoptDisk: boolean;
  /** The refcounts are new: what no refcount can hold is counted again. */
  readonly afresh?: boolean;
}

/** Compares all refcounts of the census's window. */
export function* compareRefcounts(census: Census, compared: Comparison, mending: Mending): Op<void> {
  const { image, window } = census;
  const perBlock = image.allocator.blockEntries;
  const stop = window.base + window.count;
  const view = viewOf(image.allocator.table);
  const room = census.blocksBytes / image.clusterSize;
  let waiting: { block: number; offset: number }[] = [];
  const work = function* (): Op<void> {
    if (waiting.length === 0) return;
    const blocks = waiting;
    waiting = [];
    yield* loadBlocks(
      census,
      blocks.map(({ offset }) => offset),
    );
    for (let i = 0; i < blocks.length; i++)
      yield* compareBlock(census, blocks[i]!, census.blocks + i * image.clusterSize, stop, compared, mending);
  };
  for (let block = Math.floor(window.base / perBlock); block * perBlock < stop; block++) {
    const inTable = block < image.allocator.tableEntries;
    const lo = inTable ? (view.getUint32(block * 8 + 4) & 0xfffffe00) >>> 0 : 0;
    const offset = inTable ? view.getUint32(block * 8) * 4294967296 + lo : 0;
    if (offset === 0) {
      yield* work();
      missingBlock(census, block, stop, compared, mending);
    } else if (lo % image.clusterSize !== 0) {
      yield* work();
      const cluster = Math.max(window.base, block * perBlock);
      if (cluster < census.clusters) {
        census.state.error(`Can't get refcount for cluster ${cluster}: Input/output error`, readU64BE(view, block * 8));
        if (!census.state.quiet) census.state.unreadableBlocks++;
      }
    } else {
      waiting.push({ block, offset });
      if (waiting.length === room) yield* work();
    }
  }
  yield* work();
}

function* loadBlocks(census: Census, offsets: readonly number[]): Op<void> {
  const { image } = census;
  const size = image.clusterSize;
  const ops: Op<void>[] = [];
  for (let i = 0; i < offsets.length;) {
    let run = 1;
    while (i + run < offsets.length && offsets[i + run] === offsets[i]! + run * size) run++;
    const at = census.blocks + i * size;
    const into = census.kernel.memory.subarray(at, at + run * size);
    if (offsets[i]! >= image.file.size) into.fill(0);
    else ops.push(readPadded(image.file, into, offsets[i]!));
    i += run;
  }
  for (let i = 0; i < ops.length; i += 16) yield* parallel(ops.slice(i, i + 16));
}

/** Clusters without a refcount block: each reference is one too many. */
function missingBlock(census: Census, block: number, stop: number, compared: Comparison, mending: Mending): void {
  const { image, kernel, window, counters } = census;
  const first = Math.max(window.base, block * image.allocator.blockEntries);
  const end = Math.min(stop, (block + 1) * image.allocator.blockEntries);
  for (let cluster = first; cluster < end;) {
    const rest = (end - cluster) * 4;
    const skipped = kernel.findNonZero(counters + (cluster - window.base) * 4, rest);
    if (skipped === rest) return;
    cluster += Math.floor(skipped / 4);
    differs(census, cluster, 0, census.counter(cluster), compared, mending);
    cluster++;
  }
}

function* compareBlock(
  census: Census,
  { block, offset }: { block: number; offset: number },
  pointer: number,
  stop: number,
  compared: Comparison,
  mending: Mending,
): Op<void> {
  const { image, kernel, window, counters, indexes, indexRoom } = census;
  const { order, blockEntries } = image.allocator;
  const firstCluster = block * blockEntries;
  let at = Math.max(window.base, firstCluster);
  const end = Math.min(stop, firstCluster + blockEntries);
  const inFile = Math.max(0, Math.min(end, census.clusters) - at);
  const used = kernel.refLastUsed(pointer, at - firstCluster, inFile, order);
  if (used >= 0) compared.end = Math.max(compared.end, firstCluster + used + 1);
  let changed = false;
  while (at < end) {
    const found = kernel.refCompare(
      pointer,
      at - firstCluster,
      end - at,
      order,
      counters + (at - window.base) * 4,
      indexes,
      indexRoom,
    );
    for (let i = 0; i < found; i++) {
      const index = kernel.view.getUint32(indexes + i * 4, true);
      const mended = differs(
        census,
        firstCluster + index,
        kernel.refGet(pointer, index, order),
        census.counter(firstCluster + index),
        compared,
        mending,
      );
      if (mended >= 0) {
        kernel.refSet(pointer, index, order, mended);
        changed = true;
      }
    }
    if (found < indexRoom) break;
    at = firstCluster + kernel.view.getUint32(indexes + (found - 1) * 4, true) + 1;
  }
  if (!changed) return;
  yield* image.checkOverlap(offset, image.clusterSize, "refcount-block");
  yield* writeGrow(image.file, kernel.memory.subarray(pointer, pointer + image.clusterSize), offset);
  image.barrierNeeded = true;
}

/** One cluster whose refcount is not the number of its references. @returns the refcount to store, or -1 */
function differs(
  census: Census,
  cluster: number,
  disk: number,
  references: number,
  compared: Comparison,
  mending: Mending,
): number {
  const { image, state } = census;
  // Behind the end of the file only what is referenced counts.
  if (cluster >= census.clusters && references === 0) {
    if (mending.adoptDisk) census.setCounter(cluster, disk);
    return -1;
  }
  const at = cluster * image.clusterSize;
  let counted = references;
  if (counted > image.allocator.maxRefcount) {
    if (!mending.adoptDisk || mending.fix === "none" || mending.afresh === true) {
      state.corruption("entries", `ERROR: overflow cluster offset=0x${at.toString(16)}`, at);
      if (!state.quiet) state.tell("error", WIDEN);
    }
    counted = image.allocator.maxRefcount;
  }
  compared.end = Math.max(compared.end, cluster + 1);
  if (counted === disk) {
    if (mending.adoptDisk) census.setCounter(cluster, disk);
    return -1;
  }
  const low = disk < counted;
  // A refcount is never raised from 0: what else is wrong with a free cluster in use decides a rebuild.
  if (disk === 0) state.rebuild = true;
  const mend = disk !== 0 && (low ? mending.fix === "all" : mending.fix !== "none");
  const shown = Number.isFinite(disk) ? String(disk) : "> 2^53";
  const text = `${mend ? "Repairing" : low ? "ERROR" : "Leaked"} cluster ${cluster} refcount=${shown} reference=${counted}`;
  if (mend) {
    state.repair(text, at);
    if (low) state.corruptionsFixed++;
    else state.leaksFixed++;
    if (mending.adoptDisk) census.setCounter(cluster, counted);
    return counted;
  }
  if (low) state.corruption("refcounts", text, at);
  else state.leak(text, at);
  if (mending.adoptDisk) census.setCounter(cluster, disk);
  return -1;
}
