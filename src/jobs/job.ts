/**
 * Jobs: one state table, one verb table, one `transition()`.
 *
 * A job is an Op that runs beside everything else. Its states, verbs and events are QEMU's (docs/interop/live-block-operations,
 * qapi/job.json): created → running ⇄ paused → [ready ⇄ standby] → waiting → pending → concluded → null, and aborting.
 */
import { BlockError } from "../base/error.js";
import { RateLimit } from "../base/rate-limit.js";
import { TimedWaitRequest, WaitQueue, WaitRequest, type Op } from "../block/op.js";
import type { JobTransaction } from "./transaction.js";

export const JOB_STATES = [
  "undefined",
  "created",
  "running",
  "paused",
  "ready",
  "standby",
  "waiting",
  "pending",
  "aborting",
  "concluded",
  "null",
] as const;
export type JobStatus = (typeof JOB_STATES)[number];
export type JobVerb = "cancel" | "pause" | "resume" | "set-speed" | "complete" | "finalize" | "dismiss" | "change";
export type JobType =
  | "commit"
  | "stream"
  | "mirror"
  | "backup"
  | "create"
  | "amend"
  | "snapshot-load"
  | "snapshot-save"
  | "snapshot-delete";

const NEXT: Record<JobStatus, readonly JobStatus[]> = {
  undefined: ["created"],
  created: ["running", "aborting", "null"],
  running: ["paused", "ready", "waiting", "aborting"],
  paused: ["running"],
  ready: ["standby", "waiting", "aborting"],
  standby: ["ready"],
  waiting: ["pending", "aborting"],
  pending: ["aborting", "concluded"],
  aborting: ["aborting", "concluded"],
  concluded: ["null"],
  null: [],
};

/** What a job is called that stands still. */
const STILL = { running: "paused", ready: "standby" } as const;

const ALLOWED: Record<JobVerb, readonly JobStatus[]> = {
  cancel: ["created", "running", "paused", "ready", "standby", "waiting", "pending"],
  pause: ["created", "running", "paused", "ready", "standby"],
  resume: ["created", "running", "paused", "ready", "standby"],
  "set-speed": ["created", "running", "paused", "ready", "standby"],
  complete: ["ready"],
  finalize: ["pending"],
  dismiss: ["concluded"],
  change: ["created", "running", "paused", "ready", "standby"],
};

export interface JobEvents {
  statusChanged(job: Job, status: JobStatus): void;
  ready(job: Job): void;
  pending(job: Job): void;
  /** The job is over: `error` is null when it did what it was to do. */
  finished(job: Job, cancelled: boolean, error: BlockError | null): void;
  /** The job is gone from the list. */
  dismissed(job: Job): void;
}

/** What kind of work a job does. */
export interface JobDriver {
  readonly type: JobType;
  /** The work. Calls `job.pausePoint()` between pieces; a throw ends the job with that error. */
  run(job: Job): Op<void>;
  /** Called once when it is certain that the whole transaction succeeds / fails / either way, in that order. */
  prepare?(job: Job): Op<void>;
  commit?(job: Job): Op<void>;
  abort?(job: Job): Op<void>;
  clean?(job: Job): Op<void>;
  /** There will be no job after all: nothing is watched any more. */
  forget?(): void;
  /** `complete` was asked for (only in state ready). */
  complete?(job: Job): void;
  /** Whether a cancel of a ready job without `force` counts as a successful end (mirror: the target stays a copy). */
  readonly softCancel?: boolean;
}

export interface JobOptions {
  id: string;
  driver: JobDriver;
  /** Bytes per second; 0: unlimited. */
  speed?: number;
  autoFinalize?: boolean;
  autoDismiss?: boolean;
  transaction?: JobTransaction;
  events: JobEvents;
  now: () => number;
}

export class Job {
  readonly id: string;
  readonly driver: JobDriver;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
  readonly events: JobEvents;
  readonly rateLimit: RateLimit;
  readonly transaction: JobTransaction | null;
  progress: { current: number; total: number } = { current: 0, total: 0 };
  error: BlockError | null = null;
  /** I/O status as query-block-jobs reports it. */
  ioStatus: "ok" | "failed" | "nospace" = "ok";
  /** Has been in state ready. */
  wasReady = false;
  /** It ends because everything does: guests, too. It may go on another time. */
  isClosing = false;
  /** Told of every change of state, after everyone else. */
  readonly watchers: Set<(status: JobStatus) => void> = new Set();
  /** Not waiting for a user or a pause: work may be in flight. */
  busy = false;
  #status: JobStatus = "undefined";
  #pauses = 0;
  #userPaused = false;
  #cancelled = false;
  #forced = false;
  #completing = false;
  #done = false;
  readonly #wake = new WaitQueue();
  readonly #settled = new WaitQueue();

  constructor(options: JobOptions) {
    this.id = options.id;
    this.driver = options.driver;
    this.autoFinalize = options.autoFinalize ?? true;
    this.autoDismiss = options.autoDismiss ?? true;
    this.events = options.events;
    this.rateLimit = new RateLimit(options.speed ?? 0, options.now);
    this.transaction = options.transaction ?? null;
    this.transition("created");
    this.transaction?.add(this);
  }

  get type(): JobType {
    return this.driver.type;
  }
  get status(): JobStatus {
    return this.#status;
  }
  get speed(): number {
    return this.rateLimit.bytesPerSecond;
  }
  get isPaused(): boolean {
    return this.#pauses > 0;
  }
  get isUserPaused(): boolean {
    return this.#userPaused;
  }
  /** A cancel was asked for and the work should stop (a soft cancel of a ready job counts too). */
  get isCancelled(): boolean {
    return this.#cancelled;
  }
  get isForceCancelled(): boolean {
    return this.#cancelled && (this.#forced || this.driver.softCancel !== true);
  }
  get isReady(): boolean {
    return this.#status === "ready" || this.#status === "standby";
  }
  get completionWanted(): boolean {
    return this.#completing;
  }
  get isOver(): boolean {
    return this.#status === "concluded" || this.#status === "null";
  }

  // ---- state ------------------------------------------------------------------------------------------------------

  transition(to: JobStatus): void {
    if (!NEXT[this.#status].includes(to))
      throw new Error(`Blockcore internal error: job '${this.id}' cannot go from ${this.#status} to ${to}`);
    this.#status = to;
    if (to === "ready") this.wasReady = true;
    this.events.statusChanged(this, to);
    for (const watcher of [...this.watchers]) watcher(to);
  }

  check(verb: JobVerb): void {
    if (ALLOWED[verb].includes(this.#status)) return;
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      `Job '${this.id}' in state '${this.#status}' cannot accept command verb '${verb}'`,
    );
  }

  // ---- verbs ------------------------------------------------------------------------------------------------------

  pause(): void {
    this.check("pause");
    if (this.#userPaused) throw new BlockError("ERR_INVALID_ARGUMENT", "Job is already paused");
    this.#userPaused = true;
    this.#pauses++;
    this.#wake.wakeAll();
  }

  resume(): void {
    this.check("resume");
    if (!this.#userPaused) throw new BlockError("ERR_INVALID_ARGUMENT", "Can't resume a job that was not paused");
    this.#userPaused = false;
    this.ioStatus = "ok";
    this.#pauses--;
    this.#wake.wakeAll();
  }

  /** Something else has to be done first: the job stands still until `letGo`. Not the user's affair. */
  holdBack(): void {
    this.#pauses++;
  }
  letGo(): void {
    this.#pauses--;
    this.#wake.wakeAll();
  }

  /** An error policy stops the job: it pauses until the user resumes it. */
  stopForError(status: "failed" | "nospace"): void {
    if (this.ioStatus === "ok") this.ioStatus = status;
    if (!this.#userPaused) {
      this.#userPaused = true;
      this.#pauses++;
    }
  }

  setSpeed(speed: number): void {
    this.check("set-speed");
    if (speed < 0)
      throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'speed' expects a non-negative value", {
        qmpClass: "GenericError",
      });
    this.rateLimit.setSpeed(speed);
    this.#wake.wakeAll();
  }

  complete(): void {
    this.check("complete");
    if (this.#cancelled || this.driver.complete === undefined) {
      throw new BlockError("ERR_INVALID_ARGUMENT", `The active block job '${this.id}' cannot be completed`);
    }
    this.#completing = true;
    this.driver.complete(this);
    this.#wake.wakeAll();
  }

  cancel(force: boolean): void {
    this.check("cancel");
    this.#cancelled = true;
    this.#forced ||= force || !this.isReady;
    if (this.#userPaused) {
      this.#userPaused = false;
      this.#pauses--;
    }
    this.#wake.wakeAll();
    if (this.#status === "waiting" || this.#status === "pending") this.#forced = true;
  }

  // ---- for drivers ------------------------------------------------------------------------------------------------

  /** The job has done all there is to do and follows changes until it is told to complete. */
  ready(): void {
    if (this.#status !== "running") return;
    this.transition("ready");
    this.events.ready(this);
  }

  /** Paused, and not to be ended at once: the next `pausePoint` waits. What is left of a job that is pending pauses for nobody. */
  get mustStandStill(): boolean {
    return this.#pauses > 0 && !this.isForceCancelled && this.#status in STILL;
  }

  /** Waits here while paused. Throws when the job was cancelled (unless `soft` cancels are the driver's to see). */
  *pausePoint(): Op<void> {
    this.#throwIfCancelled();
    while (this.mustStandStill) {
      const was = this.#status as keyof typeof STILL;
      this.transition(STILL[was]);
      this.busy = false;
      while (this.#pauses > 0 && !this.isForceCancelled) yield new WaitRequest(this.#wake);
      this.busy = true;
      this.transition(was);
    }
    this.#throwIfCancelled();
  }

  #throwIfCancelled(): void {
    if (this.isForceCancelled) throw new BlockError("ERR_ABORTED", "Operation canceled", { errno: "ECANCELED" });
  }

  /** Waits for as long as what was copied costs under the speed limit; cancels, pauses and speed changes end the wait early. */
  *payUp(): Op<void> {
    const { owed } = this.rateLimit;
    if (owed <= 0) return;
    yield* this.sleep(owed);
    yield* this.pausePoint();
  }

  /** Sleeps; any verb wakes the job. */
  *sleep(milliseconds: number): Op<void> {
    this.busy = false;
    yield new TimedWaitRequest(this.#wake, milliseconds);
    this.busy = true;
  }

  /** Waits until some verb or `kick` wakes the job. */
  *waitForWork(): Op<void> {
    this.busy = false;
    yield new WaitRequest(this.#wake);
    this.busy = true;
  }
  /** Something the job waits for has happened (a guest write, a finished request). */
  kick(): void {
    this.#wake.wakeAll();
  }

  // ---- life -------------------------------------------------------------------------------------------------------

  /** The whole life of the job from `running` to `concluded`. */
  *run(): Op<void> {
    if (this.#cancelled) {
      yield* this.#conclude(new BlockError("ERR_ABORTED", "Operation canceled", { errno: "ECANCELED" }));
      return;
    }
    this.transition("running");
    this.busy = true;
    let failure: BlockError | null = null;
    try {
      yield* this.pausePoint();
      yield* this.driver.run(this);
    } catch (error) {
      failure = error instanceof BlockError ? error : new BlockError("ERR_IO", (error as Error).message, { cause: error });
    }
    this.busy = false;
    if (failure === null && this.isForceCancelled)
      failure = new BlockError("ERR_ABORTED", "Operation canceled", { errno: "ECANCELED" });
    yield* this.#conclude(failure);
  }

  *#conclude(failure: BlockError | null): Op<void> {
    this.error = failure;
    if (failure !== null) {
      this.transition("aborting");
      this.transaction?.fail(this);
    } else {
      this.transition("waiting");
      if (this.transaction !== null) yield* this.transaction.waitForOthers(this);
      if (this.transaction?.failed === true || this.isForceCancelled) {
        this.error = new BlockError("ERR_ABORTED", "Operation canceled", { errno: "ECANCELED" });
        this.transition("aborting");
      } else {
        yield* this.#pendUntilFinalized();
      }
    }
    yield* this.#finalize();
  }

  *#pendUntilFinalized(): Op<void> {
    this.transition("pending");
    if (this.#needsFinalize) {
      this.events.pending(this);
      while (!this.#done && !this.#forced) yield new WaitRequest(this.#wake);
      if (!this.#done) {
        this.#abort(new BlockError("ERR_ABORTED", "Operation canceled", { errno: "ECANCELED" }));
        return;
      }
    }
    try {
      if (this.driver.prepare !== undefined) yield* this.driver.prepare(this);
    } catch (error) {
      this.#abort(error instanceof BlockError ? error : new BlockError("ERR_IO", (error as Error).message, { cause: error }));
    }
  }

  #abort(error: BlockError): void {
    this.error = error;
    this.transaction?.fail(this);
    this.transition("aborting");
  }

  get #needsFinalize(): boolean {
    return this.transaction === null ? !this.autoFinalize : this.transaction.needsFinalize;
  }

  finalize(): void {
    this.check("finalize");
    for (const job of this.transaction?.jobs ?? [this]) job.#done = true;
    for (const job of this.transaction?.jobs ?? [this]) job.kick();
  }

  *#finalize(): Op<void> {
    const { driver } = this;
    try {
      if (this.error === null) {
        if (driver.commit !== undefined) yield* driver.commit(this);
      } else if (driver.abort !== undefined) yield* driver.abort(this);
      if (driver.clean !== undefined) yield* driver.clean(this);
    } catch (error) {
      this.error ??= error instanceof BlockError ? error : new BlockError("ERR_IO", (error as Error).message, { cause: error });
    }
    this.events.finished(this, this.#cancelled, this.error);
    this.transition("concluded");
    this.#settled.wakeAll();
    if (this.autoDismiss) this.dismiss();
  }

  dismiss(): void {
    this.check("dismiss");
    this.transition("null");
    this.events.dismissed(this);
  }

  /** Waits until the job is over. */
  *settled(): Op<void> {
    while (!this.isOver) yield new WaitRequest(this.#settled);
  }
}
