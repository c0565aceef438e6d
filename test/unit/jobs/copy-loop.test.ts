/** The loop of all copying jobs: several pieces at a time, and when it stands still. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { write } from "../../../src/block/io.js";
import { runAsync, sleep, WaitQueue, WaitRequest, type Op } from "../../../src/block/op.js";
import { blockStatus } from "../../../src/block/status.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { backupDriver } from "../../../src/jobs/backup.js";
import { copyLoop, type CopyLoop, type Piece } from "../../../src/jobs/copy-loop.js";
import { Job, type JobDriver } from "../../../src/jobs/job.js";
import { SideError, type ErrorPolicies } from "../../../src/jobs/job-io.js";
import { mirrorDriver } from "../../../src/jobs/mirror.js";
import { makeWorld } from "../../support/world.js";

const nothing = (): void => {};
const policies: ErrorPolicies = { read: "stop", write: "stop", events: { error: nothing } };

function newJob(driver: JobDriver, ready: () => void = nothing): Job {
  const events = { statusChanged: nothing, ready, pending: nothing, finished: nothing, dismissed: nothing };
  return new Job({ id: "j", driver, events, now: () => Date.now(), autoDismiss: false });
}

/** A job that copies pieces 0 to `count`-1, of one byte each. */
function countingJob(
  count: number,
  workers: number,
  copy: (n: number, job: Job) => Op<void>,
  more: Partial<CopyLoop<Piece>> = {},
): Job {
  let n = 0;
  return newJob({
    type: "backup",
    run: (job) =>
      copyLoop<Piece>(job, {
        policies,
        workers,
        // eslint-disable-next-line require-yield
        *next() {
          return n === count ? null : { offset: n++, length: 1 };
        },
        copy: ({ offset }) => copy(offset, job),
        ...more,
      }),
  });
}

test("who is done takes the next piece, although an earlier one takes long", async () => {
  const last = new WaitQueue();
  const order: number[] = [];
  const passed: number[] = [];
  const job = countingJob(
    6,
    2,
    function* (n) {
      if (n === 0) yield new WaitRequest(last);
      order.push(n);
      if (n === 5) last.wakeAll();
    },
    { passed: ({ offset }) => void passed.push(offset) },
  );
  await runAsync(job.run());
  assert.is(job.error, null);
  assert.equal(order, [1, 2, 3, 4, 5, 0]);
  assert.equal(passed, [0, 1, 2, 3, 4, 5]);
});

test("nothing is under way while the job is paused, and while it has something else to do", async () => {
  let underWay = 0;
  let most = 0;
  let between = 0;
  let pauses = 0;
  const job = countingJob(
    20,
    4,
    function* (n, running) {
      most = Math.max(most, ++underWay);
      if (n === 7) running.pause();
      yield* sleep(1);
      underWay--;
    },
    {
      isDue: () => true,
      // eslint-disable-next-line require-yield
      *between() {
        between++;
        assert.is(underWay, 0);
      },
    },
  );
  job.watchers.add((status) => {
    if (status !== "paused") return;
    assert.is(underWay, 0);
    pauses++;
    setTimeout(() => job.resume(), 2);
  });
  await runAsync(job.run());
  assert.is(job.error, null);
  assert.equal([pauses, between], [1, 20]);
  assert.is(most, 1);
});

test("a piece that overlaps one under way waits for its turn", async () => {
  const pieces: Piece[] = [
    { offset: 0, length: 4 },
    { offset: 2, length: 4 },
    { offset: 8, length: 1 },
  ];
  const order: string[] = [];
  const job = countingJob(0, 3, function* () {}, {
    // eslint-disable-next-line require-yield
    *next() {
      return pieces.shift() ?? null;
    },
    putBack: (piece) => void pieces.unshift(piece),
    *copy({ offset }) {
      order.push(`+${offset}`);
      yield* sleep(1);
      order.push(`-${offset}`);
    },
  });
  await runAsync(job.run());
  assert.is(job.error, null);
  assert.ok(order.indexOf("+2") > order.indexOf("-0"), order.join(" "));
  assert.is(order.length, 6);
});

test("a piece that failed is copied again after the job was resumed; those after it have not been forgotten", async () => {
  const copied: number[] = [];
  let fails = 2;
  const job = countingJob(9, 3, function* (n) {
    yield* sleep(1);
    if (n === 4 && fails-- > 0) throw new SideError("write", new Error("no"));
    copied.push(n);
  });
  job.watchers.add((status) => {
    if (status === "paused") setTimeout(() => job.resume(), 1);
  });
  await runAsync(job.run());
  assert.is(job.error, null);
  assert.equal(
    copied.sort((a, b) => a - b),
    [0, 1, 2, 3, 4, 5, 6, 7, 8],
  );
});

const KiB = 1024;
/** Every other cluster of the source is data; so it is on the target afterwards, in runs and not as one. */
for (const kind of ["mirror", "backup"] as const) {
  test(`${kind} leaves holes where the source has some, and flushes before it tells`, async () => {
    const size = 1024 * KiB;
    const world = makeWorld({ mode: "async", drivers: [raw, qcow2] });
    for (const name of ["source", "target"]) await world.create("qcow2", name, size);
    const source = await world.open("qcow2", "source");
    const target = await world.open("qcow2", "target");
    for (let at = 0; at < size; at += 128 * KiB) await world.run(write(source, new Uint8Array(64 * KiB).fill(7), at));
    let flushed = 0;
    const { impl } = target;
    const flush = impl.shape === "storage" ? null : impl.flush.bind(impl);
    Object.assign(impl, {
      *flush() {
        flushed++;
        yield* flush!();
      },
    });
    const common = { source, target, sync: "full", policies } as const;
    const driver =
      kind === "backup"
        ? backupDriver({ ...common, compress: false, clusterSize: 64 * KiB })
        : mirrorDriver({
            ...common,
            granularity: 64 * KiB,
            bufferSize: 1024 * KiB,
            writeBlocking: false,
            targetIsZero: false,
            unmap: true,
            base: null,
            replaces: null,
          });
    let flushedWhenReady = 0;
    const job: Job = newJob(driver, () => {
      flushedWhenReady = flushed;
      job.cancel(false);
    });
    await world.run(job.run());
    assert.is(job.error, null);
    assert.ok(kind === "backup" ? flushed > 0 : flushedWhenReady > 0, "flushed");
    for (let at = 0; at < size; at += 64 * KiB) {
      const status = await world.run(blockStatus(target, at, 64 * KiB));
      assert.equal([status.data, status.zero], at % (128 * KiB) === 0 ? [true, false] : [false, true], `at ${at}`);
    }
    await world.close(source);
    await world.close(target);
  });
}

test.run();
