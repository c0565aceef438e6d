/**
 * The third driver of Ops: many at once, in an order chosen from a seed.
 *
 * `runSync` performs requests as they come and `runAsync` leaves the order to the platform. This one holds every request that an
 * Op yields and performs one of all pending ones, chosen by the seed, until all Ops have ended. The same seed gives the same order,
 * so that an interleaving that breaks something can be run again. Works on storages and foreign work with a synchronous face.
 */
import {
  ForeignRequest,
  ParallelRequest,
  settle,
  StorageRequest,
  WaitRequest,
  type Op,
  type Outcome,
  type Request,
} from "../../src/block/op.js";
import type { Random } from "./random.js";

interface Task {
  readonly op: Op<unknown>;
  readonly name: string;
  /** What it waits for: a request to perform, children, or a queue; null when it can go on. */
  pending: Request | null;
  /** Resumes the one who waits for the task. */
  readonly finish: (outcome: Outcome) => void;
  ended: boolean;
  steps: number;
}

export interface SchedulerOptions {
  /** Steps of all tasks together before a livelock is assumed. */
  maxSteps?: number;
  /** Called before each request is performed: a test may fail it by throwing. */
  before?: (request: Request, task: string) => void;
}

/** No Op can go on, yet some have not ended. */
export class DeadlockError extends Error {}

export class Scheduler {
  readonly #random: Random;
  readonly #options: SchedulerOptions;
  /** Tasks whose next request can be performed now. */
  readonly #ready: Task[] = [];
  readonly #waiting = new Set<Task>();
  #steps = 0;
  #live = 0;

  constructor(random: Random, options: SchedulerOptions = {}) {
    this.#random = random;
    this.#options = options;
  }

  /** Adds an Op; it makes its first step when `run` gets to it. `done` hears how it ended. */
  add(name: string, op: Op<unknown>, done: (outcome: Outcome) => void): void {
    this.#live++;
    this.#ready.push({
      op,
      name,
      pending: null,
      ended: false,
      steps: 0,
      finish: (outcome) => {
        this.#live--;
        done(outcome);
      },
    });
  }

  /** Runs until every Op has ended. Throws DeadlockError when none can go on. */
  run(): void {
    while (this.#ready.length > 0) {
      if (++this.#steps > (this.#options.maxSteps ?? 5_000_000))
        throw new DeadlockError(`no end after ${this.#steps - 1} steps\n${this.#report()}`);
      const index = this.#random.int(this.#ready.length);
      const task = this.#ready[index]!;
      this.#ready[index] = this.#ready.at(-1)!;
      this.#ready.pop();
      this.#step(task);
    }
    if (this.#live > 0) throw new DeadlockError(`${this.#live} operations wait for each other\n${this.#report()}`);
  }

  #report(): string {
    return [...this.#waiting, ...this.#ready]
      .map((task) => `  ${task.name} after ${task.steps} steps: ${describe(task.pending)}`)
      .join("\n");
  }

  /** Performs the pending request of a task and lets it run to its next one. */
  #step(task: Task): void {
    task.steps++;
    const request = task.pending;
    task.pending = null;
    let outcome: Outcome = { ok: true, value: undefined };
    if (request !== null) {
      try {
        this.#options.before?.(request, task.name);
        outcome = { ok: true, value: perform(request) };
      } catch (error) {
        outcome = { ok: false, error };
      }
    }
    this.#resume(task, outcome);
  }

  #resume(task: Task, outcome: Outcome): void {
    let step: IteratorResult<Request, unknown>;
    try {
      step = outcome.ok ? task.op.next(outcome.value) : task.op.throw(outcome.error);
    } catch (error) {
      task.ended = true;
      task.finish({ ok: false, error });
      return;
    }
    if (step.done === true) {
      task.ended = true;
      task.finish({ ok: true, value: step.value });
      return;
    }
    const request = step.value;
    task.pending = request;
    if (request instanceof ParallelRequest) this.#fork(task, request);
    else if (request instanceof WaitRequest) this.#wait(task, request);
    else this.#ready.push(task);
  }

  #fork(parent: Task, request: ParallelRequest): void {
    const outcomes: Outcome[] = new Array<Outcome>(request.ops.length);
    let left = request.ops.length;
    const end = (): void => {
      this.#waiting.delete(parent);
      parent.pending = null;
      let outcome: Outcome;
      try {
        outcome = { ok: true, value: settle(outcomes) };
      } catch (error) {
        outcome = { ok: false, error };
      }
      this.#resume(parent, outcome);
    };
    this.#waiting.add(parent);
    if (left === 0) {
      end();
      return;
    }
    request.ops.forEach((op, i) => {
      this.add(`${parent.name}.${i}`, op, (outcome) => {
        outcomes[i] = outcome;
        if (--left === 0) end();
      });
    });
  }

  #wait(task: Task, request: WaitRequest): void {
    this.#waiting.add(task);
    request.queue.add(() => {
      this.#waiting.delete(task);
      // Woken tasks look again when their turn comes, as they do behind a promise.
      task.pending = null;
      this.#ready.push(task);
    });
  }
}

function perform(request: Request): unknown {
  if (request instanceof ForeignRequest && !request.isSync)
    throw new Error(`the scheduler cannot perform '${request.what}': it has no synchronous form`);
  return request.sync();
}

function describe(request: Request | null): string {
  if (request === null) return "about to run";
  if (request instanceof StorageRequest)
    return `${request.verb} of '${request.storage.name}' at ${request.offset}, ${request.length} bytes`;
  if (request instanceof ForeignRequest) return `foreign work '${request.what}'`;
  if (request instanceof ParallelRequest) return `${request.ops.length} parallel operations`;
  if (request instanceof WaitRequest) return "waiting in a queue";
  return request.constructor.name;
}

/** Runs Ops together in a seeded order; their outcomes in the order given. */
export function runInterleaved(random: Random, ops: readonly Op<unknown>[], options: SchedulerOptions = {}): Outcome[] {
  const scheduler = new Scheduler(random, options);
  const outcomes: Outcome[] = new Array<Outcome>(ops.length);
  ops.forEach((op, i) => scheduler.add(`op ${i}`, op, (outcome) => void (outcomes[i] = outcome)));
  scheduler.run();
  return outcomes;
}
