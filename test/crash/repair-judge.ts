/**
 * Power cuts during a repair: every state the medium can be left in, judged.
 *
 * A damaged image cannot be asked to be sound. What holds in every state: the guest's disk and the snapshots read as they did; no
 * cluster in use counts for less than it did, unless the image says that it is corrupt; the header says "corrupt" or "dirty" until
 * nothing is left to mend; and another repair, ours or QEMU's, ends with a sound image that reads the same.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CheckFix } from "../../src/block/types.js";
import type { Qcow2 } from "../../src/formats/qcow2/image.js";
import { imageOf, qcow2 } from "../../src/formats/qcow2/qcow2.js";
import { raw } from "../../src/formats/raw/raw.js";
import { checkImage } from "../../src/image/check.js";
import { memoryStorage, type MemoryStorage } from "../../src/storage/memory.js";
import { recordingStorage } from "../support/recording.js";
import { makeWorld, type World } from "../support/world.js";
import type { Analyse, Analysed } from "./oracle.js";
import { visitStates } from "./states.js";

export interface Repair {
  name: string;
  size: number;
  create: Readonly<Record<string, unknown>>;
  /** What is in the image before it is damaged: works on the file "image". */
  before(world: World): Promise<void>;
  /** The image, and behind it free space of the medium. */
  damage(bytes: Buffer): void;
  fix: CheckFix;
  /** QEMU has no repair for it. */
  beyondQemu?: boolean;
  /** Breaks the driver before the repair: for tests that the judge notices. */
  sabotage?(image: Qcow2): void;
}

export interface RepairOptions {
  /** What free space of the medium holds. */
  stale: number;
  perEpoch: number;
  seed: number;
  /** Every so-many-th state is repaired again by us; and by the real qemu-img (0: none). */
  againEvery: number;
  qemuEvery: number;
}

export interface RepairVerdict {
  states: number;
  again: number;
  qemu: number;
  violations: string[];
}

/** Bytes of free space inside of the file, and behind its end, where a repair puts new refcount structures. */
const INSIDE = 1 << 17;
const BEHIND = 1 << 20;

export async function judgeRepair(repair: Repair, analyse: Analyse, options: RepairOptions): Promise<RepairVerdict> {
  const world = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
  await world.create("qcow2", "image", repair.size, repair.create);
  await repair.before(world);
  const sound = Buffer.from(world.bytes("image"));
  const cluster = sound.readUInt32BE(20);
  const base = Buffer.alloc(Math.ceil((sound.length + INSIDE) / 2 ** cluster) * 2 ** cluster, options.stale);
  sound.copy(base);
  repair.damage(base);
  const whole = Buffer.concat([base, Buffer.alloc(BEHIND, options.stale)]);
  const judge = new Judge(analyse, whole);

  const medium = memoryStorage(Buffer.from(base), { name: "image" });
  const recorder = recordingStorage(medium);
  // The world takes the media's faces only.
  world.files.set("image", recorder as unknown as MemoryStorage);
  await mend(world, repair.fix, repair.sabotage);

  const verdict: RepairVerdict = { states: 0, again: 0, qemu: 0, violations: [] };
  const repaired: [state: Buffer, label: string][] = [];
  const bad = (text: string | null, label: string): void => {
    if (text !== null && verdict.violations.length < 10) verdict.violations.push(`${text} (${label})`);
  };
  visitStates(whole, recorder.lines, {
    perEpoch: options.perEpoch,
    seed: options.seed,
    guest() {},
    visit(state, label) {
      const turn = verdict.states++;
      bad(judge.state(state), label);
      if (turn % options.againEvery === 0) repaired.push([Buffer.from(state), label]);
      if (options.qemuEvery === 0 || repair.beyondQemu === true || turn % options.qemuEvery !== 1) return;
      verdict.qemu++;
      bad(judge.whole(qemuRepair(state), "QEMU's repair"), label);
    },
  });
  for (const [state, label] of repaired) {
    verdict.again++;
    const again = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
    again.files.set("image", memoryStorage(state, { name: "image" }));
    await mend(again, "all");
    bad(judge.whole(Buffer.from(again.bytes("image")), "a second repair"), label);
  }
  if (repair.fix === "all") bad(judge.whole(Buffer.from(medium.toBytes()), "the repair"), "closed");
  return verdict;
}

async function mend(world: World, fix: CheckFix, sabotage?: (image: Qcow2) => void): Promise<void> {
  const node = await world.open("qcow2", "image", { check: true, write: true });
  sabotage?.(imageOf(node.impl));
  await world.run(checkImage(node, { fix }));
  await world.close(node);
}

function qemuRepair(state: Buffer): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "blockcore-repair-"));
  try {
    const file = join(folder, "image");
    writeFileSync(file, state);
    spawnSync("qemu-img", ["check", "-q", "-f", "qcow2", "-r", "all", file]);
    return readFileSync(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

class Judge {
  readonly #analyse: Analyse;
  readonly #base: Analysed;
  readonly #content: Buffer;

  constructor(analyse: Analyse, base: Buffer) {
    this.#analyse = analyse;
    this.#base = analyse(base);
    if (!this.#base.open) throw new Error(`the oracle cannot read the damaged image: ${this.#base.err}`);
    this.#content = this.#base.read(0, this.#base.vsize);
  }

  #reads(image: Analysed): string | null {
    if (!image.open) return `cannot be opened: ${image.err}`;
    if (image.vsize !== this.#base.vsize) return `has the size ${image.vsize}`;
    if (!image.read(0, image.vsize).equals(this.#content)) return "reads something else";
    for (const kept of this.#base.snapshots) {
      const found = image.snapshots.find(({ name }) => name === kept.name);
      if (found === undefined) return `snapshot ${kept.name} is gone`;
      const content = this.#base.read(0, kept.size, kept.l1o, kept.l1n);
      if (!image.read(0, found.size, found.l1o, found.l1n).equals(content)) return `snapshot ${kept.name} reads something else`;
    }
    return null;
  }

  /** A state in the middle of the repair. */
  state(state: Buffer): string | null {
    const image = this.#analyse(state);
    const reads = this.#reads(image);
    if (reads !== null) return reads;
    if (!image.ncorr) return null;
    if (this.#base.corrupt && !image.corrupt) return `says that it is in order: ${image.corruptions[0]}`;
    if (this.#base.dirty && !image.dirty) return `says that it was closed: ${image.corruptions[0]}`;
    if (!this.#base.ncorr) return `corrupt: ${image.corruptions[0]}`;
    // An image that says so is not written to before it is mended.
    if (image.corrupt) return null;
    // COPIED flags may be behind what the refcounts say by then.
    const worse = image.corruptions.find((text) => !text.startsWith("COPIED") && !this.#base.corruptions.includes(text));
    return worse === undefined ? null : `worse than before: ${worse}`;
  }

  /** An image that was mended. */
  whole(bytes: Buffer, who: string): string | null {
    const image = this.#analyse(bytes);
    const reads = this.#reads(image);
    if (reads !== null) return `after ${who}: ${reads}`;
    if (image.ncorr) return `after ${who}: corrupt: ${image.corruptions[0]}`;
    if (image.leaks > 0) return `after ${who}: ${image.leaks} leaked clusters`;
    return image.corrupt || image.dirty ? `after ${who}: a bit of the header is still set` : null;
  }
}
