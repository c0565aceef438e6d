/** Checking a Parallels block allocation table: every cluster inside the file, none used twice. */
import type { Op } from "../../block/op.js";
import type { CheckProblem } from "../../block/types.js";
import type { BlockTable } from "../shared/block-table.js";
import { SeenPlaces } from "../shared/seen-places.js";

export interface BatCheck {
  /** Byte offset an entry points to; -1 for none. */
  recordOf: (entry: number) => number;
  clusterBytes: number;
  /** Size of the file in whole sectors, in bytes. */
  fileEnd: number;
  /** null: only look. */
  repair: BatRepair | null;
  report: (problem: CheckProblem) => void;
}

export interface BatRepair {
  /** Writes the table back while it is being repaired. */
  save(): Op<void>;
  /** Gives a block that shares its cluster a cluster of its own; null: clusters are too large for that. */
  unshare: ((block: number) => Op<void>) | null;
}

export interface BatFindings {
  allocated: number;
  fragmented: number;
  /** Entries that point behind the end of the file. */
  outside: number;
  /** Entries that point to the cluster of an earlier one. */
  duplicates: number;
  /** Byte offset of the last cluster in use; 0 when there is none. */
  highest: number;
}

/** Entries repaired between two write-backs. */
const REPAIR_BATCH = 65536;

export function* checkBat(table: BlockTable, check: BatCheck): Op<BatFindings> {
  const found: BatFindings = { allocated: 0, fragmented: 0, outside: 0, duplicates: 0, highest: 0 };
  const { repair } = check;
  let previous = -1;
  const outside: number[] = [];
  const duplicates: number[] = [];
  const seen = new SeenPlaces(check.fileEnd, check.clusterBytes);
  const tell = (text: string, isFixed: boolean): void =>
    check.report({ severity: isFixed ? "repair" : "corruption", text: `${isFixed ? "Repairing" : "ERROR"} ${text}` });
  const look = (first: number, entries: Uint32Array): void => {
    for (let i = 0; i < entries.length; i++) {
      const offset = check.recordOf(entries[i]!);
      if (offset < 0) {
        previous = -1;
        continue;
      }
      if (offset > check.fileEnd) {
        tell(`cluster ${first + i} is outside image`, repair !== null);
        found.outside++;
        if (repair !== null) {
          previous = -1;
          outside.push(first + i);
          continue;
        }
      } else if (seen.again(offset)) {
        tell(`duplicate offset in BAT entry ${first + i}`, repair !== null && repair.unshare !== null);
        found.duplicates++;
        duplicates.push(first + i);
      }
      found.allocated++;
      if (offset > found.highest) found.highest = offset;
      if (previous >= 0 && previous + check.clusterBytes !== offset) found.fragmented++;
      previous = offset;
    }
  };
  yield* table.each(table.storedCount, look);
  if (repair === null) return found;
  for (let at = 0; at < outside.length; at++) {
    yield* table.ensure(outside[at]!);
    table.set(outside[at]!, 0);
    if (at % REPAIR_BATCH === REPAIR_BATCH - 1) yield* repair.save();
  }
  if (repair.unshare !== null) for (const block of duplicates) yield* repair.unshare(block);
  if (outside.length + duplicates.length > 0) yield* repair.save();
  return found;
}
