/**
 * mirror: keeps a copy of a node. First everything (or what the mode says), then what guests write meanwhile, until it is told
 * to complete; then the target takes the node's place, or the job ends with the target as a point-in-time copy.
 *
 * The active commit is a mirror of the top layer into its base.
 */
import { alignDown, KiB, MiB } from "../base/int.js";
import { DirtyBitmap } from "../block/dirty-bitmap.js";
import { drained, replaceNode, skipFilters } from "../block/graph.js";
import { discard, flush, read, write, writeZeroes } from "../block/io.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { setWritable } from "../block/reopen.js";
import { blockStatus } from "../block/status.js";
import type { Job, JobDriver, JobType } from "./job.js";
import { copyLoop, side, type ErrorPolicies, type Piece } from "./job-io.js";

export type MirrorSync = "top" | "full" | "none" | "bitmap" | "incremental";

export interface MirrorOptions {
  type?: JobType;
  source: Node;
  target: Node;
  sync: MirrorSync;
  /** Bytes one bit of the dirty bitmap stands for: a power of two, 512 to 64 MiB. */
  granularity: number;
  /** Bytes in flight at most. */
  bufferSize: number;
  /** What guests write goes to the target before their request completes. */
  writeBlocking: boolean;
  /** The target reads as zeros: zeros need no writing in the first pass. */
  targetIsZero: boolean;
  /** Zeros may become holes. */
  unmap: boolean;
  /** Layers from here down are not copied (sync=top: the source's backing node). */
  base: Node | null;
  /** Regions to copy at first, for sync=bitmap. */
  bitmap?: DirtyBitmap;
  /** The node whose place the target takes at the end; null: nothing is replaced (the target keeps its place). */
  replaces: Node | null;
  policies: ErrorPolicies;
  /** Runs, drained, just before the target takes the place: backing links and the like. */
  beforeReplace?(): Op<void>;
}

interface MirrorPiece extends Piece {
  kind: "data" | "zero" | "discard";
}

export function mirrorDriver(options: MirrorOptions): JobDriver {
  const { source, target } = options;
  const dirty = new DirtyBitmap(source.size, options.granularity);
  let replace = false;
  return {
    type: options.type ?? "mirror",
    softCancel: true,
    complete() {
      replace = true;
    },
    *run(job: Job): Op<void> {
      const stop = watch(options, dirty, job);
      try {
        yield* markInitial(options, dirty, job);
        yield* copyDirty(job, options, dirty, true);
        job.ready();
        for (;;) {
          yield* copyDirty(job, options, dirty, false);
          if (job.isCancelled || replace) {
            yield* drained(source, function* () {
              yield* copyDirty(job, options, dirty, false);
              yield* side("write", flush(target));
              if (replace && !job.isCancelled) yield* turnOver(options);
            });
            if (dirty.count === 0) return;
          }
          if (dirty.count === 0) yield* job.waitForWork();
          yield* job.pausePoint();
        }
      } finally {
        stop();
      }
    },
  };
}

/** Hears of every guest write from now on. */
function watch(options: MirrorOptions, dirty: DirtyBitmap, job: Job): () => void {
  const { source } = options;
  const listener = (offset: number, length: number): void => {
    dirty.set(offset, length);
    if (job.isReady) job.kick();
  };
  source.writeListeners.add(listener);
  return () => source.writeListeners.delete(listener);
}

function* markInitial(options: MirrorOptions, dirty: DirtyBitmap, job: Job): Op<void> {
  const { source, sync } = options;
  if (sync === "none") return;
  if (sync === "bitmap" || sync === "incremental") {
    if (options.bitmap !== undefined) dirty.merge(options.bitmap);
    return;
  }
  const base = sync === "top" ? (skipFilters(source).backing ?? null) : options.base;
  let at = 0;
  while (at < source.size) {
    yield* job.pausePoint();
    const status = yield* side("read", blockStatus(source, at, source.size - at, { base, wantZero: options.targetIsZero }));
    const needed = sync === "full" && base === null ? !(status.zero && options.targetIsZero) : status.allocated;
    if (needed) dirty.set(at, status.length);
    at += status.length;
  }
}

function* copyDirty(job: Job, options: MirrorOptions, dirty: DirtyBitmap, report: boolean): Op<void> {
  const { source, target, granularity } = options;
  const chunk = Math.max(granularity, Math.min(1 * MiB, alignDown(options.bufferSize, granularity)));
  const batch = Math.max(1, Math.min(16, Math.floor(options.bufferSize / chunk)));
  let copied = job.progress.current;
  const refresh = (): void => {
    job.progress = { current: copied, total: copied + dirty.count };
  };
  if (report) refresh();
  yield* copyLoop<MirrorPiece>(job, {
    policies: options.policies,
    batch,
    *next() {
      const run = dirty.nextDirty(0, chunk);
      if (run === null) return null;
      // Cleared before it is read: a guest write from now on marks it again.
      dirty.clear(run.offset, run.length);
      const length = Math.min(run.length, source.size - run.offset);
      const status = yield* side("read", blockStatus(source, run.offset, length));
      const kind = status.length < length ? "data" : status.zero ? (status.data || !options.unmap ? "zero" : "discard") : "data";
      return { offset: run.offset, length, kind };
    },
    *copy(piece) {
      yield* copyPiece(source, target, piece, options);
      copied += piece.length;
      refresh();
    },
    putBack: (piece) => dirty.set(piece.offset, piece.length),
    failed(piece, outcome) {
      if (outcome === "skip") dirty.set(piece.offset, piece.length);
    },
  });
  refresh();
}

function* copyPiece(source: Node, target: Node, piece: MirrorPiece, options: MirrorOptions): Op<void> {
  const { offset, length } = piece;
  if (piece.kind === "data") {
    const bytes = new Uint8Array(length);
    yield* side("read", read(source, bytes, offset));
    yield* side("write", write(target, bytes, offset));
    return;
  }
  yield* side("write", writeZeroes(target, offset, length, { mayUnmap: options.unmap }));
  if (piece.kind === "discard") yield* side("write", discard(target, offset, length));
}

/** The target takes the place of the node it mirrors (or of `replaces`). The source is drained. */
function* turnOver(options: MirrorOptions): Op<void> {
  const { source, target, replaces } = options;
  if (options.beforeReplace !== undefined) yield* options.beforeReplace();
  const from = replaces ?? source;
  if (from.flags.write && !target.flags.write) yield* setWritable(target, true);
  yield* replaceNode(from, target, (edge) => edge.parent === target);
}

/** QEMU's default granularity: the target's cluster size within 4 KiB and 64 KiB, 64 KiB without clusters. */
export function defaultGranularity(clusterSize: number | undefined): number {
  return clusterSize === undefined ? 64 * KiB : Math.min(64 * KiB, Math.max(4 * KiB, clusterSize));
}
