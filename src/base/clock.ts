/** Time: the system's, or one that tests and simulated machines move by hand. */

export interface Clock {
  /** Milliseconds, with fractions; only differences mean something. */
  now(): number;
  /** Calls `wake` once when `ms` milliseconds have passed; the result takes that back. */
  after(ms: number, wake: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, wake) {
    const timer = setTimeout(wake, Math.max(1, Math.ceil(ms)));
    return () => clearTimeout(timer);
  },
};

/** Stands still until it is moved. */
export class ManualClock implements Clock {
  #now = 0;
  #timers: { at: number; wake: () => void }[] = [];

  now(): number {
    return this.#now;
  }
  after(ms: number, wake: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, ms), wake };
    this.#timers.push(timer);
    return () => void (this.#timers = this.#timers.filter((other) => other !== timer));
  }
  /** When the next timer is due, or null. */
  get next(): number | null {
    let next: number | null = null;
    for (const { at } of this.#timers) if (next === null || at < next) next = at;
    return next;
  }
  /** Moves on by `ms`; what is due on the way is called at its time, in order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = this.#timers.reduce<{ at: number; wake: () => void } | null>(
        (first, timer) => (timer.at <= end && (first === null || timer.at < first.at) ? timer : first),
        null,
      );
      if (due === null) break;
      this.#timers.splice(this.#timers.indexOf(due), 1);
      this.#now = Math.max(this.#now, due.at);
      due.wake();
    }
    this.#now = end;
  }
}
