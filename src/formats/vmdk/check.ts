/** Checking a VMDK: every grain table entry is sound and names a place inside its file, of its own. QEMU's findings in QEMU's words. */
import { BlockError } from "../../base/error.js";
import { ExtentKind, ExtentList } from "../../block/extent.js";
import type { Op } from "../../block/op.js";
import type { CheckOptions, ImageCheck } from "../../block/types.js";
import type { VmdkExtent } from "./extent.js";
import { SeenPlaces } from "../shared/seen-places.js";
import { SECTOR } from "./layout.js";

/** Findings reported one by one; all are counted. */
const MAX_REPORTS = 1000;

export function* checkGrains(extents: readonly VmdkExtent[], options: CheckOptions): Op<ImageCheck> {
  let corruptions = 0;
  const report = (text: string, offset: number): void => {
    corruptions++;
    if (corruptions <= MAX_REPORTS) options.report({ severity: "corruption", text, offset });
  };
  for (const extent of extents) {
    if (extent.grainSize !== null) yield* checkExtent(extent, extent.grainSize, report);
    options.progress?.(extent.end, extents[extents.length - 1]!.end);
  }
  return { filename: "", format: "vmdk", "check-errors": 0, corruptions };
}

function* checkExtent(extent: VmdkExtent, grainSize: number, report: (text: string, offset: number) => void): Op<void> {
  const list = new ExtentList();
  const fileSize = extent.file!.size;
  // Compressed grains of other programs may hold more than one of ours does.
  const seen = extent.compressed ? null : new SeenPlaces(fileSize, SECTOR);
  for (let at = extent.start; at < extent.end;) {
    list.clear();
    let miss;
    try {
      miss = extent.map(at, extent.end, list);
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      report(`ERROR: could not get cluster_offset for sector ${at / SECTOR}`, at);
      at += grainSize - ((at - extent.start) % grainSize);
      continue;
    }
    for (let i = 0; i < list.count; i++) {
      const { kind, start, length, host } = list.at(i);
      if (kind !== ExtentKind.data && kind !== ExtentKind.special) continue;
      for (let done = 0; done < length; done += grainSize) {
        const fault = host + done >= fileSize ? "points after EOF" : seen?.again(host + done) ? "is that of another one" : null;
        if (fault !== null) report(`ERROR: cluster offset for sector ${(start + done) / SECTOR} ${fault}`, start + done);
      }
    }
    if (list.count > 0) at = list.end;
    if (miss !== null) yield* extent.load!(miss);
  }
  if (typeof extent.damage === "string") report(`ERROR: ${extent.damage}`, extent.start);
}
