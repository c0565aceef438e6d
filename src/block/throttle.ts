/**
 * Throttling: leaky buckets for bytes and for operations, shared by all members of a group.
 *
 * Every bucket leaks at its average rate. A request that finds a bucket more than full waits until what is too much has leaked; then
 * it pours in itself. With a burst rate (`max`) the bucket is as large as a burst of `length` seconds, and a second bucket, which leaks
 * at the burst rate, keeps that rate.
 */
import { BlockError } from "../base/error.js";
import { TimedWaitRequest, WaitQueue, WaitRequest, type Op } from "./op.js";
import { take, takeSize } from "./take.js";

export type Direction = "read" | "write";
/** The six things that can be limited. */
export const THROTTLED = ["bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write"] as const;
export type Throttled = (typeof THROTTLED)[number];

export interface BucketLimit {
  /** Units a second in the long run; 0: no limit. */
  average: number;
  /** Units a second in a burst; 0: no bursts but short ones (a tenth of a second). */
  max: number;
  /** Seconds a burst may last; at least 1. */
  length: number;
}
export interface ThrottleLimits {
  buckets: Readonly<Record<Throttled, BucketLimit>>;
  /** A request counts as one operation for each so many bytes; 0: as one whatever its size. */
  iopsSize: number;
}

/** No rate may be higher than this. */
export const MAX_RATE = 1e15;

export function noLimits(): ThrottleLimits {
  const none = (): BucketLimit => ({ average: 0, max: 0, length: 1 });
  return {
    buckets: {
      "bps-total": none(),
      "bps-read": none(),
      "bps-write": none(),
      "iops-total": none(),
      "iops-read": none(),
      "iops-write": none(),
    },
    iopsSize: 0,
  };
}

/** Takes limits out of a bag in the spelling of throttle-group objects: `bps-total`, `bps-total-max`, `bps-total-max-length`, `iops-size`, also with `x-`. */
export function takeLimits(bag: Record<string, unknown>): ThrottleLimits {
  const limits = noLimits();
  const number = (name: string): number | undefined => {
    const plain = takeSize(bag, name);
    return plain ?? takeSize(bag, `x-${name}`);
  };
  for (const what of THROTTLED) {
    const limit = limits.buckets[what];
    limit.average = number(what) ?? 0;
    limit.max = number(`${what}-max`) ?? 0;
    limit.length = number(`${what}-max-length`) ?? 1;
  }
  limits.iopsSize = number("iops-size") ?? 0;
  const nested = take(bag, "limits");
  if (typeof nested === "object" && nested !== null) return takeLimits({ ...nested });
  checkLimits(limits);
  return limits;
}

/** Throws what is wrong with limits, in QEMU's words. */
export function checkLimits({ buckets, iopsSize }: ThrottleLimits): void {
  const bad = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);
  for (const kind of ["bps", "iops"] as const) {
    const total = buckets[`${kind}-total`];
    const parts = [buckets[`${kind}-read`], buckets[`${kind}-write`]];
    if ((total.average > 0 && parts.some((part) => part.average > 0)) || (total.max > 0 && parts.some((part) => part.max > 0))) {
      throw bad("bps/iops/max total values and read/write values cannot be used at the same time");
    }
  }
  if (
    iopsSize > 0 &&
    !(buckets["iops-total"].average > 0 || buckets["iops-read"].average > 0 || buckets["iops-write"].average > 0)
  ) {
    throw bad("iops size requires an iops value to be set");
  }
  for (const what of THROTTLED) {
    const { average, max, length } = buckets[what];
    if (average > MAX_RATE || max > MAX_RATE) throw bad(`bps/iops/max values must be within [0, ${MAX_RATE}]`);
    if (length < 1) throw bad("the burst length cannot be 0");
    if (length > 1 && max === 0) throw bad("burst length set without burst rate");
    if (max > 0 && length > MAX_RATE / max) throw bad("burst length too high for this burst rate");
    if (max > 0 && average === 0) throw bad("bps_max/iops_max require corresponding bps/iops values");
    if (max > 0 && max < average) throw bad("bps_max/iops_max cannot be lower than bps/iops");
  }
}

class Bucket {
  limit: BucketLimit;
  #level = 0;
  #burstLevel = 0;
  constructor(limit: BucketLimit) {
    this.limit = limit;
  }
  leak(seconds: number): void {
    this.#level = Math.max(0, this.#level - this.limit.average * seconds);
    if (this.limit.length > 1) this.#burstLevel = Math.max(0, this.#burstLevel - this.limit.max * seconds);
  }
  pour(units: number): void {
    this.#level += units;
    if (this.limit.length > 1) this.#burstLevel += units;
  }
  /** Seconds until the next request may go. */
  wait(): number {
    const { average, max, length } = this.limit;
    if (average === 0) return 0;
    const over = this.#level - (max === 0 ? average / 10 : max * length);
    if (over > 0) return over / average;
    const burst = length > 1 ? this.#burstLevel - max / 10 : 0;
    return burst > 0 ? burst / max : 0;
  }
}

/** Members of one group share its limits; requests of one direction go in the order they came. */
export class ThrottleGroup {
  readonly name: string;
  readonly #now: () => number;
  #limits: ThrottleLimits;
  readonly #buckets: Record<Throttled, Bucket>;
  #leakedAt: number;
  readonly #busy: Record<Direction, boolean> = { read: false, write: false };
  readonly #turns: Record<Direction, WaitQueue> = { read: new WaitQueue(), write: new WaitQueue() };
  readonly #sleepers: WaitQueue = new WaitQueue();

  /** @param now milliseconds */
  constructor(name: string, limits: ThrottleLimits, now: () => number) {
    checkLimits(limits);
    this.name = name;
    this.#now = now;
    this.#limits = limits;
    this.#leakedAt = now();
    this.#buckets = Object.fromEntries(THROTTLED.map((what) => [what, new Bucket(limits.buckets[what])])) as Record<
      Throttled,
      Bucket
    >;
  }

  get limits(): ThrottleLimits {
    return this.#limits;
  }
  /** Takes effect at once, also for those who wait. */
  set limits(limits: ThrottleLimits) {
    checkLimits(limits);
    this.#limits = limits;
    for (const what of THROTTLED) this.#buckets[what] = new Bucket(limits.buckets[what]);
    this.#sleepers.wakeAll();
  }

  /** Waits until a request of `bytes` bytes may start, and counts it. */
  *admit(direction: Direction, bytes: number): Op<void> {
    while (this.#busy[direction]) yield new WaitRequest(this.#turns[direction]);
    this.#busy[direction] = true;
    try {
      for (;;) {
        const seconds = this.#wait(direction);
        if (seconds <= 0) break;
        const before = this.#now();
        yield new TimedWaitRequest(this.#sleepers, Math.max(1, Math.ceil(seconds * 1000)));
        // Where no time passes (synchronous calls) waiting longer would be for ever.
        if (this.#now() <= before) break;
      }
      this.#count(direction, bytes);
    } finally {
      this.#busy[direction] = false;
      this.#turns[direction].wakeOne();
    }
  }

  #wait(direction: Direction): number {
    const now = this.#now();
    const seconds = Math.max(0, now - this.#leakedAt) / 1000;
    this.#leakedAt = now;
    let wait = 0;
    for (const what of THROTTLED) this.#buckets[what].leak(seconds);
    for (const what of ["bps-total", "iops-total", `bps-${direction}`, `iops-${direction}`] as const)
      wait = Math.max(wait, this.#buckets[what].wait());
    return wait;
  }

  #count(direction: Direction, bytes: number): void {
    const { iopsSize } = this.#limits;
    const operations = iopsSize > 0 && bytes > iopsSize ? bytes / iopsSize : 1;
    for (const part of ["total", direction] as const) {
      this.#buckets[`bps-${part}`].pour(bytes);
      this.#buckets[`iops-${part}`].pour(operations);
    }
  }
}
