/** Looking through a whole block allocation table: where the blocks are, and whether they are in each other's way. */
import { BlockError } from "../../base/error.js";
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

const isPayload = (index: number, chunkRatio: number): boolean => index % (chunkRatio + 1) !== chunkRatio;

/** Whether an entry has a place in the file. */
const isStored = (entry: number, { parent }: Metadata): boolean =>
  stateOf(entry) === BlockState.fullyPresent || (stateOf(entry) === BlockState.partiallyPresent && parent !== null);

/** Refuses tables whose blocks lie over the header, the log, the table or the metadata. */
export function* surveyBlocks(bat: Bat, metadata: Metadata, regions: RegionMap): Op<Survey> {
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
      // Ascending offsets behind all regions are the common case.
      if (offset < regions.end) regions.check({ offset, length });
      found.end = Math.max(found.end, offset + length);
    }
  });
  return found;
}

/** Blocks that overlap others; returns their number. Space behind the end of the file is looked at up to one file size. */
export function* checkBlocks(
  bat: Bat,
  metadata: Metadata,
  fileSize: number,
  report: (problem: CheckProblem) => void,
): Op<number> {
  const { blockSize, chunkRatio } = metadata;
  const units = Math.ceil(fileSize / MiB) + blockSize / MiB;
  const used = new Uint8Array(Math.ceil(units / 8));
  let overlaps = 0;
  yield* bat.each((first, entries) => {
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      const payload = isPayload(first + i, chunkRatio);
      if (!isStored(entry, metadata) || (!payload && metadata.parent === null)) continue;
      const unit = Math.floor(entry / 8);
      let shared = false;
      for (let at = unit; at < Math.min(units, unit + (payload ? blockSize / MiB : 1)); at++) {
        if ((used[at >>> 3]! & (1 << (at & 7))) !== 0) shared = true;
        used[at >>> 3]! |= 1 << (at & 7);
      }
      if (!shared) continue;
      overlaps++;
      if (overlaps <= 1000)
        report({
          severity: "corruption",
          text: `ERROR: block allocation table entry ${first + i}: the block at offset ${offsetOf(entry)} overlaps another one`,
          offset: offsetOf(entry),
        });
    }
  });
  return overlaps;
}
