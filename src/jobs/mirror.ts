/**
 * mirror: keeps a copy of a node. First everything (or what the mode says), then what guests write meanwhile, until it is told
 * to complete; then the target takes the node's place, or the job ends with the target as a point-in-time copy.
 *
 * The active commit is a mirror of the top layer into its base.
 */
import { BlockError, errnoError } from "../base/error.js";
import { equalBytes } from "../base/bytes.js";
import { alignDown, KiB, MiB } from "../base/int.js";
import { DirtyBitmap } from "../block/dirty-bitmap.js";
import { drained, replaceNode, skipFilters } from "../block/graph.js";
import { discard, flush, read, write, writeZeroes } from "../block/io.js";
import type { Child, Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { PassThrough } from "../block/pass-through.js";
import { checkReplacing } from "../block/permissions.js";
import { setWritable } from "../block/reopen.js";
import { blockStatus } from "../block/status.js";
import { WorkBitmap } from "../block/work-bitmap.js";
import type { Job, JobDriver, JobType } from "./job.js";
import { copyLoop, RETRY_MS, Scratch, type CopyLoop, type Piece } from "./copy-loop.js";
import { handleError, side, SideError, type ErrorPolicies } from "./job-io.js";
import type { JobJournal } from "./journal.js";
import { BlockingWrites, MirrorTop, type BlockingMirror } from "./mirror-top.js";
import { sourceRun, type SourceRun } from "./source-run.js";

export type MirrorSync = "top" | "full" | "none" | "bitmap" | "incremental";

export interface MirrorOptions {
  type?: JobType;
  source: Node;
  target: Node;
  sync: MirrorSync;
  /** Bytes one bit of the dirty bitmap stands for: a power of two, 512 to 64 MiB. */
  granularity: number;
  /**
   * The target gets its backing file when the mirror is done: what it does not hold of a cluster would be zeros until then, and
   * stay so. Whole granules are copied; they are whole clusters of the target.
   */
  wholeGranules?: boolean;
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
  /** Lets the job go on after the process has died: changes are noted there before they are made. */
  journal?: JobJournal;
  /** Runs, drained, just before the target takes the place: backing links and the like. A throw keeps things as they are. */
  beforeReplace?(): Op<void>;
}

interface MirrorPiece extends Piece, SourceRun {}

/** The longest run of zeros that is written at once. */
const MAX_ZERO = 256 * MiB;

export interface MirrorDriver extends JobDriver {
  forget(): void;
  /** Serves the requests to the node above the source (`jobs/filter.ts`). Write-blocking needs one. */
  serve(child: Child): PassThrough;
}

export function mirrorDriver(options: MirrorOptions): MirrorDriver {
  return new Mirror(options);
}

class Mirror implements MirrorDriver, BlockingMirror {
  readonly type: JobType;
  readonly softCancel = true;
  readonly dirty: DirtyBitmap;
  readonly #options: MirrorOptions;
  readonly #blocking: BlockingWrites | null;
  readonly #listener = (offset: number, length: number): void => this.#changed(offset, length);
  readonly #hook = (offset: number, length: number): Op<void> => this.#changing(offset, length);
  /** Changes of the source that are under way, where a journal must hear of them. */
  readonly #underWay: Piece[] = [];
  readonly #shown: WorkBitmap;
  #sinceCheckpoint = 0;
  #job: Job | null = null;
  #filter: Node | null = null;
  /** Where the background copy has got to. */
  #cursor = 0;
  /** Bytes copied so far. */
  #copied = 0;
  /** Bytes being copied in the background, or waiting to be tried again. */
  #copying = 0;
  #replace = false;
  #over = false;
  /** Why a blocking write ended the job. */
  #failure: unknown = null;

  /** Hears of every guest write from now on. */
  constructor(options: MirrorOptions) {
    this.type = options.type ?? "mirror";
    this.#options = options;
    this.dirty = new DirtyBitmap(options.source.size, options.granularity);
    this.#blocking = options.writeBlocking ? new BlockingWrites(this) : null;
    this.#shown = new WorkBitmap(this.dirty, !options.writeBlocking);
    options.source.workBitmaps.add(this.#shown);
    options.source.writeListeners.add(this.#listener);
    if (options.journal !== undefined) options.source.beforeWrite.add(this.#hook);
  }

  get target(): Node {
    return this.#options.target;
  }
  get unmap(): boolean {
    return this.#options.unmap;
  }

  get wholeGranules(): boolean {
    return this.#options.wholeGranules === true;
  }

  // ---- the job ----------------------------------------------------------------------------------------------------

  *run(job: Job): Op<void> {
    const { source, target } = this.#options;
    this.#job = job;
    // The base of a commit may be longer than what lies above it.
    if (this.type === "commit" ? source.size > target.size : source.size !== target.size)
      throw new BlockError("ERR_INVALID_ARGUMENT", "Source and target image have different sizes");
    const { journal } = this.#options;
    if (journal === undefined || journal.resumed === null) yield* this.#markInitial(job);
    else yield* this.#markRest(job, journal);
    if (journal !== undefined) yield* journal.begin(() => this.#left());
    for (;;) {
      yield* this.#copyDirty(job);
      if (!job.wasReady) {
        // From here on an end of the job leaves a whole copy behind.
        if (yield* this.#done(job, journal === undefined ? this.#flush() : this.#checkpoint())) job.ready();
        else yield* this.#takeBreath(job);
      } else if (job.isCancelled || this.#replace) {
        if (yield* drained(source, () => this.#finish(job))) return;
        yield* this.#takeBreath(job);
      } else if (this.dirty.count === 0 && this.#failure === null) yield* job.waitForWork();
      yield* job.pausePoint();
    }
  }

  /** Guests wait meanwhile: what an error policy or a pause holds up is for later. */
  *#finish(job: Job): Op<boolean> {
    yield* this.#copyDirty(job, { hurried: true });
    return this.dirty.count === 0 && (yield* this.#done(job, this.#flush()));
  }

  /** Before what has just failed is tried again. */
  *#takeBreath(job: Job): Op<void> {
    if (!job.mustStandStill) yield* job.sleep(RETRY_MS);
  }

  *#flush(): Op<void> {
    yield* side("write", flush(this.#options.target));
  }

  /** Whether that worked. If not, and the job is to go on, it is to be tried again. */
  *#done(job: Job, work: Op<void>, policies: ErrorPolicies = this.#options.policies): Op<boolean> {
    try {
      yield* work;
      return true;
    } catch (error) {
      handleError(job, policies, error);
      return false;
    }
  }

  /** The last step, when nothing else can fail: what guests wrote since, and the target takes over. */
  *prepare(job: Job): Op<void> {
    const { source } = this.#options;
    if (!this.#replace || job.isCancelled) return;
    // There is nobody to resume the job any more.
    const policies: ErrorPolicies = { ...this.#options.policies, read: "report", write: "report" };
    // oxlint-disable-next-line typescript/no-this-alias
    const mirror = this;
    yield* drained(source, function* () {
      yield* mirror.#copyDirty(job, { policies });
      yield* mirror.#done(job, mirror.#flush(), policies);
      yield* mirror.#turnOver();
    });
  }

  complete(): void {
    this.#replace = true;
  }

  *clean(ended: Job): Op<void> {
    const { journal } = this.#options;
    this.forget();
    // One that failed can go on, if what was copied is compared.
    if (journal !== undefined && ended.error === null) yield* journal.end("done");
  }

  forget(): void {
    const { source } = this.#options;
    this.#over = true;
    source.writeListeners.delete(this.#listener);
    source.beforeWrite.delete(this.#hook);
    source.workBitmaps.delete(this.#shown);
  }

  /** The target takes the place of the node it mirrors (or of `replaces`). The source is drained. */
  *#turnOver(): Op<void> {
    const { source, target, replaces, beforeReplace } = this.#options;
    const filter = this.#filter;
    // Those who came while the job ran may stand below its filter.
    const replaced = replaces !== null ? [replaces] : filter === null ? [source] : [filter, source];
    const keeps = ({ parent }: Child): boolean => parent === target || parent === filter;
    if (beforeReplace !== undefined) yield* beforeReplace();
    try {
      checkReplacing(replaced, target, keeps);
    } catch (error) {
      target.environment.report?.((error as Error).message);
      throw errnoError("EPERM", undefined, { cause: error });
    }
    if (replaced[0]!.flags.write && !target.flags.write) yield* setWritable(target, true);
    for (const node of replaced) yield* replaceNode(node, target, keeps);
  }

  // ---- what guests write ------------------------------------------------------------------------------------------

  serve(child: Child): PassThrough {
    this.#filter = child.parent;
    return this.#blocking === null ? new PassThrough(child) : new MirrorTop(child, this, this.#blocking);
  }
  isBlocking(): boolean {
    return this.#blocking !== null && !this.#over && this.#failure === null && this.#job?.isForceCancelled !== true;
  }
  progress(bytes: number): void {
    this.#copied += bytes;
    this.#report();
  }
  targetFailed(error: unknown): void {
    const job = this.#job;
    try {
      if (job === null) throw error;
      handleError(job, this.#options.policies, error);
    } catch (failure) {
      this.#failure ??= failure instanceof SideError ? failure.inner : failure;
    }
    job?.kick();
  }

  /** Before a change: the journal says that it is left to copy. */
  *#changing(offset: number, length: number): Op<void> {
    this.#underWay.push({ offset, length });
    try {
      yield* this.#options.journal!.mark(offset, length);
    } catch (error) {
      // The guest's write goes on; the job is what fails.
      this.#failure ??= error;
      this.#job?.kick();
    }
  }

  #changed(offset: number, length: number): void {
    const own = this.#underWay.findIndex((each) => each.offset === offset && each.length === length);
    if (own >= 0) this.#underWay.splice(own, 1);
    if (this.#blocking?.claims(offset, length) === true) return;
    this.dirty.set(offset, length);
    if (this.#job?.isReady === true) this.#job.kick();
  }

  // ---- copying ----------------------------------------------------------------------------------------------------

  *#markInitial(job: Job): Op<void> {
    const { source, sync, bitmap, targetIsZero } = this.#options;
    if (sync === "none") return;
    if (sync === "bitmap" || sync === "incremental") {
      if (bitmap !== undefined) this.dirty.merge(bitmap);
      return;
    }
    const base = sync === "top" ? (skipFilters(source).backing ?? null) : this.#options.base;
    let at = 0;
    while (at < source.size) {
      yield* job.pausePoint();
      const status = yield* blockStatus(source, at, source.size - at, { base, wantZero: targetIsZero });
      const needed = sync === "full" && base === null ? !(status.zero && targetIsZero) : status.allocated;
      if (needed) this.dirty.set(at, status.length);
      at += status.length;
    }
  }

  /** What a job before this one had not copied, and what has changed since as far as that is not known. */
  *#markRest(job: Job, journal: JobJournal): Op<void> {
    const left = journal.resumed!;
    this.dirty.merge(left);
    if (journal.between === "unchanged") return;
    const { source, target } = this.#options;
    const chunk = this.#chunk;
    const [ours, theirs] = [new Uint8Array(chunk), new Uint8Array(chunk)];
    for (let at = left.nextClean(0); at >= 0 && at < source.size; at = left.nextClean(at)) {
      yield* job.pausePoint();
      const dirty = left.nextDirty(at, 1)?.offset ?? source.size;
      const length = Math.min(chunk - (at % chunk), dirty - at, source.size - at);
      yield* read(source, ours.subarray(0, length), at);
      yield* read(target, theirs.subarray(0, length), at);
      if (!equalBytes(ours.subarray(0, length), theirs.subarray(0, length))) this.dirty.set(at, length);
      at += length;
    }
  }

  /** Everything that is not on the target. */
  #left(): DirtyBitmap {
    const left = this.dirty.copy();
    for (const { offset, length } of this.#underWay) left.set(offset, length);
    for (const { offset, length } of this.#blocking?.changes ?? []) left.set(offset, length);
    return left;
  }

  /** Makes durable what has been copied, and says so in the journal. Nothing is being copied in the background. */
  *#checkpoint(): Op<void> {
    const { journal, source, target } = this.#options;
    if (journal === undefined) return;
    const before = this.#left();
    this.#sinceCheckpoint = 0;
    // Both sides: a change that the source forgot and the target did not would go unnoticed.
    yield* side("read", flush(source));
    yield* side("write", flush(target));
    yield* journal.update(() => {
      // What has changed since is left, too.
      const left = this.#left();
      left.merge(before);
      return left;
    });
  }

  get #chunk(): number {
    const { granularity, bufferSize } = this.#options;
    return Math.max(granularity, Math.min(1 * MiB, alignDown(bufferSize, granularity)));
  }

  #report(): void {
    if (this.#job !== null)
      this.#job.progress = { current: this.#copied, total: this.#copied + this.#copying + this.dirty.count };
  }

  /** Copies until nothing is dirty (`hurried`: or the job has to stand still). */
  *#copyDirty(job: Job, how: Partial<Pick<CopyLoop<MirrorPiece>, "policies" | "hurried">> = {}): Op<void> {
    const { dirty } = this;
    const chunk = this.#chunk;
    // oxlint-disable-next-line typescript/no-this-alias
    const mirror = this;
    this.#report();
    yield* copyLoop<MirrorPiece>(job, {
      policies: this.#options.policies,
      workers: Math.max(1, Math.min(16, Math.floor(this.#options.bufferSize / chunk))),
      insists: true,
      ...how,
      *next() {
        if (mirror.#failure !== null) throw mirror.#failure;
        return yield* mirror.#nextPiece();
      },
      *copy(piece, scratch) {
        if (mirror.#blocking === null) yield* mirror.#copyPiece(piece, scratch);
        else yield* mirror.#copyAlone(mirror.#blocking, piece, scratch);
        mirror.#copying -= piece.length;
        mirror.progress(piece.length);
        mirror.#sinceCheckpoint += piece.length;
      },
      isDue: () => mirror.#isCheckpointDue,
      *between() {
        if (mirror.#isCheckpointDue) yield* mirror.#done(job, mirror.#checkpoint());
      },
      putBack(piece) {
        mirror.#copying -= piece.length;
        dirty.set(piece.offset, piece.length);
      },
      failed({ offset, length }) {
        // A journal must not lose sight of one that waits to be tried again.
        if (mirror.#options.journal !== undefined) dirty.set(offset, length);
      },
    });
    this.#report();
  }

  get #isCheckpointDue(): boolean {
    const { journal } = this.#options;
    return journal !== undefined && this.#sinceCheckpoint >= journal.checkpointBytes;
  }

  /** A dirty run of one kind, clean from now on; null: nothing is dirty. */
  *#nextPiece(): Op<MirrorPiece | null> {
    const { dirty } = this;
    const { source, granularity } = this.#options;
    // Round and round: what guests write again and again does not keep the rest waiting.
    const found = dirty.nextDirty(this.#cursor, MAX_ZERO) ?? dirty.nextDirty(0, MAX_ZERO);
    if (found === null) return null;
    const { offset } = found;
    const length = Math.min(found.length, source.size - offset);
    // Cleared before it is looked at: a guest write from now on marks it again.
    dirty.clear(offset, length);
    this.#copying += length;
    const run = yield* sourceRun(source, offset, length, granularity, this.#chunk);
    const rest = length - run.length;
    if (rest > 0) {
      dirty.set(offset + run.length, rest);
      this.#copying -= rest;
    }
    this.#cursor = offset + run.length;
    return { offset, ...run };
  }

  /** Copies while no guest changes both sides. What is there is only certain from then on. */
  *#copyAlone(blocking: BlockingWrites, { offset, length }: Piece, scratch: Scratch): Op<void> {
    const lease = yield* blocking.acquire(offset, length);
    try {
      yield* this.#copyRange(offset, length, scratch);
    } finally {
      blocking.release(lease);
    }
  }

  copyRange(offset: number, length: number): Op<void> {
    return this.#copyRange(offset, length, new Scratch());
  }

  *#copyRange(offset: number, length: number, scratch: Scratch): Op<void> {
    for (let at = offset; at < offset + length;) {
      const run = yield* sourceRun(this.#options.source, at, offset + length - at, 1, this.#chunk);
      yield* this.#copyPiece({ offset: at, ...run }, scratch);
      at += run.length;
    }
  }

  *#copyPiece({ kind, offset, length }: MirrorPiece, scratch: Scratch): Op<void> {
    const { source, target, unmap } = this.#options;
    if (kind === "data") {
      const bytes = scratch.take(length);
      yield* side("read", read(source, bytes, offset));
      yield* side("write", write(target, bytes, offset));
      return;
    }
    yield* side("write", writeZeroes(target, offset, length, { mayUnmap: unmap }));
    if (kind === "hole" && unmap) yield* side("write", discard(target, offset, length));
  }
}

/**
 * The granularity for a mirror to `target`.
 * @param asked by the user; 0: the default
 * @param wholeClusters see `wholeGranules`
 */
export function mirrorGranularity(target: Node, asked: number, wholeClusters: boolean): number {
  const clusterSize = skipFilters(target).impl.blockInfo?.().clusterSize;
  const granularity = asked === 0 ? defaultGranularity(clusterSize) : asked;
  return wholeClusters ? Math.max(granularity, clusterSize ?? 0) : granularity;
}

/** QEMU's default granularity: the target's cluster size within 4 KiB and 64 KiB, 64 KiB without clusters. */
function defaultGranularity(clusterSize: number | undefined): number {
  return clusterSize === undefined ? 64 * KiB : Math.min(64 * KiB, Math.max(4 * KiB, clusterSize));
}
