/** Looking through a whole block allocation table: where the blocks are, and whether they are in each other's way. */
import { BlockError } from "../../base/error.js";
import { alignUp } from "../../base/int.js";
import type { Op } from "../../block/op.js";
import type { CheckProblem } from "../../block/types.js";
import { type Bat, offsetOf, stateOf } from "./bat.js";
import { BlockState, MiB } from "./layout.js";
import type { Metadata } from "./metadata.js";
import type { RegionMap } from "./regions.js";

export interface Survey {
  /** First byte behind all blocks and regions. */
  end: number;
}

/** Problems that are told one by one. */
const MAX_REPORTS = 1000;

const isPayload = (index: number, chunkRatio: number): boolean => index % (chunkRatio + 1) !== chunkRatio;

/** Whether an entry has a place in the file. */
const isStored = (entry: number, { parent }: Metadata): boolean =>
  stateOf(entry) === BlockState.fullyPresent || (stateOf(entry) === BlockState.partiallyPresent && parent !== null);

/** What is wrong with the place of a stored entry in a file of `fileSize` bytes, in QEMU's words where it has some; null: all of it is there. */
function findFault(index: number, entry: number, metadata: Metadata, regions: RegionMap, fileSize: number): string | null {
  const { blockSize, chunkRatio, virtualSize } = metadata;
  const isBlock = isPayload(index, chunkRatio);
  const start = offsetOf(entry);
  const length = isBlock ? blockSize : MiB;
  if (!Number.isSafeInteger(start + length)) return `VHDX BAT entry ${index} offset overflow.`;
  // Ascending offsets behind all regions are the common case.
  const region = start < regions.end ? regions.overlap({ offset: start, length }) : null;
  if (region !== null) {
    return `VHDX BAT entry ${index} offset ${start}: a block of ${length} bytes there lies over bytes ${region.offset} to ${region.offset + region.length - 1}, which are the image's header, log, table or metadata.`;
  }
  const block = index - Math.floor(index / (chunkRatio + 1));
  // The last block is as long as the disk; of sector bitmaps only what is looked at is needed.
  const needed = isBlock ? Math.min(blockSize, virtualSize - block * blockSize) : 1;
  const size = alignUp(fileSize, 512);
  if (needed <= 0 || start + needed <= size) return null;
  const what = start >= size ? `start offset ${start}` : `end offset ${start + needed - 1}`;
  return `VHDX BAT entry ${index} ${what} points after end of file (${size}). Image has probably been truncated.`;
}

/** Where the blocks end. Refuses tables with a block at a place that cannot be, unless they are to be checked. */
export function* surveyBlocks(
  bat: Bat,
  metadata: Metadata,
  regions: RegionMap,
  fileSize: number,
  isForCheck: boolean,
): Op<Survey> {
  const { blockSize, chunkRatio } = metadata;
  const found: Survey = { end: regions.end };
  yield* bat.each((first, entries) => {
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      const index = first + i;
      if (!isStored(entry, metadata) || (!isPayload(index, chunkRatio) && metadata.parent === null)) continue;
      const fault = findFault(index, entry, metadata, regions, fileSize);
      if (fault === null) found.end = Math.max(found.end, offsetOf(entry) + (isPayload(index, chunkRatio) ? blockSize : MiB));
      else if (!isForCheck) throw new BlockError("ERR_CORRUPT", fault, { errno: "EINVAL" });
    }
  });
  return found;
}

/** Blocks that overlap others, or lie where none can be; returns their number. */
export function* checkBlocks(
  bat: Bat,
  metadata: Metadata,
  regions: RegionMap,
  fileSize: number,
  report: (problem: CheckProblem) => void,
): Op<number> {
  const { blockSize, chunkRatio } = metadata;
  const units = Math.ceil(fileSize / MiB) + blockSize / MiB;
  const used = new Uint8Array(Math.ceil(units / 8));
  let found = 0;
  const tell = (text: string, offset: number): void => {
    found++;
    if (found <= MAX_REPORTS) report({ severity: "corruption", text, offset });
  };
  yield* bat.each((first, entries) => {
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      const payload = isPayload(first + i, chunkRatio);
      if (!isStored(entry, metadata) || (!payload && metadata.parent === null)) continue;
      const fault = findFault(first + i, entry, metadata, regions, fileSize);
      if (fault !== null) tell(fault, offsetOf(entry));
      const unit = Math.floor(entry / 8);
      let shared = false;
      for (let at = unit; at < Math.min(units, unit + (payload ? blockSize / MiB : 1)); at++) {
        if ((used[at >>> 3]! & (1 << (at & 7))) !== 0) shared = true;
        used[at >>> 3]! |= 1 << (at & 7);
      }
      if (shared)
        tell(
          `ERROR: block allocation table entry ${first + i}: the block at offset ${offsetOf(entry)} overlaps another one`,
          offsetOf(entry),
        );
    }
  });
  return found;
}
