/**
 * Every state a medium can be in after a crash.
 *
 * A completed flush makes all writes before it durable. Of the writes since, any subset may have reached the medium, each whole or
 * torn at 512 bytes. Few writes: all subsets. Many: none, all, every prefix, every single one, all but one, seeded random choices.
 * Then tears: prefixes, suffixes, single sectors and all but one sector of each write, with none, the earlier and all others.
 */
import { createHash } from "node:crypto";
import { bytesOf, type LogLine } from "../support/recording.js";
import { random, type Random } from "../support/random.js";

export interface HostWrite {
  offset: number;
  data: Buffer;
}

export interface StateOptions {
  /** Distinct states visited between two flushes, about. */
  perEpoch: number;
  seed: number;
  visit(state: Buffer, label: string): void;
  /** Called with each line that is none of the medium's, in order. */
  guest(line: LogLine): void;
}

const SECTOR = 512;
type Choice = [index: number, mask: ((sector: number) => boolean) | null];

/** Walks the log; `base` is the medium at its beginning and ends as it is at the log's end. */
export function visitStates(
  medium: Buffer,
  lines: readonly LogLine[],
  options: StateOptions,
): { epochs: number; distinct: number } {
  const walker = new Walker(medium, options);
  for (const line of lines) walker.line(line);
  walker.enumerate("end");
  return { epochs: walker.epochs, distinct: walker.distinct };
}

class Walker {
  readonly #medium: Buffer;
  readonly #options: StateOptions;
  readonly #random: Random;
  #pending: HostWrite[] = [];
  /** States since the last line that changed what is allowed. */
  #seen = new Set<string>();
  epochs = 0;
  distinct = 0;

  constructor(medium: Buffer, options: StateOptions) {
    this.#medium = medium;
    this.#options = options;
    this.#random = random(options.seed);
  }

  line(line: LogLine): void {
    switch (line.op) {
      case "w":
        this.#pending.push({ offset: line.o, data: bytesOf(line) });
        return;
      case "z":
      case "d":
        this.#zeros(line.o, line.o + line.n);
        return;
      case "t":
        // What is behind the new end may be gone; it must not matter when it is still there.
        this.#zeros(line.n, this.#medium.length);
        return;
      case "f":
        this.enumerate("before a flush");
        for (const { offset, data } of this.#pending) data.copy(this.#medium, offset);
        this.#pending = [];
        this.#seen.clear();
        this.epochs++;
        return;
      case "gf":
        this.#options.guest(line);
        this.#seen.clear();
        // The strictest moment: the promise has just been given.
        this.enumerate("after a guest flush");
        return;
      default:
        this.#options.guest(line);
        if (line.op === "mark" || line.op === "ga") this.#seen.clear();
    }
  }

  #zeros(from: number, to: number): void {
    to = Math.min(to, this.#medium.length);
    if (to > from) this.#pending.push({ offset: from, data: Buffer.alloc(to - from) });
  }

  enumerate(where: string): void {
    const n = this.#pending.length;
    const { perEpoch } = this.#options;
    const start = this.distinct;
    const left = (): boolean => this.distinct - start < perEpoch;
    const label = `${where} ${this.epochs}`;
    const all = Array.from({ length: n }, (_, i) => i);
    const whole = (indexes: number[], how: string): void =>
      this.#trial(
        indexes.map((i) => [i, null]),
        `${label}: ${how}`,
      );
    whole([], "none");
    if (n === 0) return;
    whole(all, "all");
    if (n <= 12 && 2 ** n <= perEpoch) {
      for (let bits = 1; bits < 2 ** n - 1; bits++)
        whole(
          all.filter((i) => (bits >> i) & 1),
          "subset",
        );
    } else {
      for (let k = 1; k < n && left(); k++) whole(all.slice(0, k), "prefix");
      for (let i = 0; i < n && left(); i++) whole([i], "single");
      for (let i = 0; i < n && left(); i++)
        whole(
          all.filter((x) => x !== i),
          "all but one",
        );
      for (let t = 0; t < perEpoch / 4 && left(); t++)
        whole(
          all.filter(() => this.#random.chance(0.5)),
          "random",
        );
    }
    for (const i of all) {
      if (!left()) break;
      this.#tears(i, all, label, left);
    }
    for (let t = 0; t < Math.min(100, perEpoch / 8) && left(); t++) {
      const seed = this.#random.int(1e9);
      const chosen = all.filter(() => this.#random.chance(0.7));
      this.#trial(
        chosen.map((i) => [i, (sector) => (((Math.imul(sector, 0x9e3779b1) + i * 40503 + seed) >>> 7) & 1) !== 0]),
        `${label}: torn at random`,
      );
    }
  }

  #tears(index: number, all: readonly number[], label: string, left: () => boolean): void {
    const sectors = Math.ceil(this.#pending[index]!.data.length / SECTOR);
    if (sectors < 2) return;
    const step = sectors <= 8 ? 1 : Math.ceil(sectors / 8);
    for (const others of [[], all.filter((x) => x < index), all.filter((x) => x !== index)]) {
      const torn = (mask: (sector: number) => boolean): void => {
        const choices: Choice[] = [...others.map((x): Choice => [x, null]), [index, mask]];
        this.#trial(
          choices.sort((a, b) => a[0] - b[0]),
          `${label}: write ${index} torn`,
        );
      };
      for (let at = step; at < sectors && left(); at += step) {
        torn((sector) => sector < at);
        torn((sector) => sector >= at);
      }
      for (let at = 0; at < sectors && left(); at += step) {
        torn((sector) => sector === at);
        torn((sector) => sector !== at);
      }
    }
  }

  /** Applies a choice of the pending writes in their order, shows the state when it is a new one, takes them back. */
  #trial(choices: readonly Choice[], label: string): void {
    const medium = this.#medium;
    const before = new Map<number, Buffer>();
    for (const [index, mask] of choices) {
      const { offset, data } = this.#pending[index]!;
      // The medium's sectors, not the write's own pieces, are what is written whole.
      for (let at = 0, sector = 0; at < data.length; sector++) {
        const length = Math.min(data.length - at, SECTOR - ((offset + at) % SECTOR));
        if (mask === null || mask(sector)) {
          const key = offset + at - ((offset + at) % SECTOR);
          if (!before.has(key)) before.set(key, Buffer.from(medium.subarray(key, key + SECTOR)));
          data.copy(medium, offset + at, at, at + length);
        }
        at += length;
      }
    }
    const hash = createHash("sha1");
    for (const key of [...before.keys()].sort((a, b) => a - b)) {
      const now = medium.subarray(key, key + SECTOR);
      if (!now.equals(before.get(key)!)) hash.update(String(key)).update(now);
    }
    const key = hash.digest("base64");
    if (!this.#seen.has(key)) {
      this.#seen.add(key);
      this.distinct++;
      this.#options.visit(
        medium,
        `${label} [${choices.map(([i, mask]) => `${i}${mask === null ? "" : "*"}`).join(" ")}] of ${this.#pending.length}`,
      );
    }
    for (const [at, bytes] of before) bytes.copy(medium, at);
  }
}
