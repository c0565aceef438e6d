/** Runs a workload while the medium fails, and judges what is left: in the session, at every crash after it, and when it was closed. */
import { outOfMemory, setAllocationGate, type AllocationGate } from "../../src/base/allocate.js";
import type { Errno } from "../../src/base/error.js";
import { BlockError } from "../../src/base/error.js";
import type { Fault, FaultOperation } from "../support/faulty.js";
import { Machine } from "./machine.js";
import type { Analyse, Analysed } from "./oracle.js";
import { Promises } from "./promises.js";
import type { Scenario } from "./scenarios.js";
import { visitStates } from "./states.js";

export interface FaultRun {
  /** Errors the guest or the closing was told. */
  errors: number;
  leaks: number;
  states: number;
  violations: string[];
}

async function started(scenario: Scenario): Promise<Machine> {
  const machine = new Machine({ ...scenario.machine, stale: 0xee });
  await machine.create();
  scenario.before?.(machine);
  await machine.record();
  return machine;
}

/** What goes wrong: a call of the medium, or the n-th buffer that is asked for. */
export type Trouble = (Fault & { errno: Errno }) | { operation: "allocate"; nth: number };

/** Watches allocations while `run` does its work. */
async function watched<T>(gate: AllocationGate, run: () => T | Promise<T>): Promise<T> {
  const before = setAllocationGate(gate);
  try {
    return await run();
  } finally {
    setAllocationGate(before);
  }
}

/** How often each kind of call happens in a run without faults, closing included. */
export async function countCalls(scenario: Scenario): Promise<Record<Trouble["operation"], number>> {
  const machine = await started(scenario);
  const before = { ...machine.faults!.calls };
  let allocate = 0;
  await watched(
    () => void allocate++,
    async () => {
      await scenario.run(machine);
      await machine.close();
    },
  );
  const calls = { ...machine.faults!.calls };
  for (const key of Object.keys(calls) as FaultOperation[]) calls[key] -= before[key];
  return { ...calls, allocate };
}

/** Lets the n-th allocation fail, once. */
function failing(nth: number): AllocationGate {
  let left = nth;
  return (bytes) => {
    if (--left === 0) throw outOfMemory(bytes);
  };
}

export async function runWithFault(
  scenario: Scenario,
  analyseWith: (backing: Buffer | null) => Analyse,
  fault: Trouble,
): Promise<FaultRun> {
  const machine = await started(scenario);
  const result: FaultRun = { errors: 0, leaks: 0, states: 0, violations: [] };
  const bad = (text: string): void => void result.violations.push(text);
  machine.patient = true;
  if (fault.operation !== "allocate") machine.faults!.fail(fault);
  try {
    await watched(fault.operation === "allocate" ? failing(fault.nth) : () => {}, () => scenario.run(machine));
  } catch (error) {
    // An operation on the whole image failed: the workload ends.
    if (!(error instanceof BlockError)) throw error;
    machine.errors.push(error);
    scenario.afterFailure?.(machine);
  }
  // Half of the runs find the medium healthy again when they close.
  const healed = fault.operation === "allocate" || fault.forever !== true || (fault.nth ?? 0) % 2 === 0;
  if (healed) machine.faults!.heal();
  let live: Buffer | null = null;
  try {
    live = machine.content();
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    // A cache full of tables that cannot be written has no room for others.
    if (healed) bad(`reading failed: ${error.message}`);
  }
  let closed = true;
  try {
    await machine.close();
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    machine.errors.push(error);
    closed = false;
  }
  result.errors = machine.errors.length;

  const analyse = analyseWith(machine.backing);
  const promises = new Promises(analyse(machine.base), machine.backing);
  visitStates(Buffer.from(machine.base), machine.lines, {
    perEpoch: 6,
    seed: 1,
    guest: (line) => promises.guest(line),
    visit(state, label) {
      result.states++;
      const wrong = judged(analyse(state), promises);
      if (wrong !== null && result.violations.length < 3) bad(`after a crash: ${wrong} (${label})`);
    },
  });
  const final = analyse(machine.bytes());
  result.leaks = final.leaks;
  // What the guest was told is done holds in the session; what failed is old or new.
  promises.flushed(new Set(machine.lines.flatMap((line) => (line.op === "ga" ? [line.id] : []))));
  if (live !== null) {
    const wrong = promises.broken({
      ...final,
      vsize: live.length,
      read: (offset, length, l1, entries) =>
        l1 === undefined ? live.subarray(offset, offset + length) : final.read(offset, length, l1, entries),
    });
    if (wrong !== null && !wrong.includes("snapshot")) bad(`in the session: ${wrong}`);
  }
  if (closed) {
    const wrong = judged(final, promises) ?? (final.dirty ? "still dirty" : null);
    if (wrong !== null) bad(`closed: ${wrong}`);
  }
  return result;
}

function judged(image: Analysed, promises: Promises): string | null {
  if (!image.open) return `cannot be opened: ${image.err}`;
  if (image.corrupt) return "the corrupt bit is set";
  if (image.ncorr) return `corrupt: ${image.corruptions[0]}`;
  return promises.broken(image);
}
