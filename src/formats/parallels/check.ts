/** Checking a Parallels block allocation table. */
import type { Op } from "../../block/op.js";
import type { CheckProblem } from "../../block/types.js";
import type { BlockTable } from "../shared/block-table.js";

export interface BatCheck {
  /** Byte offset an entry points to; -1 for none. */
  recordOf: (entry: number) => number;
  clusterBytes: number;
  /** Size of the file in whole sectors, in bytes. */
  fileEnd: number;
  /** Writes the table back while it is being repaired; null: only look. */
  repair: (() => Op<void>) | null;
  report: (problem: CheckProblem) => void;
}

export interface BatFindings {
  allocated: number;
  fragmented: number;
  /** Entries that point behind the end of the file. */
  outside: number;
  /** Byte offset of the last cluster in use; 0 when there is none. */
  highest: number;
}

/** Entries repaired between two write-backs. */
const REPAIR_BATCH = 65536;

export function* checkBat(table: BlockTable, check: BatCheck): Op<BatFindings> {
  const found: BatFindings = { allocated: 0, fragmented: 0, outside: 0, highest: 0 };
  let previous = -1;
  let outside: number[] = [];
  const isFixing = check.repair !== null;
  const look = (first: number, entries: Uint32Array): void => {
    for (let i = 0; i < entries.length; i++) {
      const offset = check.recordOf(entries[i]!);
      if (offset < 0) {
        previous = -1;
        continue;
      }
      if (offset > check.fileEnd) {
        check.report({
          severity: isFixing ? "repair" : "corruption",
          text: `${isFixing ? "Repairing" : "ERROR"} cluster ${first + i} is outside image`,
        });
        found.outside++;
        if (isFixing) {
          previous = -1;
          outside.push(first + i);
          continue;
        }
      }
      found.allocated++;
      if (offset > found.highest) found.highest = offset;
      if (previous >= 0 && previous + check.clusterBytes !== offset) found.fragmented++;
      previous = offset;
    }
  };
  yield* table.each(table.storedCount, look);
  if (check.repair === null) return found;
  for (let at = 0; at < outside.length; at++) {
    yield* table.ensure(outside[at]!);
    table.set(outside[at]!, 0);
    if (at % REPAIR_BATCH === REPAIR_BATCH - 1) yield* check.repair();
  }
  if (outside.length > 0) yield* check.repair();
  outside = [];
  return found;
}
