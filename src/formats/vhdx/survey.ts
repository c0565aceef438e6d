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

/** What is wrong with the place of a stored entry in a file of `fileSize` bytes, in QEMU's words; null: all of it is there. */
function findTruncation(index: number, entry: number, metadata: Metadata, fileSize: number): string | null {
  const { blockSize, chunkRatio, virtualSize } = metadata;
  const start = offsetOf(entry);
  const block = index - Math.floor(index / (chunkRatio + 1));
  // The last block is as long as the disk; of sector bitmaps only what is looked at is needed.
  const needed = isPayload(index, chunkRatio) ? Math.min(blockSize, virtualSize - block * blockSize) : 1;
  const size = alignUp(fileSize, 512);
  if (needed <= 0 || start + needed <= size) return null;
  const what = start >= size ? `start offset ${start}` : `end offset ${start + needed - 1}`;
  return `VHDX BAT entry ${index} ${what} points after end of file (${size}). Image has probably been truncated.`;
}

/**
 * Refuses tables whose blocks lie over the header, the log, the table or the metadata, and unless `fileSize` is null those whose
 * blocks are not in the file.
 */
export function* surveyBlocks(bat: Bat, metadata: Metadata, regions: RegionMap, fileSize: number | null): Op<Survey> {
  const { blockSize, chunkRatio } = metadata;
  const found: Survey = { end: regions.end };
  yield* bat.each((first, entries) => {
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      if (!isStored(entry, metadata)) continue;
      const offset = offsetOf(entry);
      const length = isPayload(first + i, chunkRatio) ? blockSize : MiB;
      if (!Number.isSafeInteger(offset + length))
        throw new BlockError("ERR_CORRUPT", `VHDX: block allocation table entry ${first + i} names offset ${offset}`);
      if (!isPayload(first + i, chunkRatio) && metadata.parent === null) continue;
      const truncation = fileSize === null ? null : findTruncation(first + i, entry, metadata, fileSize);
      if (truncation !== null) throw new BlockError("ERR_CORRUPT", truncation, { errno: "EINVAL" });
      // Ascending offsets behind all regions are the common case.
      if (offset < regions.end) regions.check({ offset, length });
      found.end = Math.max(found.end, offset + length);
    }
  });
  return found;
}

/** Blocks that overlap others, or are not in the file; returns their number. Space behind the end of the file is looked at up to one file size. */
export function* checkBlocks(
  bat: Bat,
  metadata: Metadata,
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
      const truncation = findTruncation(first + i, entry, metadata, fileSize);
      if (truncation !== null) tell(truncation, offsetOf(entry));
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
