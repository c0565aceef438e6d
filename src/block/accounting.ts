/**
 * Counting requests: how many, how large, how long they took. Whoever makes requests for a guest counts them (guest devices do);
 * requests of jobs, exports and monitors are not the guest's.
 *
 * Times are nanoseconds.
 */
import { systemClock, type Clock } from "../base/clock.js";

const ACCOUNTED = ["read", "write", "flush", "unmap"] as const;
export type Accounted = (typeof ACCOUNTED)[number];
const TIMED = ["read", "write", "flush"] as const;
type Timed = (typeof TIMED)[number];

export interface Counts {
  bytes: number;
  operations: number;
  /** Time all of them took together. */
  ns: number;
  failed: number;
  /** Refused before anything was done: out of range, not aligned. */
  invalid: number;
  merged: number;
}

/** How latencies spread: `bins[i]` counts those below `boundaries[i]`, the last one the rest. */
export interface Histogram {
  /** Rising, above 0. */
  boundaries: readonly number[];
  bins: number[];
}

export interface AccountingOptions {
  /** Refused requests count as activity (`stats-account-invalid`); default true. */
  invalid?: boolean;
  /** Failed requests count in times (`stats-account-failed`); default true. */
  failed?: boolean;
  /** Seconds of the windows over which latencies are kept (`stats-intervals`). */
  intervals?: readonly number[];
  clock?: Clock;
  /** Takes every request to last this long (for tests that compare). */
  fixedLatency?: number;
}

/** One request on its way: end it by one of these. */
export interface Ticket {
  done(): void;
  failed(): void;
}

export class Accounting {
  readonly countsInvalid: boolean;
  readonly countsFailed: boolean;
  readonly of: Readonly<Record<Accounted, Counts>> = {
    read: noCounts(),
    write: noCounts(),
    flush: noCounts(),
    unmap: noCounts(),
  };
  readonly intervals: readonly Interval[];
  readonly histograms: Map<Timed, Histogram> = new Map();
  readonly #clock: Clock;
  readonly #fixed: number | undefined;
  #lastAccess: number | null = null;

  constructor(options: AccountingOptions = {}) {
    this.countsInvalid = options.invalid ?? true;
    this.countsFailed = options.failed ?? true;
    const clock = options.clock ?? systemClock;
    this.#clock = clock;
    this.#fixed = options.fixedLatency;
    this.intervals = (options.intervals ?? []).map((seconds) => new Interval(seconds, () => this.#now()));
  }

  #now(): number {
    return Math.round(this.#clock.now() * 1e6);
  }

  /** Time since the last request ended; null before the first. */
  get idleNs(): number | null {
    return this.#lastAccess === null ? null : Math.max(0, this.#now() - this.#lastAccess);
  }

  start(kind: Accounted, bytes: number): Ticket {
    const started = this.#now();
    return {
      done: () => this.#end(kind, bytes, started, false),
      failed: () => this.#end(kind, bytes, started, true),
    };
  }

  /** A request that was refused. */
  invalid(kind: Accounted): void {
    this.of[kind].invalid++;
    if (this.countsInvalid) this.#lastAccess = this.#now();
  }

  #end(kind: Accounted, bytes: number, started: number, failed: boolean): void {
    const counts = this.of[kind];
    const now = this.#now();
    const ns = this.#fixed ?? now - started;
    if (failed) counts.failed++;
    else {
      counts.bytes += bytes;
      counts.operations++;
    }
    if (kind !== "unmap") count(this.histograms.get(kind), ns);
    if (failed && !this.countsFailed) return;
    counts.ns += ns;
    this.#lastAccess = now;
    if (kind !== "unmap") for (const interval of this.intervals) interval.add(kind, ns);
  }

  /** Begins to keep a histogram, or ends that (null). @throws RangeError when the boundaries do not rise from above 0 */
  setHistogram(kind: Timed, boundaries: readonly number[] | null): void {
    if (boundaries === null) {
      this.histograms.delete(kind);
      return;
    }
    let before = 0;
    for (const boundary of boundaries) {
      if (!(boundary > before)) throw new RangeError("boundaries must rise from above 0");
      before = boundary;
    }
    this.histograms.set(kind, { boundaries, bins: new Array<number>(boundaries.length + 1).fill(0) });
  }
}

const noCounts = (): Counts => ({ bytes: 0, operations: 0, ns: 0, failed: 0, invalid: 0, merged: 0 });

function count(histogram: Histogram | undefined, ns: number): void {
  if (histogram === undefined) return;
  let bin = 0;
  while (bin < histogram.boundaries.length && ns >= histogram.boundaries[bin]!) bin++;
  histogram.bins[bin]!++;
}

export interface Spread {
  min: number;
  max: number;
  avg: number;
}

/**
 * Latencies of the last while: of two windows that overlap by a half the older one answers, so that what is told covers between half
 * an interval and a whole one.
 */
class Interval {
  readonly seconds: number;
  readonly #now: () => number;
  readonly #windows: Record<Timed, Window[]>;

  constructor(seconds: number, now: () => number) {
    this.seconds = seconds;
    this.#now = now;
    const period = seconds * 1e9;
    const windows = (): Window[] => [new Window(now() + period), new Window(now() + period / 2)];
    this.#windows = { read: windows(), write: windows(), flush: windows() };
  }

  add(kind: Timed, ns: number): void {
    this.#current(kind);
    for (const window of this.#windows[kind]) window.add(ns);
  }
  spread(kind: Timed): Spread {
    return this.#current(kind).spread;
  }
  /** Requests under way on average in the window. */
  queueDepth(kind: Timed): number {
    const window = this.#current(kind);
    const elapsed = this.seconds * 1e9 - (window.ends - this.#now());
    return elapsed > 0 ? window.sum / elapsed : 0;
  }

  #current(kind: Timed): Window {
    const period = this.seconds * 1e9;
    const now = this.#now();
    for (const window of this.#windows[kind]) {
      if (window.ends > now) continue;
      // A whole number of periods on, so that the two windows keep their distance.
      window.clear(window.ends + Math.ceil((now - window.ends + 1) / period) * period);
    }
    const [a, b] = this.#windows[kind] as [Window, Window];
    return a.ends < b.ends ? a : b;
  }
}

class Window {
  ends: number;
  sum = 0;
  #count = 0;
  #min = Infinity;
  #max = 0;
  constructor(ends: number) {
    this.ends = ends;
  }
  clear(ends: number): void {
    this.ends = ends;
    this.sum = 0;
    this.#count = 0;
    this.#min = Infinity;
    this.#max = 0;
  }
  add(ns: number): void {
    this.sum += ns;
    this.#count++;
    this.#min = Math.min(this.#min, ns);
    this.#max = Math.max(this.#max, ns);
  }
  get spread(): Spread {
    return this.#count === 0
      ? { min: 0, max: 0, avg: 0 }
      : { min: this.#min, max: this.#max, avg: Math.floor(this.sum / this.#count) };
  }
}
