/** Runs a scenario and judges every crash state of it. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { write } from "../../src/block/io.js";
import type { Environment } from "../../src/block/context.js";
import type { Node } from "../../src/block/node.js";
import { openNode } from "../../src/block/open.js";
import { runSync, type Op } from "../../src/block/op.js";
import { qcow2 } from "../../src/formats/qcow2/qcow2.js";
import { raw } from "../../src/formats/raw/raw.js";
import { memoryStorage } from "../../src/storage/memory.js";
import { makeWorld } from "../support/world.js";
import { BACKING_NAMES, Machine } from "./machine.js";
import type { Analyse, Analysed } from "./oracle.js";
import { Promises } from "./promises.js";
import type { Scenario } from "./scenarios.js";
import { visitStates } from "./states.js";

export interface JudgeOptions {
  stale: number;
  perEpoch: number;
  seed: number;
  /** Every so-many-th state is opened read-write by our driver, without repair where it is clean, and written to; 0: none. */
  continueEvery: number;
  /** Every so-many-th state is given to the real qemu-img and qemu-io; 0: none. */
  qemuEvery: number;
}

export interface Verdict {
  name: string;
  epochs: number;
  distinct: number;
  withLeaks: number;
  dirty: number;
  continued: number;
  qemuChecked: number;
  violations: string[];
}

export async function judge(
  scenario: Scenario,
  analyseWith: (backing: Buffer | null) => Analyse,
  options: JudgeOptions,
): Promise<Verdict> {
  const machine = new Machine({ ...scenario.machine, stale: options.stale, seed: options.seed });
  await machine.create();
  scenario.before?.(machine);
  await machine.record();
  scenario.sabotage?.(machine);
  await scenario.run(machine);
  await machine.close();

  const analyse = analyseWith(machine.backing);
  const base = analyse(machine.base);
  if (!base.open) throw new Error(`${scenario.name}: the image is not sound to begin with: ${base.err}`);
  const promises = new Promises(base, machine.backing);
  const verdict: Verdict = {
    name: scenario.name,
    epochs: 0,
    distinct: 0,
    withLeaks: 0,
    dirty: 0,
    continued: 0,
    qemuChecked: 0,
    violations: [],
  };
  const bad = (text: string, label: string): void => {
    if (verdict.violations.length < 10) verdict.violations.push(`${text} (${label})`);
  };
  const after = new Afterlife(machine, analyse);
  try {
    const { epochs, distinct } = visitStates(Buffer.from(machine.base), machine.lines, {
      perEpoch: options.perEpoch,
      seed: options.seed,
      guest: (line) => promises.guest(line),
      visit(state, label) {
        verdict.distinct++;
        const image = analyseSafely(analyse, state);
        if (image === null) {
          bad("a table points to where no file can be", label);
          return;
        }
        const wrong = judgeState(image, promises) ?? judgeName(state, machine);
        if (wrong !== null) bad(wrong, label);
        if (image.leaks > 0) verdict.withLeaks++;
        if (image.dirty) verdict.dirty++;
        if (!image.open) return;
        if (options.continueEvery > 0 && verdict.distinct % options.continueEvery === 0) {
          verdict.continued++;
          const text = after.ours(state, image);
          if (text !== null) bad(`afterwards: ${text}`, label);
        }
        if (options.qemuEvery > 0 && (verdict.distinct + options.seed * 37) % options.qemuEvery === 0) {
          verdict.qemuChecked++;
          const text = after.qemu(state, image, promises);
          if (text !== null) bad(`QEMU: ${text}`, label);
        }
      },
    });
    verdict.epochs = epochs;
    if (distinct !== verdict.distinct) throw new Error("states were not all visited");
  } finally {
    after.dispose();
  }
  // Closed properly: nothing leaks, nothing is dirty, all is there.
  const final = analyse(machine.bytes());
  if (!final.open || final.ncorr || final.leaks > 0 || final.dirty) {
    bad(
      `after closing: ${final.err ?? final.corruptions[0] ?? ""} ${final.leaks} leaked clusters${final.dirty ? ", dirty" : ""}`,
      "closed",
    );
  }
  promises.flushed(new Set(machine.lines.flatMap((line) => (line.op === "ga" ? [line.id] : []))));
  const wrong = final.open ? promises.broken(final) : null;
  if (wrong !== null) bad(wrong, "closed");
  return verdict;
}

/** The reader of the oracle does not expect offsets with all bits set. */
function analyseSafely(analyse: Analyse, state: Buffer): Analysed | null {
  try {
    return analyse(state);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function judgeState(image: Analysed, promises: Promises): string | null {
  if (!image.open) return `cannot be opened: ${image.err}`;
  if (image.corrupt) return "the corrupt bit is set";
  if (image.ncorr) return `corrupt: ${image.corruptions[0]}`;
  try {
    return promises.broken(image);
  } catch (error) {
    return `reading failed: ${(error as Error).message}`;
  }
}

/** The backing file's name is one that was given, not half of one and half of another. */
function judgeName(state: Buffer, machine: Machine): string | null {
  if (machine.backing === null) return null;
  const offset = Number(state.readBigUInt64BE(8));
  const name = state.toString("latin1", offset, offset + state.readUInt32BE(16));
  return BACKING_NAMES.includes(name) ? null : `the backing file's name is '${name.slice(0, 80)}'`;
}

/** Life after the crash. */
class Afterlife {
  readonly #machine: Machine;
  readonly #analyse: Analyse;
  #folder: string | null = null;

  constructor(machine: Machine, analyse: Analyse) {
    this.#machine = machine;
    this.#analyse = analyse;
  }
  dispose(): void {
    if (this.#folder !== null) rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Places to write to, and what the disk must read then. */
  #plan(image: Analysed): { at: number; fill: number }[] {
    const places = [0, 65536, 131072, Math.floor(image.vsize / 8192) * 4096].filter(
      (at, i, all) => at + 1024 <= image.vsize && all.indexOf(at) === i,
    );
    return places.map((at, i) => ({ at, fill: 200 + i }));
  }

  #compare(before: Analysed, after: Analysed, plan: { at: number; fill: number }[]): string | null {
    if (!after.open) return `cannot be opened: ${after.err}`;
    if (after.ncorr) return `corrupt: ${after.corruptions[0]}`;
    const expected = before.read(0, before.vsize);
    for (const { at, fill } of plan) expected.fill(fill, at, at + 1024);
    if (!after.read(0, after.vsize).equals(expected)) return "a write changed something else";
    for (const snapshot of before.snapshots) {
      const then = after.snapshots.find(({ name }) => name === snapshot.name);
      if (then === undefined) return `snapshot ${snapshot.name} is gone`;
      if (!after.read(0, then.size, then.l1o, then.l1n).equals(before.read(0, snapshot.size, snapshot.l1o, snapshot.l1n)))
        return `snapshot ${snapshot.name} was damaged`;
    }
    return null;
  }

  ours(state: Buffer, before: Analysed): string | null {
    const world = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
    const medium = memoryStorage(state, { name: "image" });
    world.files.set("image", medium);
    const { backing } = this.#machine;
    if (backing !== null) for (const name of BACKING_NAMES) world.files.set(name, memoryStorage(backing, { name }));
    const plan = this.#plan(before);
    const { environment } = world;
    try {
      const node = runSync(openSync(environment));
      for (const { at, fill } of plan) runSync(write(node, new Uint8Array(1024).fill(fill), at));
      runSync(node.unref());
    } catch (error) {
      return (error as Error).message;
    }
    const bytes = medium.toBytes();
    const after = this.#analyse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
    if (after.dirty) return "still dirty after closing";
    return this.#compare(before, after, plan);
  }

  qemu(state: Buffer, before: Analysed, promises: Promises): string | null {
    this.#folder ??= mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "blockcore-crash-"));
    const cwd = this.#folder;
    const file = join(cwd, "image");
    writeFileSync(file, state);
    const { backing } = this.#machine;
    for (const name of backing === null ? [] : BACKING_NAMES) {
      mkdirSync(dirname(join(cwd, name)), { recursive: true });
      writeFileSync(join(cwd, name), backing!);
    }
    const run = (program: string, ...args: string[]): { status: number | null; text: string } => {
      const { status, stdout, stderr } = spawnSync(program, args, { cwd });
      return { status, text: `${stdout.toString()}${stderr.toString()}`.trim() };
    };
    if (!before.dirty) {
      const check = run("qemu-img", "check", "-f", "qcow2", "--output=json", "image");
      if (check.status !== 0 && check.status !== 3) return `check says ${check.status}: ${check.text.slice(0, 300)}`;
    }
    const plan = this.#plan(before);
    const io = run(
      "qemu-io",
      "-f",
      "qcow2",
      ...plan.flatMap(({ at, fill }) => ["-c", `write -q -P ${fill} ${at} 1024`]),
      "image",
    );
    if (io.status !== 0 || /failed|corrupt;/i.test(io.text)) return io.text;
    const continued = this.#compare(before, this.#analyse(readFileSync(file)), plan);
    if (continued !== null) return `after writing: ${continued}`;
    writeFileSync(file, state);
    run("qemu-img", "check", "-q", "-f", "qcow2", "-r", "all", "image");
    const clean = run("qemu-img", "check", "-f", "qcow2", "image");
    if (clean.status !== 0) return `not clean after its repair: ${clean.text.slice(0, 300)}`;
    return promises.broken(this.#analyse(readFileSync(file)));
  }
}

function openSync(environment: Environment): Op<Node> {
  return openNode(environment, { driver: "qcow2", filename: "image", options: {}, flags: { write: true, unmap: true } });
}
