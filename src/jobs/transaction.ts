/** Jobs that succeed together or not at all (`completion-mode: grouped`). */
import { WaitQueue, WaitRequest, type Op } from "../block/op.js";
import type { Job } from "./job.js";

export class JobTransaction {
  readonly jobs: Job[] = [];
  failed = false;
  #waiting = 0;
  readonly #queue = new WaitQueue();

  add(job: Job): void {
    this.jobs.push(job);
  }

  /** One job must be finalized by hand, so all are. */
  get needsFinalize(): boolean {
    return this.jobs.some((job) => !job.autoFinalize);
  }

  /** One job failed: the others are cancelled. */
  fail(job: Job): void {
    if (this.failed) return;
    this.failed = true;
    for (const other of this.jobs) {
      if (other !== job && !other.isOver && other.status !== "aborting") other.cancel(true);
    }
    this.#queue.wakeAll();
  }

  /** Waits until every other job has come this far too, or one has failed. */
  *waitForOthers(_job: Job): Op<void> {
    this.#waiting++;
    if (this.#waiting >= this.jobs.length) this.#queue.wakeAll();
    while (!this.failed && this.#waiting < this.jobs.length) yield new WaitRequest(this.#queue);
  }
}
