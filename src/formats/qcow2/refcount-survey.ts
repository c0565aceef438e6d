/** Questions about all refcounts of an image. The metadata lock is held. */
import type { Op } from "../../block/op.js";
import type { Qcow2 } from "./image.js";

/** Byte offset behind the last host cluster with a reference. */
export function* endOfUse(image: Qcow2): Op<number> {
  const { allocator, kernel, clusterSize } = image;
  const { blockEntries, sliceEntries } = allocator;
  for (let block = allocator.tableEntries - 1; block >= 0; block--) {
    if (allocator.checkedBlock(block) === 0) continue;
    for (let slice = blockEntries / sliceEntries - 1; slice >= 0; slice--) {
      const first = block * blockEntries + slice * sliceEntries;
      const pointer = yield* allocator.slice(first);
      const last = kernel.refLastUsed(pointer, 0, sliceEntries, allocator.order);
      if (last >= 0) return (first + last + 1) * clusterSize;
    }
  }
  return clusterSize;
}

/** Whether at least `threshold` host clusters below cluster `end` have a reference. */
export function* usesAtLeast(image: Qcow2, threshold: number, end: number): Op<boolean> {
  const { allocator, kernel } = image;
  let used = 0;
  for (let at = 0; at < end && used < threshold; at += allocator.sliceEntries) {
    const pointer = yield* allocator.slice(at);
    if (pointer >= 0) used += kernel.refCountUsed(pointer, 0, Math.min(allocator.sliceEntries, end - at), allocator.order);
  }
  return used >= threshold;
}
