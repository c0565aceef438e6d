/** Error policies of copying jobs: which side failed, and what is done about it. */
import { BlockError } from "../base/error.js";
import { actionFor, type ErrorAction, type ErrorPolicy } from "../block/error-policy.js";
import type { Op } from "../block/op.js";
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
