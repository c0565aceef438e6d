/** What all copying jobs share: workers that copy piece after piece, with pause points, speed limit and error policies between. */
import { Mutex, parallel, type Op } from "../block/op.js";
import type { Job } from "./job.js";
import { handleError, type ErrorPolicies } from "./job-io.js";

/** A piece of work of a copying job. */
export interface Piece {
  offset: number;
  length: number;
}

/** The buffer of one worker, kept from piece to piece: fresh memory would cost as much as the copying. */
export class Scratch {
  #bytes: Uint8Array = new Uint8Array(0);
  /** Bytes of any content, until the next call. */
  take(length: number): Uint8Array {
    if (this.#bytes.length < length) this.#bytes = new Uint8Array(length);
    return this.#bytes.subarray(0, length);
  }
}

export interface CopyLoop<P extends Piece> {
  policies: ErrorPolicies;
  /** Pieces copied at a time. */
  workers: number;
  /** The next piece, or null when there is none at present. `idle`: all pieces so far are over. */
  next(idle: boolean): Op<P | null>;
  copy(piece: P, scratch: Scratch): Op<void>;
  /** The piece is over, copied or skipped, and so are all before it: for progress that tells how far a job has come. */
  passed?(piece: P): void;
  /** Takes a piece back that overlaps one under way (it was written to meanwhile). */
  putBack?(piece: P): void;
  /** A piece failed and is to be copied again later, or was skipped by an "ignore" policy. */
  failed?(piece: P, outcome: "again" | "skip"): void;
  /** An "ignore" policy has the piece copied again until that works: without it the result would be wrong. */
  readonly insists?: boolean;
  /** Others are kept waiting: where the job would stand still, and after a failed piece, the loop gives back what it has and ends. */
  readonly hurried?: boolean;
  /** Wants `between` to run soon. */
  isDue?(): boolean;
  /** Now and then, while nothing is being copied. */
  between?(): Op<void>;
}

/** Before something is tried again that has just failed. */
export const RETRY_MS = 100;

/**
 * Copies piece after piece until `next` has no more, several at a time. The job stands still, with nothing under way, when it is
 * paused, when a piece has failed, and when `between` is due. A failed piece goes through the error policies; "stop" pauses the job.
 */
export function* copyLoop<P extends Piece>(job: Job, loop: CopyLoop<P>): Op<void> {
  yield* new Copying(job, loop).run();
}

class Copying<P extends Piece> {
  readonly #job: Job;
  readonly #loop: CopyLoop<P>;
  readonly #scratches: readonly Scratch[];
  readonly #planning = new Mutex();
  /** Pieces under way or over, in order, from the first that is not over. */
  readonly #order: { piece: P; over: boolean }[] = [];
  readonly #underWay = new Set<P>();
  #retry: P[] = [];
  #errors: { piece: P; error: unknown }[] = [];
  /** Pieces taken since the job last stood still. */
  #taken = 0;
  #exhausted = false;
  #halted = false;

  constructor(job: Job, loop: CopyLoop<P>) {
    this.#job = job;
    this.#loop = loop;
    this.#scratches = Array.from({ length: loop.workers }, () => new Scratch());
  }

  *run(): Op<void> {
    const { hurried = false } = this.#loop;
    for (;;) {
      if (hurried && (this.#job.mustStandStill || this.#retry.length > 0)) return this.#giveBack();
      yield* this.#job.pausePoint();
      this.#taken = 0;
      this.#exhausted = this.#halted = false;
      yield* parallel(this.#scratches.map((scratch) => this.#work(scratch)));
      if (this.#exhausted && this.#taken === 0) return;
      yield* this.#settleErrors();
      if (this.#loop.between !== undefined) yield* this.#loop.between();
    }
  }

  *#work(scratch: Scratch): Op<void> {
    const job = this.#job;
    try {
      for (let piece = yield* this.#take(); piece !== null; piece = yield* this.#take()) {
        // Alone: a limit that was set a moment ago does not hold up what is under way already.
        if (this.#underWay.size === 1 && this.#loop.hurried !== true) yield* job.payUp();
        try {
          yield* this.#loop.copy(piece, scratch);
          this.#isOver(piece);
        } catch (error) {
          this.#errors.push({ piece, error });
        }
        this.#underWay.delete(piece);
        job.rateLimit.charge(piece.length);
      }
    } catch (error) {
      this.#halted = true;
      throw error;
    }
  }

  get #mustStop(): boolean {
    const job = this.#job;
    if (this.#halted || this.#exhausted || this.#errors.length > 0 || job.mustStandStill || job.isForceCancelled) return true;
    // A limited job goes piece by piece, so that a small limit is kept over short times too.
    return this.#taken > 0 && (job.speed > 0 || this.#loop.isDue?.() === true);
  }

  *#take(): Op<P | null> {
    const release = yield* this.#planning.acquire();
    try {
      if (this.#mustStop) return null;
      const again = this.#retry.shift();
      const piece = again ?? (yield* this.#loop.next(this.#order.length === 0));
      if (piece === null) {
        this.#exhausted = true;
        return null;
      }
      if (again === undefined) {
        if (this.#overlaps(piece)) {
          // Copied twice at a time, the older copy could land last.
          this.#loop.putBack?.(piece);
          this.#halted = true;
          return null;
        }
        this.#order.push({ piece, over: false });
      }
      this.#underWay.add(piece);
      this.#taken++;
      return piece;
    } finally {
      release();
    }
  }

  #overlaps(piece: P): boolean {
    for (const other of this.#underWay)
      if (other.offset < piece.offset + piece.length && piece.offset < other.offset + other.length) return true;
    return false;
  }

  #giveBack(): void {
    for (const piece of this.#retry) this.#loop.putBack?.(piece);
  }

  #isOver(piece: P): void {
    const order = this.#order;
    order.find((each) => each.piece === piece)!.over = true;
    while (order[0]?.over === true) {
      const { piece: first } = order.shift()!;
      this.#loop.passed?.(first);
    }
  }

  *#settleErrors(): Op<void> {
    const errors = this.#errors;
    this.#errors = [];
    for (const { piece, error } of errors) {
      let outcome = handleError(this.#job, this.#loop.policies, error);
      if (outcome === "skip" && this.#loop.insists === true) {
        outcome = "again";
        if (this.#loop.hurried !== true) yield* this.#job.sleep(RETRY_MS);
      }
      this.#loop.failed?.(piece, outcome);
      if (outcome === "again") this.#retry.push(piece);
      else this.#isOver(piece);
    }
  }
}
