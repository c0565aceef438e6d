/** Checking a VDI block map: every entry inside the image, none used twice. */
import type { Op } from "../../block/op.js";
import type { CheckProblem } from "../../block/types.js";
import type { BlockTable } from "../shared/block-table.js";
import { DISCARDED, type VdiHeader } from "./header.js";

export interface MapFindings {
  corruptions: number;
  /** Entries that name a block of the image. */
  allocated: number;
  /** One more than the highest block in use. */
  end: number;
}

export function* checkMap(table: BlockTable, header: VdiHeader, report: (problem: CheckProblem) => void): Op<MapFindings> {
  const found: MapFindings = { corruptions: 0, allocated: 0, end: 0 };
  const used = new Uint8Array(Math.ceil(header.blocksInImage / 8));
  yield* table.each(table.count, (first, entries) => {
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      if (entry >= DISCARDED) continue;
      if (entry >= header.blocksInImage) {
        report({ severity: "corruption", text: `ERROR: block index ${first + i} too large, is ${entry}` });
        found.corruptions++;
        continue;
      }
      found.allocated++;
      found.end = Math.max(found.end, entry + 1);
      const bit = 1 << (entry & 7);
      if ((used[entry >>> 3]! & bit) !== 0) {
        report({ severity: "corruption", text: `ERROR: block index ${entry} also used by ${entry}` });
        found.corruptions++;
      }
      used[entry >>> 3]! |= bit;
    }
  });
  return found;
}
