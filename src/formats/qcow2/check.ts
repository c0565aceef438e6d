/**
 * check: counts every reference in the image and compares with the refcounts; repairs on request.
 *
 * A repair first looks at everything without writing, tells its plan, and then goes in an order that a crash at any moment
 * leaves no worse than before: refcounts, flush, COPIED flags, flush, snapshot table, flush, and last the header's dirty and
 * corrupt bits, which go only when nothing is left to find. Words and counts are those of `qemu-img check`.
 */
import { BlockError } from "../../base/error.js";
import { divCeil } from "../../base/int.js";
import type { Op } from "../../block/op.js";
import type { CheckOptions, ImageCheck } from "../../block/types.js";
import { Census } from "./census.js";
import { checkCopied } from "./check-copied.js";
import { compareRefcounts, type Comparison } from "./check-refcounts.js";
import { readSnapshots, type CheckedSnapshots } from "./check-snapshots.js";
import { CheckState } from "./check-state.js";
import type { Qcow2 } from "./image.js";
import { Incompatible } from "./layout.js";
import { rebuildRefcounts } from "./rebuild.js";
import { dropOverhanging, repairSnapshotTable } from "./repair-snapshots.js";
import { Snapshots } from "./snapshots.js";

export function* checkImage(image: Qcow2, options: CheckOptions): Op<ImageCheck> {
  const writes = options.fix !== "none" && options.dryRun !== true;
  if (writes && !image.flags.write) {
    throw new BlockError("ERR_READ_ONLY", "The image must be opened read-write to be repaired", { errno: "EACCES" });
  }
  const release = yield* image.lock.acquire();
  try {
    yield* settle(image);
    const state = new CheckState(image, options);
    const snapshots = yield* readSnapshots(state);
    const census = new Census(state, snapshots.usable);
    census.snapshotTableBytes = snapshots.bytes;
    const compared: Comparison = { end: 0 };
    const wrongFlags = yield* find(state, census, compared);
    if (options.fix !== "none") {
      plan(state, snapshots, wrongFlags);
      if (writes) yield* repair(state, census, snapshots, compared);
    }
    return result(state, census, compared);
  } finally {
    release();
  }
}

/** What a check reads is what is on disk. */
function* settle(image: Qcow2): Op<void> {
  if (!image.flags.write || image.corrupt) return;
  yield* image.commitMetadata();
  yield* image.barrier();
  yield* image.allocator.releaseFreed();
  if (!image.allocator.isDirty) return;
  yield* image.allocator.writeBack();
  yield* image.barrier();
}

/** Looks at everything, writes nothing. Returns how many COPIED flags are wrong (after a repair of the refcounts, if there is to be one). */
function* find(state: CheckState, census: Census, compared: Comparison): Op<number> {
  const repairing = state.options.fix !== "none";
  const clusters = census.clusters + 1;
  let wrong = 0;
  for (const window of census.windows) {
    yield* census.count(window);
    yield* compareRefcounts(census, compared, { fix: "none", adoptDisk: !repairing });
    if (repairing) {
      // The repair tells them when it comes to them; here they are only counted, for the plan.
      state.quiet = state.options.dryRun !== true;
      if (state.options.plan !== undefined || !state.quiet) wrong += yield* checkCopied(census, false);
      state.quiet = false;
    } else wrong += yield* checkCopied(census, false);
    // The last window reaches further than the file.
    state.options.progress?.(Math.min(window.base + window.count, clusters), clusters);
  }
  return wrong;
}

function plan(state: CheckState, snapshots: CheckedSnapshots, wrongFlags: number): void {
  const { image, options, corruptions } = state;
  const tell = options.plan;
  if (tell === undefined) return;
  const all = options.fix === "all";
  if (state.rebuild && !all) return;
  if (all && state.zeroable > 0) {
    tell({
      action: "zero-entries",
      reason: "L2 entries that read as zeros have a misplaced cluster: they become plain zeros",
      count: state.zeroable,
    });
  }
  if (all && state.settable > 0) {
    tell({
      action: "set-bitmap-entries",
      reason: "Bitmap table entries point to no cluster of bits: what they stood for counts as changed",
      count: state.settable,
    });
  }
  if (state.rebuild) {
    tell({
      action: "rebuild-refcounts",
      reason:
        "Refcount blocks are missing or misplaced, or clusters in use count as free: all refcounts are written anew behind the end of the file",
      count: corruptions.blocks + corruptions.refcounts + state.leaks,
    });
  } else {
    if (state.leaks > 0)
      tell({
        action: "lower-refcounts",
        reason: "Clusters have more references on record than there are: leaked space is given back",
        count: state.leaks,
      });
    if (all && corruptions.refcounts > 0) {
      tell({
        action: "raise-refcounts",
        reason: "Clusters have fewer references on record than there are: they could be overwritten",
        count: corruptions.refcounts,
      });
    }
  }
  if (wrongFlags > 0 && (all || corruptions.refcounts + corruptions.blocks + corruptions.entries === 0)) {
    tell({ action: "correct-copied-flags", reason: "COPIED flags contradict the refcounts", count: wrongFlags });
  }
  if (all && snapshots.mendable + snapshots.overhanging > 0) {
    tell({
      action: "rewrite-snapshot-table",
      reason: "Snapshot table entries lack fields that version 3 of the format needs, or go beyond its limits",
      count: snapshots.mendable + snapshots.overhanging,
    });
  }
  const mendable = all ? state.zeroable + state.settable : 0;
  const remaining = corruptions.entries - mendable + (all ? 0 : corruptions.refcounts + corruptions.snapshots);
  if (remaining > 0 || state.errors > (state.rebuild ? state.unreadableBlocks : 0)) return;
  if ((image.header.incompatible.lo & Incompatible.dirty) !== 0)
    tell({ action: "clear-dirty-bit", reason: "The refcounts are right", count: 1 });
  if ((image.header.incompatible.lo & Incompatible.corrupt) !== 0)
    tell({ action: "clear-corrupt-bit", reason: "No corruption is left", count: 1 });
}

function* repair(state: CheckState, census: Census, snapshots: CheckedSnapshots, compared: Comparison): Op<void> {
  const { image, options, corruptions } = state;
  const all = options.fix === "all";
  yield* dropOverhanging(state, snapshots);
  if (state.rebuild && !all) {
    state.error("ERROR need to rebuild refcount structures");
    return;
  }
  const rebuilt = state.rebuild;
  const again = rebuilt || state.zeroable + state.settable > 0 || census.windows.length > 1;
  census.mendEntries = all;
  census.keepStatistics = true;
  try {
    if (rebuilt) {
      state.repair("Rebuilding refcount structure");
      yield* rebuildRefcounts(census, Math.max(census.clusters, compared.end));
      state.corruptionsFixed += corruptions.blocks + corruptions.refcounts;
      state.leaksFixed += state.leaks;
      state.errors -= state.unreadableBlocks;
      state.corruptionsFixed += corruptions.entries;
      corruptions.entries = 0;
      census = grown(census);
    }
    const { leaksFixed } = state;
    corruptions.blocks = 0;
    corruptions.refcounts = 0;
    state.leaks = 0;
    compared.end = 0;
    for (const window of census.windows) {
      if (again) {
        state.quiet = !rebuilt;
        state.muted = rebuilt;
        yield* census.count(window);
        state.quiet = false;
        state.muted = false;
      }
      yield* compareRefcounts(census, compared, { fix: options.fix, adoptDisk: true, afresh: rebuilt });
      // Flags follow the refcounts: those are on disk first.
      if (image.barrierNeeded) yield* image.barrier();
      const safe = state.errors === 0 && state.totalCorruptions === 0 && state.leaks === 0;
      yield* checkCopied(census, all || safe);
    }
    if (rebuilt) {
      state.corruptionsFixed -= Math.min(state.corruptionsFixed, corruptions.entries);
      // What has leaked since are the old structures: no fault of the image.
      state.leaksFixed = leaksFixed;
    }
    yield* image.barrier();
  } finally {
    image.l2.dropAll();
    image.refblocks.dropAll();
    image.decompressed.clear();
    image.allocator.adopt(image.allocator.table);
  }
  if (all && snapshots.mendable > 0 && state.errors === 0) yield* repairSnapshotTable(census, snapshots);
  if (state.corruptions.snapshots === 0) image.snapshots = yield* Snapshots.open(image);
  if (state.totalCorruptions === 0 && state.errors === 0) yield* clearBits(image);
}

/** The census of the file as it is after the rebuild, which made it longer. */
function grown(old: Census): Census {
  const census = new Census(old.state, old.snapshots);
  census.snapshotTableBytes = old.snapshotTableBytes;
  Object.assign(census.statistics, old.statistics);
  census.keepStatistics = true;
  return census;
}

/** The image is in order: says so in the header. */
function* clearBits(image: Qcow2): Op<void> {
  const { hi, lo } = image.header.incompatible;
  const clean = (lo & ~(Incompatible.dirty | Incompatible.corrupt)) >>> 0;
  if (clean !== lo) {
    yield* image.updateHeader({ incompatible: { hi, lo: clean } });
    yield* image.barrier();
  }
  image.corrupt = false;
  image.corruptionFound = null;
}

function result(state: CheckState, census: Census, compared: Comparison): ImageCheck {
  const { image } = state;
  const check: ImageCheck = {
    filename: image.node.filename,
    format: "qcow2",
    "check-errors": state.errors,
    "image-end-offset": Math.max(1, compared.end) * image.clusterSize,
    "total-clusters": divCeil(image.size, image.clusterSize),
    "allocated-clusters": census.statistics.allocated,
    "fragmented-clusters": census.statistics.fragmented,
    "compressed-clusters": census.statistics.compressed,
  };
  if (state.totalCorruptions > 0) check.corruptions = state.totalCorruptions;
  if (state.leaks > 0) check.leaks = state.leaks;
  if (state.corruptionsFixed > 0) check["corruptions-fixed"] = state.corruptionsFixed;
  if (state.leaksFixed > 0) check["leaks-fixed"] = state.leaksFixed;
  return check;
}
