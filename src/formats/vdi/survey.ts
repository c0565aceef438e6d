/** Which blocks of the file a VDI block map uses: needed before the first allocation. */
import type { Op } from "../../block/op.js";
import type { BlockTable } from "../shared/block-table.js";

/** Holes remembered for reuse at most. */
const MAX_HOLES = 65536;

export interface MapSurvey {
  /** One more than the highest block in use. */
  end: number;
  /** Blocks below `end` that no entry names (left behind by a crash), up to a limit. */
  holes: number[];
}

export function* surveyMap(table: BlockTable, blocksInImage: number): Op<MapSurvey> {
  let end = 0;
  let count = 0;
  yield* table.each(table.count, (_first, entries) => {
    for (const entry of entries) {
      if (entry >= blocksInImage) continue;
      count++;
      if (entry >= end) end = entry + 1;
    }
  });
  const holes: number[] = [];
  if (count < end) {
    const used = new Uint8Array(Math.ceil(end / 8));
    yield* table.each(table.count, (_first, entries) => {
      for (const entry of entries) if (entry < blocksInImage) used[entry >>> 3]! |= 1 << (entry & 7);
    });
    for (let index = 0; index < end && holes.length < MAX_HOLES; index++) {
      if ((used[index >>> 3]! & (1 << (index & 7))) === 0) holes.push(index);
    }
  }
  return { end, holes };
}
