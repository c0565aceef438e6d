/** Guest writes during jobs, in orders chosen from a seed: what each job promises of the bytes holds in every one of them. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { equalBytes } from "../../../src/base/bytes.js";
import { Backend } from "../../../src/block/backend.js";
import { readBytes, write } from "../../../src/block/io.js";
import type { Child, Node } from "../../../src/block/node.js";
import type { Op } from "../../../src/block/op.js";
import type { PassThrough } from "../../../src/block/pass-through.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { layerStatus } from "../../../src/block/status.js";
import { backupDriver } from "../../../src/jobs/backup.js";
import { commitDriver } from "../../../src/jobs/commit.js";
import { insertJobFilter, removeJobFilter, type JobFilterOptions } from "../../../src/jobs/filter.js";
import { Job, type JobDriver, type JobEvents, type JobStatus } from "../../../src/jobs/job.js";
import type { ErrorPolicies } from "../../../src/jobs/job-io.js";
import { mirrorDriver, type MirrorSync } from "../../../src/jobs/mirror.js";
import { streamDriver } from "../../../src/jobs/stream.js";
import { chooseSeed, random, type Random } from "../../support/random.js";
import { makeWorld, type Mode, type World } from "../../support/world.js";

const SIZE = 256 * 1024;
const CLUSTER = 4096;
const long =
  (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env?.["BLOCKCORE_LONG"] !== undefined;
const ROUNDS = long ? 3000 : 120;

const policies: ErrorPolicies = { read: "report", write: "report", events: { error: () => {} } };

function newJob(driver: JobDriver, statuses: JobStatus[]): Job {
  const events: JobEvents = {
    statusChanged: (_job, status) => void statuses.push(status),
    ready: () => {},
    pending: () => {},
    finished: () => {},
    dismissed: () => {},
  };
  return new Job({ id: "job", driver, events, now: () => 0, autoDismiss: false });
}

interface Setup {
  world: World;
  chance: Random;
  base: Node;
  middle: Node;
  top: Node;
  model: Uint8Array;
}

/** base ← middle ← top, each with some data. */
async function setUp(mode: Mode, seed: number): Promise<Setup> {
  const chance = random(seed);
  const world = makeWorld({ mode, drivers: [raw, qcow2], seed });
  const model = new Uint8Array(SIZE);
  const names = ["base", "middle", "top"];
  for (const [i, name] of names.entries()) {
    const below = names[i - 1];
    await world.create("qcow2", name, SIZE, {
      cluster_size: CLUSTER,
      ...(below === undefined ? {} : { backing_file: below, backing_fmt: "qcow2" }),
    });
    const node = await world.open("qcow2", name);
    for (let n = chance.int(8) + 2; n > 0; n--) {
      const { offset, length } = range(chance);
      const bytes = chance.bytes(length);
      model.set(bytes, offset);
      await world.run(write(node, bytes, offset));
    }
    await world.close(node);
  }
  const top = await world.open("qcow2", "top");
  return { world, chance, top, middle: top.backing!, base: top.backing!.backing!, model };
}

function range(chance: Random): { offset: number; length: number } {
  const offset = chance.int(SIZE - 1);
  return { offset, length: Math.min(SIZE - offset, 1 + chance.int(chance.chance(0.3) ? 60_000 : 5000)) };
}

/** A guest: requests one after the other; the model follows when each is done. */
function* guest(backend: Backend, chance: Random, model: Uint8Array, count: number): Op<void> {
  for (let n = 0; n < count; n++) {
    const { offset, length } = range(chance);
    if (chance.chance(0.2)) {
      yield* backend.writeZeroes(offset, length, { mayUnmap: chance.chance(0.5) });
      model.fill(0, offset, offset + length);
    } else {
      const bytes = chance.bytes(length);
      yield* backend.write(bytes, offset);
      model.set(bytes, offset);
    }
  }
}

async function finishAll(world: World, ops: Op<unknown>[]): Promise<void> {
  for (const outcome of await world.runAll(ops)) if (!outcome.ok) throw outcome.error;
}

async function expectContent(world: World, node: Node, expected: Uint8Array, what: string): Promise<void> {
  const bytes = await world.run(readBytes(node, 0, SIZE));
  for (let i = 0; i < SIZE; i++)
    if (bytes[i] !== expected[i]) assert.unreachable(`${what}: byte ${i} is ${bytes[i]}, not ${expected[i]}`);
}

/** The job runs with its own node above what it works on, as the commands of QMP have it. */
function* runFiltered(job: Job, filter: Node): Op<void> {
  yield* job.run();
  yield* removeJobFilter(filter);
}

function rounds(name: string, body: (setup: Setup, mode: Mode) => Promise<void>): void {
  for (const mode of ["seeded", "async"] as const) {
    test(`${name} (${mode})`, async () => {
      const first = chooseSeed();
      console.log(`${name} (${mode}): SEED=${first}`);
      for (let round = 0; round < (mode === "seeded" ? ROUNDS : ROUNDS / 6); round++) {
        const seed = (first + round) >>> 0;
        try {
          await body(await setUp(mode, seed), mode);
        } catch (error) {
          throw new Error(`SEED=${seed} ${(error as Error).stack}`);
        }
      }
    });
  }
}

rounds("backup is the disk as it was when it began", async ({ world, chance, top, model }) => {
  await world.create("qcow2", "target", SIZE, { cluster_size: CLUSTER });
  const target = await world.open("qcow2", "target");
  const before = model.slice();
  const device = new Backend("disk", top);
  const sync = chance.pick(["full", "top"] as const);
  const held = sync === "top" ? await heldByTop(world, top) : [];
  const driver = backupDriver({
    source: top,
    target,
    sync,
    compress: chance.chance(0.3),
    clusterSize: UNIT,
    workers: chance.int(12) + 1,
    maxChunk: UNIT * (chance.int(8) + 1),
    policies,
  });
  const job = newJob(driver, []);
  const filter = await world.run(insertJobFilter({ driver: "copy-before-write", above: top, target }));
  await finishAll(world, [runFiltered(job, filter), guest(device, chance, model, 12)]);
  assert.is(device.node, top);
  assert.is(job.error, null);
  assert.is(job.status, "concluded");
  assert.is(job.progress.current, job.progress.total);
  if (sync === "full") await expectContent(world, target, before, "backup");
  else await expectTop(world, target, before, held);
  await expectContent(world, top, model, "source");
  await world.run(device.close());
  await world.close(top);
  await world.close(target);
});

const UNIT = 8192;

/** Which of the units backup copies the top layer holds something of. */
async function heldByTop(world: World, top: Node): Promise<boolean[]> {
  const held: boolean[] = [];
  for (let at = 0; at < SIZE; at += CLUSTER) {
    const status = await world.run(layerStatus(top, at, CLUSTER, false));
    held[Math.floor(at / UNIT)] = held[Math.floor(at / UNIT)] === true || status.allocated;
  }
  return held;
}

/** What the top layer held is there; of the rest a guest write may have pushed old content into the copy, too. */
async function expectTop(world: World, target: Node, before: Uint8Array, held: readonly boolean[]): Promise<void> {
  const bytes = await world.run(readBytes(target, 0, SIZE));
  for (const [unit, mustBe] of held.entries()) {
    const got = bytes.subarray(unit * UNIT, (unit + 1) * UNIT);
    const copied = equalBytes(got, before.subarray(unit * UNIT, (unit + 1) * UNIT));
    assert.ok(copied || (!mustBe && equalBytes(got, new Uint8Array(UNIT))), `unit ${unit} of the backup`);
  }
}

rounds("mirror follows the guest and then takes its place", async ({ world, chance, top, model }) => {
  const sync: MirrorSync = chance.pick(["full", "full", "none"]);
  await world.create("qcow2", "target", SIZE, { cluster_size: CLUSTER });
  const target = await world.open("qcow2", "target");
  const device = new Backend("disk", top);
  const complete = chance.chance(0.7);
  const statuses: JobStatus[] = [];
  const writeBlocking = chance.chance(0.6);
  const driver = mirrorDriver({
    source: top,
    target,
    sync,
    granularity: CLUSTER,
    bufferSize: chance.pick([1, 16]) << 20,
    writeBlocking,
    targetIsZero: chance.chance(0.5),
    unmap: true,
    base: null,
    replaces: null,
    policies,
  });
  const job = newJob(driver, statuses);
  const options: JobFilterOptions = { driver: "mirror_top", above: top, serve: (child) => driver.serve(child) };
  const filter = await world.run(insertJobFilter(options));
  function* operator(): Op<void> {
    yield* guest(device, chance, model, 10);
    while (!job.isReady) yield* device.flush();
    if (writeBlocking && sync !== "none") {
      // Nothing is left to do for the job while the guest writes through it: the target has it when the guest's request ends.
      yield* guest(device, chance, model, 4);
      const bytes = yield* readBytes(target, 0, SIZE);
      assert.ok(equalBytes(bytes, model), "the target while the job is ready");
    }
    yield* guest(device, chance, model, 6);
    if (complete) job.complete();
    else job.cancel(false);
  }
  await finishAll(world, [runFiltered(job, filter), operator()]);
  assert.is(job.error, null);
  assert.ok(statuses.includes("ready"));
  if (sync !== "none") await expectContent(world, target, model, "target");
  if (complete) assert.is(device.node, target);
  else assert.is(device.node, top);
  if (sync !== "none" || !complete) await expectContent(world, device.node, model, "device");
  await world.run(device.close());
  if (!complete) await world.close(top);
  await world.close(target);
});

rounds("stream leaves the content alone and drops the layers", async ({ world, chance, top, base, model }) => {
  const whole = chance.chance(0.5);
  const device = new Backend("disk", top);
  const job = newJob(streamDriver({ top, base: whole ? null : base, policies }), []);
  const filter = await world.run(insertJobFilter({ driver: "copy-on-read", above: top }));
  await finishAll(world, [runFiltered(job, filter), guest(device, chance, model, 10)]);
  assert.is(job.error, null);
  assert.is(top.backing, whole ? null : base);
  await expectContent(world, top, model, "after streaming");
  await world.run(device.close());
  await world.close(top);
  const again = await world.open("qcow2", "top");
  assert.is(again.backing?.filename ?? null, whole ? null : "base");
  await expectContent(world, again, model, "opened again");
  await world.close(again);
});

rounds("commit of a middle layer leaves the content alone and drops it", async ({ world, chance, top, middle, base, model }) => {
  const device = new Backend("disk", top);
  const driver = commitDriver({ top: middle, base, policies });
  const job = newJob(driver, []);
  const serve = (child: Child): PassThrough => driver.serve(child);
  const filter = await world.run(insertJobFilter({ driver: "commit_top", above: middle, serve }));
  await finishAll(world, [runFiltered(job, filter), guest(device, chance, model, 10)]);
  assert.is(job.error, null);
  assert.is(top.backing, base);
  await expectContent(world, top, model, "after commit");
  await world.run(device.close());
  await world.close(top);
  const again = await world.open("qcow2", "top");
  assert.is(again.backing?.filename, "base");
  await expectContent(world, again, model, "opened again");
  await world.close(again);
});

test.run();
