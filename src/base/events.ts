/** Events with names: listeners, and the same as an async iterator. */

/** `Events` maps names to what listeners get. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(value: never) => void>>();

  /** Calls `listener` for every event of the name from now on; the result ends that. */
  on<Name extends keyof Events>(name: Name, listener: (value: Events[Name]) => void): () => void {
    let set = this.#listeners.get(name);
    if (set === undefined) this.#listeners.set(name, (set = new Set()));
    set.add(listener as (value: never) => void);
    return () => void set.delete(listener as (value: never) => void);
  }

  emit<Name extends keyof Events>(name: Name, value: Events[Name]): void {
    for (const listener of this.#listeners.get(name) ?? []) (listener as (value: Events[Name]) => void)(value);
  }

  /**
   * The events of a name as they come; ends with `signal` (or `break`). At most `limit` wait to be taken: when a reader is
   * slower than that, the oldest are dropped.
   */
  async *iterate<Name extends keyof Events>(
    name: Name,
    signal?: AbortSignal,
    limit = 10_000,
  ): AsyncGenerator<Events[Name], void, undefined> {
    const waiting: Events[Name][] = [];
    let wake = (): void => {};
    const stop = this.on(name, (value) => {
      if (waiting.length >= limit) waiting.shift();
      waiting.push(value);
      wake();
    });
    const aborted = (): void => wake();
    signal?.addEventListener("abort", aborted);
    try {
      // oxlint-disable-next-line no-unmodified-loop-condition
      while (signal?.aborted !== true) {
        if (waiting.length > 0) yield waiting.shift()!;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      stop();
      signal?.removeEventListener("abort", aborted);
    }
  }
}
