/** A small seeded generator (mulberry32) for reproducible random tests. No imports: runs anywhere. */
export interface Random {
  readonly seed: number;
  /** Integer in [0, below). */
  int(below: number): number;
  /** true with the given probability. */
  chance(probability: number): boolean;
  pick<T>(list: readonly T[]): T;
  bytes(length: number): Uint8Array;
}

export function random(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const int = (below: number): number => Math.floor(next() * below);
  return {
    seed,
    int,
    chance: (probability) => next() < probability,
    pick: (list) => {
      if (list.length === 0) throw new Error("pick from an empty list");
      return list[int(list.length)]!;
    },
    bytes: (length) => {
      const out = new Uint8Array(length);
      for (let i = 0; i < length; i++) out[i] = int(256);
      return out;
    },
  };
}

/** The seed to use: SEED from the environment where there is one, else the clock. Print it. */
export function chooseSeed(): number {
  const given = (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env?.["SEED"];
  return given === undefined ? Date.now() >>> 0 : Number(given) >>> 0;
}
