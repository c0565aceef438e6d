/** The jobs of a BlockCore: names, start, events, what they keep others from doing. */
import { BlockError, prefixError } from "../base/error.js";
import { checkPermissions } from "../block/permissions.js";
import { ForeignRequest, Mutex, runAsync, type Op } from "../block/op.js";
import type { Node } from "../block/node.js";
import type { JobClaim } from "../jobs/claims.js";
import { insertJobFilter, removeJobFilter, type JobFilterOptions } from "../jobs/filter.js";
import { JobJournal, type JournalOptions } from "../jobs/journal.js";
import { Job, type JobDriver, type JobEvents, type JobStatus, type JobType } from "../jobs/job.js";
import type { ErrorPolicies, OnError } from "../jobs/job-io.js";
import type { JobTransaction } from "../jobs/transaction.js";
import { isWellFormedId } from "../qapi/options.js";
import type { BlockCore } from "./block-core.js";
import { dialectError } from "./profile.js";

export interface NewJob {
  id: string;
  driver: JobDriver;
  speed?: number;
  autoFinalize?: boolean | undefined;
  autoDismiss?: boolean | undefined;
  transaction?: JobTransaction | undefined;
  /** Nodes the job works on: it holds them, and others must leave them alone. */
  nodes: readonly Node[];
  /** The job's own node above what it works on, taken out when it ends. The caller's reference passes to the job. */
  filter?: Node;
  /** What it does with nodes and lets others do. @param filter the job's own node */
  claims?: (filter: Node) => readonly JobClaim[];
  /** Why there will be no job, found out so late that it is there for a moment. */
  refusal?: BlockError;
}

const BLOCK_JOBS: ReadonlySet<string> = new Set(["commit", "stream", "mirror", "backup"]);
export const isBlockJob = (job: Job): boolean => BLOCK_JOBS.has(job.type);

/**
 * Says of nodes what a job does with them; the result takes that back.
 * @throws BlockError when others do what it does not bear, or do not bear what it does
 */
function makeClaims({ id, type }: Job, claims: readonly JobClaim[]): () => void {
  const made = claims.map(({ node, name, needed, shared }) => ({
    node,
    claim: {
      name,
      permissions: { needed, shared },
      description: name === "root" ? "an unnamed block device" : `${type} job '${id}'`,
    },
  }));
  const end = (): void => {
    for (const { node, claim } of made) node.claims.delete(claim);
  };
  for (const { node, claim } of made) node.claims.add(claim);
  try {
    for (const { node } of made) checkPermissions(node);
  } catch (error) {
    end();
    throw error;
  }
  return end;
}

/** Lets everything else that can go on do so. */
function* anotherTurn(what: string): Op<void> {
  yield new ForeignRequest(
    what,
    () => undefined,
    () => new Promise<void>((resolve) => setTimeout(resolve, 0)),
  );
}

export class JobList {
  /** Journals for jobs that are about to start, by ID. */
  readonly journals: Map<string, JournalOptions> = new Map();
  readonly #core: BlockCore;
  readonly #jobs = new Map<string, Job>();
  readonly #ending = new Mutex();
  readonly #nodes = new Map<Job, readonly Node[]>();
  readonly #claims = new Map<Job, readonly JobClaim[]>();
  readonly #running = new Set<Promise<void>>();

  constructor(core: BlockCore) {
    this.#core = core;
  }

  /** The newest first, as QEMU lists them. */
  all(): Job[] {
    return [...this.#jobs.values()].reverse();
  }
  *nodes(): Iterable<Node> {
    for (const nodes of this.#nodes.values()) yield* nodes;
  }

  /** What a job does with nodes at present. */
  claimsOf(job: Job): readonly JobClaim[] {
    return this.#claims.get(job) ?? [];
  }

  /** Those that work on a node. */
  on(node: Node): Job[] {
    return this.all().filter((job) => this.#nodes.get(job)?.includes(node) === true);
  }

  find(id: string): Job {
    const job = this.#jobs.get(id);
    if (job === undefined) throw new BlockError("ERR_NOT_FOUND", "Job not found", { qmpClass: "GenericError" });
    return job;
  }
  findBlockJob(id: string): Job {
    const job = this.#jobs.get(id);
    if (job === undefined || !isBlockJob(job))
      throw new BlockError("ERR_NOT_FOUND", `Block job '${id}' not found`, { qmpClass: "DeviceNotActive" });
    return job;
  }

  /** The ID a job gets: as given, or the name of the device. */
  idFor(given: string | undefined, device: string): string {
    const id = given ?? device;
    if (!isWellFormedId(id)) throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid job ID '${id}'`);
    if (this.#jobs.has(id)) throw new BlockError("ERR_EXISTS", `Job ID '${id}' already in use`);
    return id;
  }

  /** The journal that the program has given for a job, opened; null when there is none. */
  *openJournal(id: string, job: { type: JobType; size: number; granularity: number }): Op<JobJournal | null> {
    const given = this.journals.get(id);
    return given === undefined ? null : yield* JobJournal.open(given, job);
  }

  policies(read: OnError | undefined, write: OnError | undefined): ErrorPolicies {
    return {
      read: read ?? "report",
      write: write ?? "report",
      events: {
        error: (job, operation, action) => this.#core.emit("BLOCK_JOB_ERROR", { device: job.id, operation, action }),
      },
    };
  }

  /** Jobs that end at the same time change the graph one after the other: what one looks at another may take away. */
  *#alone(work: Op<void>): Op<void> {
    const release = yield* this.#ending.acquire();
    try {
      yield* work;
    } finally {
      release();
    }
  }

  create(options: NewJob): Job {
    const { driver } = options;
    const blocker = Symbol(options.id);
    // oxlint-disable-next-line prefer-const
    let job: Job;
    let endClaims = (): void => {};
    const nodes = options.filter === undefined ? options.nodes : [options.filter, ...options.nodes];
    const release = function* (list: JobList): Op<void> {
      list.#nodes.delete(job);
      endClaims();
      for (const node of nodes) node.blockers.delete(blocker);
      if (options.filter !== undefined) yield* removeJobFilter(options.filter);
      for (const node of nodes) yield* node.unref();
    };
    // oxlint-disable-next-line typescript/no-this-alias
    const list = this;
    function* clean(ended: Job): Op<void> {
      try {
        if (driver.clean !== undefined) yield* driver.clean(ended);
      } finally {
        yield* release(list);
      }
    }
    const wrapped: JobDriver = {
      type: driver.type,
      ...(driver.softCancel === undefined ? {} : { softCancel: driver.softCancel }),
      *run(running) {
        // The command that starts a job answers before the job does anything.
        yield* anotherTurn("Starting a job");
        yield* running.pausePoint();
        try {
          yield* driver.run(running);
        } finally {
          // So does one that ends a mirror.
          if (driver.softCancel === true) yield* anotherTurn("Ending a job");
        }
      },
      *prepare(ending) {
        // What takes the place of another node is used by others from then on.
        endClaims();
        if (driver.prepare !== undefined) yield* list.#alone(driver.prepare(ending));
      },
      ...(driver.commit === undefined ? {} : { commit: (j: Job) => driver.commit!(j) }),
      ...(driver.abort === undefined ? {} : { abort: (j: Job) => driver.abort!(j) }),
      ...(driver.complete === undefined ? {} : { complete: (j: Job) => driver.complete!(j) }),
      clean: (ended) => list.#alone(clean(ended)),
    };
    job = new Job({
      id: options.id,
      driver: wrapped,
      speed: Math.max(0, options.speed ?? 0),
      ...(options.autoFinalize === undefined ? {} : { autoFinalize: options.autoFinalize }),
      ...(options.autoDismiss === undefined ? {} : { autoDismiss: options.autoDismiss }),
      ...(options.transaction === undefined ? {} : { transaction: options.transaction }),
      events: this.#events(),
      now: this.#core.environment.now,
    });
    this.#jobs.set(job.id, job);
    this.#nodes.set(job, nodes);
    for (const node of nodes) {
      node.ref();
      // As in QEMU the filter of a commit is nobody's.
      if (node !== options.filter || node.driver.name !== "commit_top")
        node.blockers.set(blocker, `block device is in use by block job: ${driver.type}`);
    }
    let refusal: unknown =
      (options.speed ?? 0) < 0
        ? dialectError(this.#core.profile, "bad-speed", "Parameter 'speed' expects a non-negative value")
        : options.refusal;
    if (refusal === undefined && options.filter !== undefined) {
      try {
        const claims = options.claims?.(options.filter) ?? [];
        const end = makeClaims(job, claims);
        this.#claims.set(job, claims);
        endClaims = () => {
          end();
          list.#claims.delete(job);
        };
      } catch (error) {
        refusal = error;
      }
    }
    if (refusal !== undefined) {
      // As in QEMU, the job has been there for a moment.
      list.#nodes.delete(job);
      for (const node of nodes) {
        node.blockers.delete(blocker);
        node.references--;
      }
      job.transition("null");
      this.#jobs.delete(job.id);
      throw refusal;
    }
    return job;
  }

  /** A job with a node of its own above what it works on. @param prefix of errors about the name of the node */
  *createWithFilter(filter: JobFilterOptions, options: NewJob, prefix = ""): Op<Job> {
    try {
      return yield* this.#createAbove(filter, options, prefix);
    } catch (error) {
      options.driver.forget?.();
      throw error;
    }
  }

  *#createAbove(filter: JobFilterOptions, options: NewJob, prefix: string): Op<Job> {
    const { nodeName } = filter;
    try {
      if (nodeName !== undefined) this.#core.nodes.checkNames({ "node-name": nodeName }, (name) => this.#core.devices.has(name));
    } catch (error) {
      const refusal = prefixError(prefix, error);
      // A commit finds out when its job is there.
      if (filter.driver === "commit_top") this.create({ ...options, refusal });
      throw refusal;
    }
    const node = yield* insertJobFilter(filter);
    try {
      if (filter.driver === "copy-before-write") checkPermissions(node);
      return this.create({ ...options, filter: node });
    } catch (error) {
      yield* removeJobFilter(node);
      throw error;
    }
  }

  start(job: Job): void {
    const life = runAsync(job.run()).catch((error: unknown) =>
      this.#core.environment.warn(`job '${job.id}': ${(error as Error).message}`),
    );
    this.#running.add(life);
    void life.then(() => this.#running.delete(life));
  }

  #events(): JobEvents {
    const core = this.#core;
    const modern = core.profile === "qemu-7.2";
    const progress = (job: Job): { device: string; len: number; offset: number; speed: number; type: string } => ({
      device: job.id,
      len: job.progress.total,
      offset: job.progress.current,
      speed: job.speed,
      type: job.type,
    });
    return {
      statusChanged: (job: Job, status: JobStatus) => {
        if (modern) core.emit("JOB_STATUS_CHANGE", { status, id: job.id });
      },
      ready: (job) => {
        if (isBlockJob(job)) core.emit("BLOCK_JOB_READY", progress(job));
      },
      pending: (job) => {
        if (modern && isBlockJob(job)) core.emit("BLOCK_JOB_PENDING", { type: job.type, id: job.id });
      },
      finished: (job, cancelled, error) => {
        if (!isBlockJob(job)) return;
        if (job.isForceCancelled || (cancelled && !modern)) core.emit("BLOCK_JOB_CANCELLED", progress(job));
        else core.emit("BLOCK_JOB_COMPLETED", { ...progress(job), ...(error === null ? {} : { error: error.message }) });
      },
      dismissed: (job) => void this.#jobs.delete(job.id),
    };
  }

  /** Ends all jobs: cancelled by force, waited for. */
  async stopAll(): Promise<void> {
    for (const job of this.all()) {
      job.isClosing = true;
      try {
        if (job.status === "concluded") job.dismiss();
        else if (job.status !== "aborting") job.cancel(true);
      } catch {
        // it is about to end by itself
      }
    }
    await Promise.all(this.#running);
    for (const job of this.all()) if (job.status === "concluded") job.dismiss();
  }
}
