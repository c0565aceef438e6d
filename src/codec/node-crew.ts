/**
 * Threads that share pure computation (clusters to inflate, to compress) with the thread that asks for it. Node.js only.
 *
 * A batch lies in shared memory, and whoever is free takes its next unit: the caller's own thread too. It never waits for longer
 * than another one's last unit, and all is done when the call returns, so that synchronous code has every core as well. Handing units
 * to libuv's pool instead costs more than inflating them.
 */
import type { Worker } from "node:worker_threads";
import { MiB } from "../base/int.js";
import type { Decompressor, DecompressSync } from "./codec.js";

/** Fills the beginning of `into`; the number of bytes, or 0 where it cannot. */
export type Work = (from: Uint8Array, into: Uint8Array) => number;

export interface CrewUnit {
  readonly from: Uint8Array;
  /** The most bytes the result may have. */
  readonly room: number;
}

/** Other threads at most: what is read and written by one thread keeps no more of them busy. */
const MAX_MEMBERS = 3;
/** Bytes of work that one thread does alone before it asks for help: starting a thread costs some 30 ms of a core. */
const ALONE = 2 * MiB;
/** Smaller units are done faster than handed over. */
const WORTH = 2048;
/** After so many ms without work the threads end. */
const IDLE = 10_000;
/** A thread that is not done with a unit after so many ms is given up. */
const PATIENCE = 20_000;

const INPUT: number = 4 * MiB;
const OUTPUT: number = 4 * MiB;
/** Both fit a byte of the ticket. */
const MAX_UNITS = 128;

/** 32-bit words of the shared state. TICKET: number of the batch (16 bits), its units, how many of them are taken (8 bits each). */
const TICKET = 0;
/** Threads that have started. */
const READY = 1;
const UNITS = 2;
/** Words of a unit: place and length of its input, place and length of the room for its result; bytes made, -1: it cannot be done. */
const STRIDE = 5;
const MADE = 4;

interface Shared {
  readonly state: Int32Array;
  readonly input: Uint8Array;
  readonly output: Uint8Array;
}

/** What runs in the other threads: it gets there as text, so that it must not name anything outside of itself. */
async function member(
  makeWork: () => Promise<Work>,
  { state, input, output }: Shared,
  words: readonly [ticket: number, ready: number, units: number, stride: number, made: number],
): Promise<void> {
  const work = await makeWork();
  const [TICKET, READY, UNITS, STRIDE, MADE] = words;
  Atomics.add(state, READY, 1);
  for (;;) {
    const ticket = Atomics.load(state, TICKET);
    const taken = ticket & 255;
    if (taken >= ((ticket >> 8) & 255)) {
      Atomics.wait(state, TICKET, ticket);
      continue;
    }
    // Only of the batch that was looked at: its units stay as they are until all that were taken are done.
    if (Atomics.compareExchange(state, TICKET, ticket, ticket + 1) !== ticket) continue;
    const at = UNITS + taken * STRIDE;
    const [from, length, into, room] = state.subarray(at, at + 4) as unknown as [number, number, number, number];
    let made = 0;
    try {
      made = work(input.subarray(from, from + length), output.subarray(into, into + room));
    } catch {
      // The caller's thread finds out what is wrong with it.
    }
    Atomics.store(state, at + MADE, made > 0 ? made : -1);
    Atomics.notify(state, at + MADE);
  }
}

export class Crew {
  readonly #makeWork: () => string;
  readonly #patience: number;
  #members: Worker[] = [];
  #shared: Shared | null = null;
  #isPossible: boolean = process.release?.name === "node" && !("bun" in process.versions) && !("deno" in process.versions);
  #alone = 0;
  #batch = 0;
  #idle: NodeJS.Timeout | null = null;

  /**
   * @param makeWork source text of a function `() => Promise<Work>` for the other threads; asked for once they are needed
   * @param patience ms a thread has for one unit before all of them are given up
   */
  constructor(makeWork: () => string, patience: number = PATIENCE) {
    this.#makeWork = makeWork;
    this.#patience = patience;
  }

  /**
   * Does all units: `here(i)` performs one on this thread, `there(i, result)` gets what another thread made of it, as a view that is
   * good during the call. What the others could not do comes to `here`.
   * @throws what `here` throws first, after all others are done
   */
  run(units: readonly CrewUnit[], here: (index: number) => void, there: (index: number, result: Uint8Array) => void): void {
    const shared = this.#ready(units);
    const failures: unknown[] = [];
    const perform = (index: number): void => {
      try {
        here(index);
      } catch (error) {
        failures.push(error);
      }
    };
    let next = 0;
    while (next < units.length) {
      const given: number[] = [];
      const small: number[] = [];
      if (shared !== null && this.#isPossible) next = this.#hand(shared, units, next, given, small);
      else small.push(next++);
      for (const index of small) perform(index);
      if (given.length > 0) this.#finish(shared!, given, perform, there);
    }
    if (failures.length > 0) throw failures[0];
  }

  /** Where the other threads are at work, or null: they are not worth it, not there yet, or not possible. */
  #ready(units: readonly CrewUnit[]): Shared | null {
    if (!this.#isPossible || units.length < 2) return null;
    if (this.#shared === null) {
      for (const { from } of units) if (from.length >= WORTH) this.#alone += from.length;
      if (this.#alone >= ALONE) this.#start();
      return null;
    }
    this.#idle?.refresh();
    return Atomics.load(this.#shared.state, READY) > 0 ? this.#shared : null;
  }

  /** Puts units from `next` on, as many as there is room for, before the other threads; returns where the next batch begins. */
  #hand({ state, input }: Shared, units: readonly CrewUnit[], next: number, given: number[], small: number[]): number {
    let from = 0;
    let into = 0;
    let index = next;
    for (; index < units.length && given.length < MAX_UNITS; index++) {
      const unit = units[index]!;
      if (unit.from.length < WORTH || unit.from.length > INPUT || unit.room > OUTPUT) {
        small.push(index);
        continue;
      }
      if (from + unit.from.length > INPUT || into + unit.room > OUTPUT) break;
      input.set(unit.from, from);
      state.set([from, unit.from.length, into, unit.room, 0], UNITS + given.length * STRIDE);
      from += unit.from.length;
      into += unit.room;
      given.push(index);
    }
    if (given.length < 2) {
      small.push(...given.splice(0));
      return index;
    }
    this.#batch = (this.#batch + 1) & 0x7fff;
    Atomics.store(state, TICKET, (this.#batch << 16) | (given.length << 8));
    Atomics.notify(state, TICKET);
    return index;
  }

  /** Takes part in the batch at hand until all of it is done. */
  #finish(
    { state, output }: Shared,
    given: readonly number[],
    here: (index: number) => void,
    there: (index: number, result: Uint8Array) => void,
  ): void {
    const isMine = new Uint8Array(given.length);
    for (;;) {
      const taken = Atomics.add(state, TICKET, 1) & 255;
      if (taken >= given.length) break;
      isMine[taken] = 1;
      here(given[taken]!);
    }
    for (let unit = 0; unit < given.length; unit++) {
      if (isMine[unit] === 1) continue;
      const at = UNITS + unit * STRIDE;
      const made = this.#await(state, at + MADE);
      const into = state[at + 2]!;
      if (made > 0) there(given[unit]!, output.subarray(into, into + made));
      else here(given[unit]!);
    }
  }

  #await(state: Int32Array, word: number): number {
    for (;;) {
      const made = Atomics.load(state, word);
      if (made !== 0 || !this.#isPossible) return made;
      if (Atomics.wait(state, word, 0, this.#patience) === "timed-out") this.#giveUp();
    }
  }

  #start(): void {
    try {
      const count = Math.min(MAX_MEMBERS, process.getBuiltinModule("node:os").availableParallelism() - 1);
      const shared: Shared = {
        state: new Int32Array(new SharedArrayBuffer(4 * (UNITS + MAX_UNITS * STRIDE))),
        input: new Uint8Array(new SharedArrayBuffer(INPUT)),
        output: new Uint8Array(new SharedArrayBuffer(OUTPUT)),
      };
      // Throws where this thread may not wait.
      Atomics.wait(shared.state, TICKET, 1, 0);
      const { Worker } = process.getBuiltinModule("node:worker_threads");
      const source = `(${member})(${this.#makeWork()}, require("node:worker_threads").workerData, ${JSON.stringify([TICKET, READY, UNITS, STRIDE, MADE])})`;
      for (let i = 0; i < count; i++) {
        const worker = new Worker(source, { eval: true, workerData: shared, execArgv: [], name: "blockcore" });
        worker.unref();
        worker.on("error", () => this.#giveUp());
        this.#members.push(worker);
      }
      if (count < 1) this.#giveUp();
      else {
        this.#shared = shared;
        this.#idle = setTimeout(() => this.#dismiss(), IDLE).unref();
      }
    } catch {
      this.#giveUp();
    }
  }

  #dismiss(): void {
    for (const worker of this.#members.splice(0)) void worker.terminate();
    this.#shared = null;
    this.#alone = 0;
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = null;
  }

  #giveUp(): void {
    this.#isPossible = false;
    this.#dismiss();
  }
}

/**
 * The batch face of a decompressor whose work `crew` shares.
 * @param cut the part of a unit that is safe to be decompressed elsewhere; empty: none of it
 */
export function decompressTogether(
  crew: Crew,
  sync: DecompressSync,
  cut: (from: Uint8Array, size: number) => Uint8Array = (from) => from,
): NonNullable<Decompressor["many"]> {
  return (units) =>
    crew.run(
      units.map(({ from, into }) => ({ from: cut(from, into.length), room: into.length })),
      (index) => {
        const unit = units[index]!;
        try {
          sync(unit.from, unit.into);
        } catch (error) {
          unit.error = error;
        }
      },
      (index, result) => units[index]!.into.set(result),
    );
}
