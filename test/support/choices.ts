/** More ways to choose with a seeded generator. */
import type { Random } from "./random.js";

/** An integer in [low, high]. */
export function between(random: Random, low: number, high: number): number {
  return low + random.int(high - low + 1);
}

/** A key, with the probability of its weight. */
export function weighted<K extends string>(random: Random, weights: Readonly<Record<K, number>>): K {
  const entries = Object.entries(weights) as [K, number][];
  let at = random.int(entries.reduce((sum, [, weight]) => sum + weight, 0));
  for (const [key, weight] of entries) if ((at -= weight) < 0) return key;
  return entries.at(-1)![0];
}
