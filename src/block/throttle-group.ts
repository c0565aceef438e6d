/**
 * Throttling: leaky buckets for bytes and for operations, shared by all members of a group.
 *
 * Every bucket leaks at its average rate. A request that finds a bucket more than full waits until what is too much has leaked; then
 * it pours in itself. With a burst rate (`max`) the bucket is as large as a burst of `length` seconds, and a second bucket, which leaks
 * at the burst rate, keeps that rate. Members whose requests wait take turns.
 */
import { systemClock, type Clock } from "../base/clock.js";
import { TurnRequest, WaitQueue, type Op } from "./op.js";
import { checkLimits, THROTTLED, type BucketLimit, type Throttled, type ThrottleLimits } from "./throttle.js";

export type Direction = "read" | "write";
const DIRECTIONS = ["read", "write"] as const;

class Bucket {
  readonly limit: BucketLimit;
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

/** A request that waits. Where no time passes (synchronous calls) waiting would be for ever: it goes at once. */
class Turn {
  readonly bytes: number;
  readonly come: WaitQueue = new WaitQueue();
  constructor(bytes: number) {
    this.bytes = bytes;
  }
  grant(): void {
    this.come.wakeAll();
  }
}

/** One user of a group: a device, a filter. Its requests of one direction go in the order they came. */
export class ThrottleMember {
  readonly group: ThrottleGroup;
  /** Requests that wait. */
  readonly waiting: Readonly<Record<Direction, Turn[]>> = { read: [], write: [] };

  constructor(group: ThrottleGroup) {
    this.group = group;
    group.join(this);
  }
  #suspended = 0;

  /** While the graph changes nothing is limited: what waits goes on, so that it can come to an end. */
  suspend(): void {
    this.#suspended++;
    for (const direction of DIRECTIONS) for (const turn of this.waiting[direction].splice(0)) turn.grant();
  }
  restore(): void {
    if (this.#suspended > 0) this.#suspended--;
  }

  /** Waits until a request of `bytes` bytes may start, and counts it. */
  *admit(direction: Direction, bytes: number): Op<void> {
    const queue = this.waiting[direction];
    if (this.#suspended > 0) return;
    if (!this.group.mustWait(this, direction) && queue.length === 0) {
      this.group.count(direction, bytes);
      this.group.grantNext(this, direction);
      return;
    }
    const turn = new Turn(bytes);
    queue.push(turn);
    yield new TurnRequest(turn.come);
    const left = queue.indexOf(turn);
    if (left < 0) return;
    queue.splice(left, 1);
    this.group.count(direction, bytes);
    this.group.rest(direction);
  }
  /** Leaves the group; what waits goes on unlimited. */
  leave(): void {
    this.group.leave(this);
    for (const direction of DIRECTIONS) for (const turn of this.waiting[direction].splice(0)) turn.grant();
  }
}

/** Members of one group share its limits. */
export class ThrottleGroup {
  readonly name: string;
  readonly #clock: Clock;
  #limits: ThrottleLimits;
  #buckets: Record<Throttled, Bucket>;
  #leakedAt: number;
  readonly #members: ThrottleMember[] = [];
  /** Whose turn it was last. */
  readonly #turn: Record<Direction, ThrottleMember | null> = { read: null, write: null };
  /** Takes back the timer that is set for the next turn. */
  readonly #timer: Record<Direction, (() => void) | null> = { read: null, write: null };

  constructor(name: string, limits: ThrottleLimits, clock: Clock = systemClock) {
    checkLimits(limits);
    this.name = name;
    this.#clock = clock;
    this.#limits = limits;
    this.#leakedAt = clock.now();
    this.#buckets = makeBuckets(limits);
  }

  get members(): number {
    return this.#members.length;
  }
  get limits(): ThrottleLimits {
    return this.#limits;
  }
  /** Takes effect at once, also for those who wait. */
  set limits(limits: ThrottleLimits) {
    checkLimits(limits);
    this.#limits = limits;
    this.#buckets = makeBuckets(limits);
    this.#leakedAt = this.#clock.now();
    for (const direction of DIRECTIONS) {
      this.#disarm(direction);
      const [first] = this.#members;
      if (first !== undefined) this.grantNext(first, direction);
    }
  }

  join(member: ThrottleMember): void {
    this.#members.push(member);
  }
  leave(member: ThrottleMember): void {
    this.#members.splice(this.#members.indexOf(member), 1);
    for (const direction of DIRECTIONS) {
      if (this.#turn[direction] !== member) continue;
      const next = this.#members[0] ?? null;
      this.#turn[direction] = next;
      this.#disarm(direction);
      if (next !== null) this.grantNext(next, direction);
    }
  }

  /** Whether a request that `member` makes now has to wait: a timer is set then. */
  mustWait(member: ThrottleMember, direction: Direction): boolean {
    return this.#arm(this.#next(member, direction), direction);
  }

  count(direction: Direction, bytes: number): void {
    const { iopsSize } = this.#limits;
    const operations = iopsSize > 0 && bytes > iopsSize ? bytes / iopsSize : 1;
    for (const part of ["total", direction] as const) {
      this.#buckets[`bps-${part}`].pour(bytes);
      this.#buckets[`iops-${part}`].pour(operations);
    }
  }

  /** Lets those go whose turn it is, after a request of `member`. */
  grantNext(member: ThrottleMember, direction: Direction): void {
    for (let after = member; ;) {
      const next = this.#next(after, direction);
      if (next.waiting[direction].length === 0 || this.#arm(next, direction)) return;
      this.#turn[direction] = next;
      this.#grant(next, direction);
      after = next;
    }
  }

  /** No timer for nobody. */
  rest(direction: Direction): void {
    if (this.#members.every((member) => member.waiting[direction].length === 0)) this.#disarm(direction);
  }

  #grant(member: ThrottleMember, direction: Direction): void {
    const turn = member.waiting[direction].shift();
    if (turn === undefined) return;
    this.count(direction, turn.bytes);
    turn.grant();
  }

  /** The next one in the round whose requests wait; `member` when none do. */
  #next(member: ThrottleMember, direction: Direction): ThrottleMember {
    const last = this.#members.indexOf(this.#turn[direction] ?? member);
    for (let i = 1; i <= this.#members.length; i++) {
      const at = this.#members[(last + i) % this.#members.length]!;
      if (at.waiting[direction].length > 0) return at;
    }
    return member;
  }

  #arm(member: ThrottleMember, direction: Direction): boolean {
    if (this.#timer[direction] !== null) return true;
    const seconds = this.#wait(direction);
    if (seconds <= 0) return false;
    this.#turn[direction] = member;
    this.#timer[direction] = this.#clock.after(seconds * 1000, () => {
      this.#timer[direction] = null;
      this.#grant(member, direction);
      this.grantNext(member, direction);
    });
    return true;
  }
  #disarm(direction: Direction): void {
    this.#timer[direction]?.();
    this.#timer[direction] = null;
  }

  #wait(direction: Direction): number {
    const now = this.#clock.now();
    const seconds = Math.max(0, now - this.#leakedAt) / 1000;
    this.#leakedAt = now;
    let wait = 0;
    for (const what of THROTTLED) this.#buckets[what].leak(seconds);
    for (const what of ["bps-total", "iops-total", `bps-${direction}`, `iops-${direction}`] as const)
      wait = Math.max(wait, this.#buckets[what].wait());
    return wait;
  }
}

function makeBuckets(limits: ThrottleLimits): Record<Throttled, Bucket> {
  return Object.fromEntries(THROTTLED.map((what) => [what, new Bucket(limits.buckets[what])])) as Record<Throttled, Bucket>;
}
