/**
 * backup: a copy of a node as it was when the job began. Guest writes go on; before one changes a cluster that has not been
 * copied yet, the old content is copied out of its way (copy-before-write).
 */
import { BlockError } from "../base/error.js";
import { alignDown, alignUp, KiB, MiB } from "../base/int.js";
import { DirtyBitmap } from "../block/dirty-bitmap.js";
import { flush, read, write, writeZeroes } from "../block/io.js";
import { skipFilters } from "../block/graph.js";
import type { Child, Node } from "../block/node.js";
import { done, WaitQueue, WaitRequest, type Op } from "../block/op.js";
import { PassThrough } from "../block/pass-through.js";
import { blockStatus } from "../block/status.js";
import { WorkBitmap } from "../block/work-bitmap.js";
import type { Job, JobDriver } from "./job.js";
import type { JobJournal } from "./journal.js";
import { copyLoop, Scratch, type Piece } from "./copy-loop.js";
import { side, SideError, type ErrorPolicies } from "./job-io.js";
import { sourceRun } from "./source-run.js";

export type BackupSync = "top" | "full" | "none" | "incremental" | "bitmap";

export interface BackupOptions {
  source: Node;
  target: Node;
  sync: BackupSync;
  /** What to copy for sync=bitmap/incremental. */
  bitmap?: DirtyBitmap;
  /** Store compressed. */
  compress: boolean;
  /** Bytes copied as a unit: the larger of the target's cluster size and 64 KiB. */
  clusterSize: number;
  /** Pieces copied at a time; 8 when absent, and never more than 64. */
  workers?: number;
  /** Bytes of a piece at most, at least a cluster; 1 MiB when absent. */
  maxChunk?: number;
  policies: ErrorPolicies;
  /** Lets the job go on after the process has died. Costs two flushes whenever a guest changes a cluster for the first time. */
  journal?: JobJournal;
  /** Told how it ended and what has not been copied: to keep or clear the user's bitmap. */
  finished?(success: boolean, remaining: DirtyBitmap): void;
}

const CHUNK = 1 * MiB;
const WORKERS = 8;
/** What QEMU takes unless it is told otherwise. */
const MAX_WORKERS = 64;

export interface BackupDriver extends JobDriver {
  /** Writes the journal, if there is one: the source is still drained. */
  begin(): Op<void>;
  /** Serves the requests to the node above the source (`jobs/filter.ts`). */
  serve(child: Child): PassThrough;
  forget(): void;
}

/** From now on guest writes push what they change into the target: the caller has drained the source. */
export function backupDriver(options: BackupOptions): BackupDriver {
  const { source, target, clusterSize, journal } = options;
  if (journal !== undefined && journal.resumed !== null && journal.between !== "unchanged") {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      "The backup was interrupted, and its source may have changed since: what is left to copy is lost",
      { hint: 'Say between: "unchanged" if nobody has written to it, or start anew with an empty journal.' },
    );
  }
  let sinceCheckpoint = 0;
  const chunk = Math.max(clusterSize, alignDown(Math.min(options.maxChunk ?? CHUNK, CHUNK), clusterSize));
  /** What is still to be copied. */
  const todo = new DirtyBitmap(source.size, clusterSize);
  const shown = new WorkBitmap(todo, false);
  /** What guests have written. */
  const changed = new DirtyBitmap(source.size, clusterSize);
  const copying: Piece[] = [];
  const copied = new WaitQueue();
  let hookError: unknown;
  let succeeded = false;
  let job: Job | null = null;
  /** Bytes copied so far. */
  let current = 0;

  function progress(bytes: number): void {
    current += bytes;
    sinceCheckpoint += bytes;
    if (job !== null) job.progress.current = current;
  }

  /** Copies the clusters of a range that are still to be copied; returns when none of it is under way any more. */
  function* copyOut(offset: number, length: number, scratch: Scratch): Op<void> {
    for (;;) {
      const busy = copying.find((piece) => piece.offset < offset + length && offset < piece.offset + piece.length);
      if (busy !== undefined) {
        yield new WaitRequest(copied);
        continue;
      }
      const run = todo.nextDirty(offset, chunk);
      if (run === null || run.offset >= offset + length) return;
      const piece: Piece = {
        offset: run.offset,
        length: Math.min(run.length, alignUp(offset + length, clusterSize) - run.offset, source.size - run.offset),
      };
      copying.push(piece);
      todo.clear(piece.offset, piece.length);
      let bytes = 0;
      try {
        while (bytes < piece.length) {
          const more = yield* copyRun(options, piece.offset + bytes, piece.length - bytes, scratch);
          bytes += more;
          progress(more);
        }
      } finally {
        todo.set(piece.offset + bytes, piece.length - bytes);
        copying.splice(copying.indexOf(piece), 1);
        copied.wakeAll();
      }
    }
  }

  function* beforeWrite(offset: number, length: number): Op<void> {
    const start = alignDown(offset, clusterSize);
    try {
      const end = alignUp(offset + length, clusterSize);
      yield* copyOut(start, end - start, new Scratch());
      changed.set(start, end - start);
      // What the journal calls left is read from the source after a crash: it must not change under it.
      if (journal?.claims(start, end - start) === true) yield* checkpoint();
    } catch (error) {
      // The guest's write goes on; the backup is what fails.
      hookError ??= error instanceof SideError ? error.inner : error;
      job?.kick();
    }
  }

  const isCheckpointDue = (): boolean => journal !== undefined && sinceCheckpoint >= journal.checkpointBytes;

  /** Makes durable what has been copied, and says so. */
  function* checkpoint(): Op<void> {
    if (journal === undefined) return;
    const left = todo.copy();
    for (const piece of copying) left.set(piece.offset, piece.length);
    sinceCheckpoint = 0;
    yield* side("write", flush(target));
    yield* journal.update(() => left);
  }

  // The point in time is now: the caller has drained the source.
  if (journal === undefined || journal.resumed === null) markInitial(options, todo);
  else todo.merge(journal.resumed);
  const total = todo.count;
  source.beforeWrite.add(beforeWrite);
  source.workBitmaps.add(shown);
  function forget(): void {
    source.beforeWrite.delete(beforeWrite);
    source.workBitmaps.delete(shown);
  }

  return {
    type: "backup",
    *begin(): Op<void> {
      yield* journal?.begin(() => todo) ?? done(undefined);
    },
    serve(child) {
      const everything = new DirtyBitmap(source.size, clusterSize);
      everything.set(0, source.size);
      for (const bits of [changed, everything]) child.parent.workBitmaps.add(new WorkBitmap(bits, false));
      return new PassThrough(child);
    },
    forget,
    *run(running: Job): Op<void> {
      job = running;
      job.progress = { current, total };
      if (options.sync === "top") {
        yield* keepTopOnly(options, todo, running);
        const underWay = copying.reduce((bytes, piece) => bytes + piece.length, 0);
        running.progress.total = running.progress.current + underWay + todo.count;
      }
      if (options.sync === "none") {
        for (;;) {
          if (hookError !== undefined) throw hookError;
          yield* running.pausePoint();
          yield* running.waitForWork();
        }
      }
      let cursor = 0;
      yield* copyLoop<Piece>(running, {
        policies: options.policies,
        workers: Math.min(options.workers ?? WORKERS, MAX_WORKERS),
        // eslint-disable-next-line require-yield
        *next() {
          if (hookError !== undefined) throw hookError;
          const run = todo.nextDirty(cursor, chunk);
          if (run === null) return null;
          cursor = run.offset + run.length;
          return { offset: run.offset, length: Math.min(run.length, source.size - run.offset) };
        },
        copy: ({ offset, length }, scratch) => copyOut(offset, length, scratch),
        insists: true,
        isDue: isCheckpointDue,
        *between() {
          if (isCheckpointDue()) yield* checkpoint();
        },
      });
      // What guest writes are pushing out of their way at this moment belongs to the copy too.
      while (copying.length > 0) yield new WaitRequest(copied);
      if (hookError !== undefined) throw hookError;
      yield* side("write", flush(target));
      // The last cluster of an odd size counted whole.
      running.progress.total = running.progress.current;
      succeeded = true;
    },
    *clean(ended: Job): Op<void> {
      forget();
      if (succeeded && ended.error === null) yield* journal?.end("done") ?? done(undefined);
      else if (ended.isClosing) yield* checkpoint();
      // Guests go on writing, and nobody keeps what they overwrite.
      else yield* journal?.end("spoiled") ?? done(undefined);
      options.finished?.(succeeded && ended.error === null, todo);
    },
  };
}

function markInitial(options: BackupOptions, todo: DirtyBitmap): void {
  if (options.sync === "incremental" || options.sync === "bitmap") {
    if (options.bitmap !== undefined) todo.merge(options.bitmap);
  } else {
    todo.set(0, options.source.size);
  }
}

/** Takes out what the top layer does not hold; writes of guests are watched already. */
function* keepTopOnly(options: BackupOptions, todo: DirtyBitmap, job: Job): Op<void> {
  const { source, clusterSize } = options;
  const base = skipFilters(source).backing;
  let at = 0;
  while (at < source.size) {
    yield* job.pausePoint();
    const status = yield* side("read", blockStatus(source, at, source.size - at, { base, wantZero: false }));
    if (!status.allocated) {
      const first = alignUp(at, clusterSize);
      const end = at + status.length === source.size ? source.size : alignDown(at + status.length, clusterSize);
      if (end > first) todo.clear(first, end - first);
    }
    at += status.length;
  }
}

/** Copies what is of one kind from `offset` on, at most `length` bytes; returns how many. */
function* copyRun(options: BackupOptions, offset: number, length: number, scratch: Scratch): Op<number> {
  const { source, target, clusterSize } = options;
  const run = yield* sourceRun(source, offset, length, clusterSize, length);
  if (run.kind === "data") {
    const bytes = scratch.take(run.length);
    yield* side("read", read(source, bytes, offset));
    yield* side("write", write(target, bytes, offset, options.compress ? { compressed: true } : {}));
  } else yield* side("write", writeZeroes(target, offset, run.length, { mayUnmap: true }));
  return run.length;
}

/** The unit of copying for a target with clusters of this size. */
export function backupClusterSize(targetClusterSize: number | undefined): number {
  return Math.max(64 * KiB, targetClusterSize ?? 0);
}
