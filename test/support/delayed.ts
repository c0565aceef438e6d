/** A storage's asynchronous face that answers after seeded delays, so that requests overtake one another. */
import type { AsyncStorageFace, SyncStorageFace } from "../../src/storage/storage.js";
import type { Random } from "./random.js";

export function delayed(sync: SyncStorageFace, chance: Random): AsyncStorageFace {
  const later =
    <A extends unknown[], R>(work: (...args: A) => R) =>
    async (...args: A): Promise<R> => {
      await delay(chance);
      const result = work.apply(sync, args);
      if (chance.chance(0.3)) await delay(chance);
      return result;
    };
  return {
    read: later(sync.read),
    write: later(sync.write),
    flush: later(sync.flush),
    size: later(sync.size),
    truncate: later(sync.truncate),
    close: later(sync.close),
    ...(sync.writeZeroes === undefined ? {} : { writeZeroes: later(sync.writeZeroes) }),
    ...(sync.discard === undefined ? {} : { discard: later(sync.discard) }),
    ...(sync.extents === undefined ? {} : { extents: later(sync.extents) }),
    ...(sync.allocatedSize === undefined ? {} : { allocatedSize: later(sync.allocatedSize) }),
  };
}

/** A few turns of the microtask queue, now and then one of the event loop. */
async function delay(chance: Random): Promise<void> {
  if (chance.chance(0.02)) await new Promise<void>((resolve) => setTimeout(resolve, 0));
  for (let turns = chance.int(6); turns > 0; turns--) await undefined;
}
