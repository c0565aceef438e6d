/**
 * One code path, sync and async.
 *
 * Everything between the API and the storages is a generator, `Op<T>`, that yields `Request`s and is resumed with their
 * results. `runSync` performs every request on the spot, `runAsync` awaits those that have an asynchronous face, and the
 * tests have a third driver that decides the interleaving from a seed. Code in between never knows which one it is.
 *
 *   const n = yield* read(storage, buffer, 0);
 *
 * A request fails by throwing at its `yield`; `finally` blocks run as in any generator.
 */
import { BlockError } from "../base/error.js";
import type { Storage, StorageExtent, WriteZeroesFlags } from "../storage/storage.js";

export type Op<T> = Generator<Request, T, unknown>;

/** What an Op waits for. A request is performed exactly once, through `sync` or through `async`. */
export abstract class Request {
  /** The result comes later: the driver must call `async` and wait. */
  abstract readonly isAsync: boolean;
  abstract sync(): unknown;
  abstract async(): Promise<unknown>;
}

/** Verbs of a storage that a request can name. */
type Verb =
  | "read"
  | "write"
  | "flush"
  | "size"
  | "truncate"
  | "writeZeroes"
  | "discard"
  | "allocate"
  | "extents"
  | "allocatedSize"
  | "close";

/** One call on one storage. */
export class StorageRequest extends Request {
  readonly storage: Storage;
  readonly verb: Verb;
  readonly bytes: Uint8Array | undefined;
  readonly offset: number;
  readonly length: number;
  readonly flags: WriteZeroesFlags | undefined;

  constructor(storage: Storage, verb: Verb, offset = 0, length = 0, bytes?: Uint8Array, flags?: WriteZeroesFlags) {
    super();
    this.storage = storage;
    this.verb = verb;
    this.offset = offset;
    this.length = length;
    this.bytes = bytes;
    this.flags = flags;
  }

  get isAsync(): boolean {
    const { sync, async, awaitReadsFrom } = this.storage;
    if (async === null) return false;
    return sync === null || awaitReadsFrom === undefined || (this.verb === "read" && this.length >= awaitReadsFrom);
  }

  sync(): unknown {
    const face = this.storage.sync;
    if (face === null) {
      throw new BlockError(
        "ERR_UNSUPPORTED",
        `'${this.storage.name}' has no synchronous access; use the asynchronous functions`,
        {
          node: this.storage.name,
          operation: this.verb,
        },
      );
    }
    return this.#perform(face);
  }

  async(): Promise<unknown> {
    return this.#perform(this.storage.async!) as Promise<unknown>;
  }

  #perform(face: NonNullable<Storage["sync"]> | NonNullable<Storage["async"]>): unknown {
    switch (this.verb) {
      case "read":
        return face.read(this.bytes!, this.offset);
      case "write":
        return face.write(this.bytes!, this.offset);
      case "flush":
        return face.flush();
      case "size":
        return face.size();
      case "truncate":
        return face.truncate(this.offset);
      case "writeZeroes":
        return face.writeZeroes!(this.offset, this.length, this.flags ?? {});
      case "discard":
        return face.discard!(this.offset, this.length);
      case "allocate":
        return face.allocate!(this.offset, this.length);
      case "extents":
        return face.extents!(this.offset, this.length, 1);
      case "allocatedSize":
        return face.allocatedSize!();
      case "close":
        return face.close();
    }
  }
}

/** Work outside the block layer (a codec, a timer, a callback of the user): synchronous, asynchronous, or both. */
export class ForeignRequest<T> extends Request {
  readonly what: string;
  readonly #sync: (() => T) | null;
  readonly #async: (() => Promise<T>) | null;

  constructor(what: string, sync: (() => T) | null, async: (() => Promise<T>) | null) {
    super();
    this.what = what;
    this.#sync = sync;
    this.#async = async;
  }
  get isAsync(): boolean {
    return this.#async !== null;
  }
  /** Can be completed on the spot. */
  get isSync(): boolean {
    return this.#sync !== null;
  }
  sync(): T {
    if (this.#sync === null) throw new BlockError("ERR_UNSUPPORTED", `${this.what} is only possible asynchronously`);
    return this.#sync();
  }
  async(): Promise<T> {
    return this.#async!();
  }
}

/** A set of Ops that may run at the same time; resumes with their results in order, or throws the first failure after all have ended. */
export class ParallelRequest extends Request {
  readonly ops: readonly Op<unknown>[];
  constructor(ops: readonly Op<unknown>[]) {
    super();
    this.ops = ops;
  }
  get isAsync(): boolean {
    return true;
  }
  sync(): unknown[] {
    return settle(this.ops.map((op) => capture(() => runSync(op))));
  }
  async async(): Promise<unknown[]> {
    return settle(await Promise.all(this.ops.map((op) => runAsync(op).then(fulfilled, rejected))));
  }
}

export type Outcome = { ok: true; value: unknown } | { ok: false; error: unknown };
const fulfilled = (value: unknown): Outcome => ({ ok: true, value });
const rejected = (error: unknown): Outcome => ({ ok: false, error });
function capture(work: () => unknown): Outcome {
  try {
    return fulfilled(work());
  } catch (error) {
    return rejected(error);
  }
}
/** Results of finished Ops, or the first failure among them. */
export function settle(outcomes: readonly Outcome[]): unknown[] {
  return outcomes.map((outcome) => {
    if (!outcome.ok) throw outcome.error;
    return outcome.value;
  });
}

/** Where Ops wait for other Ops. Wakers run in the order of arrival. */
export class WaitQueue {
  readonly #waiting: (() => void)[] = [];
  get length(): number {
    return this.#waiting.length;
  }
  add(wake: () => void): void {
    this.#waiting.push(wake);
  }
  wakeOne(): void {
    this.#waiting.shift()?.();
  }
  wakeAll(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

export class WaitRequest extends Request {
  readonly queue: WaitQueue;
  constructor(queue: WaitQueue) {
    super();
    this.queue = queue;
  }
  get isAsync(): boolean {
    return true;
  }
  sync(): never {
    throw new BlockError(
      "ERR_BUSY",
      "A synchronous call cannot wait for an asynchronous request that is still in flight on the same image",
    );
  }
  async(): Promise<void> {
    return new Promise((resolve) => this.queue.add(resolve));
  }
}

/** A wait that also ends by itself after some time. */
export class TimedWaitRequest extends Request {
  readonly queue: WaitQueue;
  readonly milliseconds: number;
  constructor(queue: WaitQueue, milliseconds: number) {
    super();
    this.queue = queue;
    this.milliseconds = milliseconds;
  }
  get isAsync(): boolean {
    return true;
  }
  /** Where there is no time to pass (synchronous calls, seeded schedules) it has passed. */
  sync(): void {}
  async(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.milliseconds);
      this.queue.add(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** A wait for one's turn. Where there is no time to pass (synchronous calls, seeded schedules) it has come. */
export class TurnRequest extends Request {
  readonly queue: WaitQueue;
  constructor(queue: WaitQueue) {
    super();
    this.queue = queue;
  }
  get isAsync(): boolean {
    return true;
  }
  sync(): void {}
  async(): Promise<void> {
    return new Promise((resolve) => this.queue.add(resolve));
  }
}

/** Mutual exclusion between Ops. `const done = yield* mutex.acquire(); try { … } finally { done(); }` */
export class Mutex {
  #held = false;
  /** Who waits, in the order in which they came. */
  readonly #turns: { granted: boolean }[] = [];
  readonly #queue = new WaitQueue();
  get held(): boolean {
    return this.#held;
  }
  *acquire(): Op<() => void> {
    if (this.#held) {
      const turn = { granted: false };
      this.#turns.push(turn);
      while (!turn.granted) yield new WaitRequest(this.#queue);
    }
    this.#held = true;
    return () => {
      // Handed on, so that one who comes again at once does not pass those who wait.
      const next = this.#turns.shift();
      if (next === undefined) this.#held = false;
      else {
        next.granted = true;
        this.#queue.wakeAll();
      }
    };
  }
}

/** Performs an Op on the spot. Throws ERR_UNSUPPORTED where it meets something that only works asynchronously. */
export function runSync<T>(op: Op<T>): T {
  let step = op.next();
  while (!step.done) {
    let value: unknown;
    try {
      value = step.value.sync();
    } catch (error) {
      step = op.throw(error);
      continue;
    }
    step = op.next(value);
  }
  return step.value;
}

/** How long an Op over purely synchronous storages may hold the event loop before others get a turn, in ms. */
const TURN_MS = 12;
/** Lets the event loop serve others. */
export const nextTurn: () => Promise<void> = /* @__PURE__ */ (() => {
  const immediate = (globalThis as { setImmediate?: (callback: () => void) => unknown }).setImmediate;
  return immediate === undefined
    ? () => new Promise<void>((resolve) => setTimeout(resolve, 0))
    : () => new Promise<void>((resolve) => immediate(resolve));
})();

/**
 * Performs an Op on the spot as far as that goes: reads and writes of up to `most` bytes through the synchronous face where there
 * is one, although there is another. The result, or a promise of it from the first request on that has to be waited for.
 */
export function runQuickly<T>(op: Op<T>, most: number): T | Promise<T> {
  let step = op.next();
  while (!step.done) {
    const request = step.value;
    const isQuick =
      !request.isAsync ||
      (request instanceof StorageRequest &&
        request.storage.sync !== null &&
        (request.verb === "extents" || (request.length <= most && (request.verb === "read" || request.verb === "write"))));
    if (!isQuick) return finish(op, step);
    let value: unknown;
    try {
      value = request.sync();
    } catch (error) {
      step = op.throw(error);
      continue;
    }
    step = op.next(value);
  }
  return step.value;
}

/** Performs an Op, awaiting requests that have an asynchronous face. */
export function runAsync<T>(op: Op<T>): Promise<T> {
  return finish(op, null);
}

/** Goes on after `reached`, or from the start. */
async function finish<T>(op: Op<T>, reached: IteratorResult<Request, T> | null): Promise<T> {
  let step = reached ?? op.next();
  let turnEnds = 0;
  let onTheSpot = 0;
  while (!step.done) {
    const request = step.value;
    let value: unknown;
    try {
      if (request.isAsync) {
        value = await request.async();
        turnEnds = 0;
      } else {
        value = request.sync();
        if ((++onTheSpot & 15) === 0) {
          // Not `performance`: loading it takes Node.js longer than many an operation.
          const now = Date.now();
          if (turnEnds === 0) turnEnds = now + TURN_MS;
          else if (now > turnEnds) {
            await nextTurn();
            turnEnds = 0;
          }
        }
      }
    } catch (error) {
      step = op.throw(error);
      continue;
    }
    step = op.next(value);
  }
  return step.value;
}

/** An Op that only computes. */
// eslint-disable-next-line require-yield
export function* done<T>(value: T): Op<T> {
  return value;
}

export function* foreign<T>(what: string, sync: (() => T) | null, async: (() => Promise<T>) | null): Op<T> {
  return (yield new ForeignRequest(what, sync, async)) as T;
}

/** Waits. Only possible where Ops run asynchronously. */
export function* sleep(milliseconds: number): Op<void> {
  yield new ForeignRequest(
    "Waiting for time to pass",
    null,
    () => new Promise<void>((resolve) => setTimeout(resolve, milliseconds)),
  );
}

export function* parallel<T>(ops: readonly Op<T>[]): Op<T[]> {
  if (ops.length === 1) return [yield* ops[0]!];
  if (ops.length === 0) return [];
  return (yield new ParallelRequest(ops)) as T[];
}

/** Runs `work(0..count-1)` with at most `limit` under way at a time; stops starting new ones after a failure. */
export function* forEachParallel(limit: number, next: () => Op<void> | null): Op<void> {
  let failed = false;
  function* worker(): Op<void> {
    for (;;) {
      if (failed) return;
      const op = next();
      if (op === null) return;
      try {
        yield* op;
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  }
  const workers: Op<void>[] = [];
  for (let i = 0; i < limit; i++) workers.push(worker());
  yield* parallel(workers);
}

// ---- storage calls ------------------------------------------------------------------------------------------------

/** Bytes read; short only at the end of the storage. */
export function* storageRead(storage: Storage, into: Uint8Array, offset: number): Op<number> {
  return (yield new StorageRequest(storage, "read", offset, into.length, into)) as number;
}
export function* storageWrite(storage: Storage, from: Uint8Array, offset: number): Op<void> {
  yield new StorageRequest(storage, "write", offset, from.length, from);
}
export function* storageFlush(storage: Storage): Op<void> {
  yield new StorageRequest(storage, "flush");
}
export function* storageSize(storage: Storage): Op<number> {
  return (yield new StorageRequest(storage, "size")) as number;
}

type Optional = "writeZeroes" | "discard" | "allocate" | "extents" | "allocatedSize";
/** Whether the storage has an optional verb on the face that will be used. */
export function storageCan(storage: Storage, verb: Optional): boolean {
  return (storage.async ?? storage.sync)?.[verb] !== undefined;
}
/** The first data or hole run of a range; storages may tell more of them. */
export function* storageExtents(storage: Storage, offset: number, length: number): Op<StorageExtent[]> {
  return (yield new StorageRequest(storage, "extents", offset, length)) as StorageExtent[];
}
