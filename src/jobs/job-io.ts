/** What all copying jobs share: error policies, a loop of workers with pause points and speed limit, progress. */
import { BlockError } from "../base/error.js";
import { actionFor, type ErrorAction, type ErrorPolicy } from "../block/error-policy.js";
import { parallel, type Op } from "../block/op.js";
import type { Job } from "./job.js";

export type OnError = ErrorPolicy | "auto";

export interface JobErrorEvents {
  /** BLOCK_JOB_ERROR */
  error(job: Job, operation: "read" | "write", action: ErrorAction): void;
}

export interface ErrorPolicies {
  read: OnError;
  write: OnError;
  events: JobErrorEvents;
}

/** An I/O error on one side of a copy, with the side. */
export class SideError extends Error {
  readonly side: "read" | "write";
  readonly inner: unknown;
  constructor(side: "read" | "write", inner: unknown) {
    super((inner as Error).message);
    this.side = side;
    this.inner = inner;
  }
}

export function* side<T>(which: "read" | "write", work: Op<T>): Op<T> {
  try {
    return yield* work;
  } catch (error) {
    throw new SideError(which, error);
  }
}

/** Applies the policy: returns when the piece may be tried again (after a stop was resumed) or skipped; throws to end the job. */
export function handleError(job: Job, policies: ErrorPolicies, error: unknown): "again" | "skip" {
  if (!(error instanceof SideError)) throw error;
  const inner = error.inner instanceof BlockError ? error.inner : new BlockError("ERR_IO", error.message, { cause: error.inner });
  const action = actionFor(error.side === "read" ? policies.read : policies.write, inner);
  policies.events.error(job, error.side, action);
  if (action === "report") throw inner;
  if (action === "ignore") return "skip";
  job.stopForError(inner.errno === "ENOSPC" ? "nospace" : "failed");
  return "again";
}

/** A piece of work of a copying job. */
export interface Piece {
  offset: number;
  length: number;
}

export interface CopyLoop<P extends Piece> {
  policies: ErrorPolicies;
  /** Pieces copied at a time. */
  batch: number;
  /**
   * The next piece, or null when there is none at present. Pieces of one batch do not overlap. `idle`: all pieces so far are over.
   */
  next(idle: boolean): Op<P | null>;
  copy(piece: P): Op<void>;
  /** The piece is over, copied or skipped, and so are all before it: for progress that tells how far a job has come. */
  passed?(piece: P): void;
  /** Takes a piece back that overlaps one of the batch under way (it was written to meanwhile). */
  putBack?(piece: P): void;
  /** A piece failed and is to be copied again later, or was skipped by an "ignore" policy. */
  failed?(piece: P, outcome: "again" | "skip"): void;
  /** An "ignore" policy has the piece copied again until that works: without it the result would be wrong. */
  readonly insists?: boolean;
  /** Between two batches: nothing is being copied. */
  between?(): Op<void>;
  /** Bytes that count for the speed limit. */
  cost?(piece: P): number;
}

/** Before something is tried again that has just failed. */
const RETRY_MS = 100;

/**
 * Copies piece after piece until `next` has no more: a batch at a time, with a pause point and the speed limit between
 * batches. A failed piece goes through the error policies; "stop" pauses the job at the next pause point.
 */
export function* copyLoop<P extends Piece>(job: Job, loop: CopyLoop<P>): Op<void> {
  let retry: P[] = [];
  /** Pieces under way or over, in order, from the first that is not over. */
  const order: { piece: P; over: boolean }[] = [];
  for (;;) {
    yield* job.pausePoint();
    const pieces = retry;
    retry = [];
    while (pieces.length < loop.batch) {
      const piece = yield* loop.next(order.length === 0);
      if (piece === null) break;
      if (pieces.some((other) => other.offset < piece.offset + piece.length && piece.offset < other.offset + other.length)) {
        // Copied twice at a time, the older copy could land last.
        loop.putBack?.(piece);
        break;
      }
      pieces.push(piece);
      order.push({ piece, over: false });
      // A limited job goes piece by piece, so that a small limit is kept over short times too.
      if (job.speed > 0) break;
    }
    if (pieces.length === 0) return;
    yield* job.payUp();
    const errors: { piece: P; error: unknown }[] = [];
    yield* parallel(
      pieces.map(function* (piece): Op<void> {
        try {
          yield* loop.copy(piece);
        } catch (error) {
          errors.push({ piece, error });
        }
      }),
    );
    const failed = new Set(errors.map(({ piece }) => piece));
    for (const each of order) each.over ||= pieces.includes(each.piece) && !failed.has(each.piece);
    const tell = (): void => {
      while (order[0]?.over === true) {
        const { piece } = order.shift()!;
        loop.passed?.(piece);
      }
    };
    tell();
    for (const { piece, error } of errors) {
      let outcome = handleError(job, loop.policies, error);
      if (outcome === "skip" && loop.insists === true) {
        outcome = "again";
        yield* job.sleep(RETRY_MS);
      }
      loop.failed?.(piece, outcome);
      if (outcome === "again") retry.push(piece);
      else order.find((each) => each.piece === piece)!.over = true;
    }
    tell();
    if (loop.between !== undefined) yield* loop.between();
    for (const piece of pieces) job.rateLimit.charge(loop.cost?.(piece) ?? piece.length);
  }
}
