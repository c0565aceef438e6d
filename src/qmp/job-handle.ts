/** A job as an object of JavaScript: promises for what it reaches, methods for the verbs. */
import { BlockError } from "../base/error.js";
import { JOB_STATES, type Job, type JobStatus, type JobType } from "../jobs/job.js";

export class JobHandle {
  readonly #job: Job;
  /** The dialect does not mind a second pause, or a resume of a job that runs. */
  readonly #lenient: boolean;

  constructor(job: Job, lenient: boolean) {
    this.#job = job;
    this.#lenient = lenient;
  }

  get id(): string {
    return this.#job.id;
  }
  get type(): JobType {
    return this.#job.type;
  }
  get status(): JobStatus {
    return this.#job.status;
  }
  /** Bytes done, and bytes to do as far as is known; a mirror's total grows with what guests write. */
  get progress(): { readonly current: number; readonly total: number } {
    return { ...this.#job.progress };
  }
  /** Why it failed, once it has. */
  get error(): BlockError | null {
    return this.#job.error;
  }
  get isPaused(): boolean {
    return this.#job.isPaused;
  }

  /** A mirror (or an active commit) has caught up and waits for `complete()`. Fails when the job ends before. */
  get ready(): Promise<void> {
    return this.#reaches("ready");
  }
  /** The job is done. Fails with its error when it failed; with ERR_ABORTED when it was cancelled. */
  get completed(): Promise<void> {
    return this.#reaches("concluded");
  }
  /** All work is done and `finalize()` is waited for (`auto-finalize: false`). */
  get pending(): Promise<void> {
    return this.#reaches("pending");
  }

  #reaches(wanted: "ready" | "pending" | "concluded"): Promise<void> {
    const job = this.#job;
    const reached = new Promise<void>((resolve, reject) => {
      const look = (status: JobStatus): boolean => {
        if (status === "concluded" || status === "null") {
          if (job.error !== null) reject(job.error);
          else if (wanted === "ready" && !job.wasReady)
            reject(new BlockError("ERR_INVALID_ARGUMENT", `Job '${job.id}' is over and was never ready`));
          else resolve();
          return true;
        }
        const there = wanted === "ready" ? job.wasReady && status !== "aborting" : status === wanted;
        if (there) resolve();
        return there;
      };
      if (look(job.status)) return;
      const listener = (status: JobStatus): void => {
        if (look(status)) job.watchers.delete(listener);
      };
      job.watchers.add(listener);
    });
    // Whoever does not wait for it is not to be bothered by its failure.
    reached.catch(() => {});
    return reached;
  }

  /** Calls `listener` at every change of state; the result ends that. */
  onStatus(listener: (status: JobStatus) => void): () => void {
    this.#job.watchers.add(listener);
    return () => void this.#job.watchers.delete(listener);
  }

  pause(): void {
    if (!(this.#lenient && this.#job.isUserPaused)) this.#job.pause();
  }
  resume(): void {
    if (!(this.#lenient && !this.#job.isUserPaused)) this.#job.resume();
  }
  /** @param bytesPerSecond 0: no limit */
  setSpeed(bytesPerSecond: number): void {
    this.#job.setSpeed(bytesPerSecond);
  }
  /**
   * A mirror that is ready switches over, a commit of the active layer ends; waits until the job is over.
   * @throws BlockError when it is not ready, or why it failed
   */
  complete(): Promise<void> {
    this.#job.complete();
    return this.completed;
  }
  /** Ends the job. A mirror that is ready ends well without `force`: its target stays a copy. Waits until the job is over. */
  async cancel(options: { force?: boolean } = {}): Promise<void> {
    const job = this.#job;
    if (!job.isOver) job.cancel(options.force ?? false);
    await this.completed.catch((error: unknown) => {
      if (!(error instanceof BlockError) || error.code !== "ERR_ABORTED") throw error;
    });
  }
  finalize(): Promise<void> {
    this.#job.finalize();
    return this.completed;
  }
  /** Takes a job that is over off the list (`auto-dismiss: false`). */
  dismiss(): void {
    this.#job.dismiss();
  }

  toJSON(): { id: string; type: JobType; status: JobStatus } {
    const { id, type, status } = this;
    return { id, type, status };
  }
}

export { JOB_STATES, type JobStatus, type JobType };
