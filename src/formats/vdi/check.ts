/** Checking a VDI block map: every entry inside the image and the file, none used twice. */
import type { Op } from "../../block/op.js";
import type { CheckProblem } from "../../block/types.js";
import type { BlockTable } from "../shared/block-table.js";
import { BLOCK_SIZE, DISCARDED, type VdiHeader } from "./header.js";

export interface MapFindings {
  corruptions: number;
  /** Entries that name a block of the image. */
  allocated: number;
  /** One more than the highest block in use. */
  end: number;
}

/** @param fileSize bytes; a block has to be there as far as the disk reaches */
export function* checkMap(
  table: BlockTable,
  header: VdiHeader,
  fileSize: number,
  report: (problem: CheckProblem) => void,
): Op<MapFindings> {
  const found: MapFindings = { corruptions: 0, allocated: 0, end: 0 };
  const tell = (text: string): void => {
    report({ severity: "corruption", text: `ERROR: ${text}` });
    found.corruptions++;
  };
  const used = new Uint8Array(Math.ceil(header.blocksInImage / 8));
  yield* table.each(table.count, (first, entries) => {
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      if (entry >= DISCARDED) continue;
      if (entry >= header.blocksInImage) {
        tell(`block index ${first + i} too large, is ${entry}`);
        continue;
      }
      found.allocated++;
      found.end = Math.max(found.end, entry + 1);
      const needed = Math.min(BLOCK_SIZE, header.diskSize - (first + i) * BLOCK_SIZE);
      if (needed > 0 && header.dataOffset + entry * BLOCK_SIZE + needed > fileSize)
        tell(`block index ${first + i} points after the end of the file, is ${entry}: the image has been truncated`);
      const bit = 1 << (entry & 7);
      if ((used[entry >>> 3]! & bit) !== 0) tell(`block index ${entry} also used by ${entry}`);
      used[entry >>> 3]! |= bit;
    }
  });
  return found;
}
