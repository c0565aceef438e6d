/** A rate limit as jobs use it: work goes ahead, and the next piece waits until the last one has been paid for. */
export class RateLimit {
  readonly #now: () => number;
  #bytesPerSecond: number;
  #paidUntil = 0;

  /** @param bytesPerSecond 0: no limit. @param now milliseconds */
  constructor(bytesPerSecond: number, now: () => number) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#now = now;
  }

  get bytesPerSecond(): number {
    return this.#bytesPerSecond;
  }

  /** Takes effect for the next piece; what is owed for earlier ones is forgotten. */
  setSpeed(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
    this.#paidUntil = 0;
  }

  /** Milliseconds until everything that was charged is paid for. */
  get owed(): number {
    return this.#bytesPerSecond <= 0 ? 0 : Math.max(0, this.#paidUntil - this.#now());
  }

  /** Milliseconds to wait before a piece of `bytes` may start. The piece counts as done. */
  charge(bytes: number): number {
    if (this.#bytesPerSecond <= 0) return 0;
    const now = this.#now();
    const start = Math.max(now, this.#paidUntil);
    this.#paidUntil = start + (bytes * 1000) / this.#bytesPerSecond;
    return start - now;
  }
}
