/** Throttling under a clock of our own: averages, bursts, operations by size, fairness, changed limits. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { allFilters } from "../../../src/platform/all-filters.js";
import { ManualClock } from "../../../src/base/clock.js";
import { Backend } from "../../../src/block/backend.js";
import { drained, suspendLimits } from "../../../src/block/graph.js";
import { write } from "../../../src/block/io.js";
import { openNode } from "../../../src/block/open.js";
import { runAsync, runSync, type Op } from "../../../src/block/op.js";
import { checkLimits, noLimits, takeLimits, type ThrottleLimits } from "../../../src/block/throttle.js";
import { ThrottleGroup, ThrottleMember } from "../../../src/block/throttle-group.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../src/storage/memory.js";
import { makeWorld } from "../../support/world.js";

const limits = (text: Record<string, number>): ThrottleLimits => takeLimits({ ...text });
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** Runs an op to its end; the clock moves to the next timer whenever nothing else can happen. */
async function run(clock: ManualClock, op: Op<void>): Promise<void> {
  let over = false;
  const running = runAsync(op).finally(() => (over = true));
  for (;;) {
    for (let i = 0; i < 8; i++) await Promise.resolve();
    if (over) return await running;
    await turn();
    if (over) return await running;
    assert.is.not(clock.next, null, "nothing will ever happen");
    clock.advance(clock.next! - clock.now());
  }
}

test("the average holds in the long run", async () => {
  const clock = new ManualClock();
  const member = new ThrottleMember(new ThrottleGroup("g", limits({ "bps-total": 1_000_000 }), clock));
  for (let i = 0; i < 100; i++) await run(clock, member.admit(i % 2 === 0 ? "read" : "write", 100_000));
  // 10 MB at 1 MB/s, the first tenth of a second and the last request free.
  assert.is(Math.round(clock.now()), 9_800);
});

test("a burst goes at its own rate for as long as it may", async () => {
  const clock = new ManualClock();
  const group = new ThrottleGroup("g", limits({ "iops-total": 10, "iops-total-max": 100, "iops-total-max-length": 3 }), clock);
  const member = new ThrottleMember(group);
  let done = 0;
  while (clock.now() < 3_000) {
    await run(clock, member.admit("write", 512));
    done++;
  }
  assert.ok(done >= 280 && done <= 345, `${done} operations in the burst`);
  const burst = done;
  while (clock.now() < 8_000) {
    await run(clock, member.admit("write", 512));
    done++;
  }
  assert.ok(done - burst <= 75, `${done - burst} operations after it`);
});

test("large requests count as several operations; directions are limited apart", async () => {
  const clock = new ManualClock();
  const member = new ThrottleMember(new ThrottleGroup("g", limits({ "iops-write": 10, "iops-size": 4096 }), clock));
  for (let i = 0; i < 10; i++) await run(clock, member.admit("write", 40_960));
  assert.ok(clock.now() >= 8_800 && clock.now() <= 10_000, `${clock.now()} ms`);
  const then = clock.now();
  for (let i = 0; i < 1000; i++) await run(clock, member.admit("read", 40_960));
  assert.is(clock.now(), then);
});

/** Keeps one request of a member under way until `end` ms; counts those that were admitted. */
function load(clock: ManualClock, member: ThrottleMember, end: number): { count: number } {
  const counter = { count: 0 };
  void (async () => {
    while (clock.now() < end) {
      await runAsync(member.admit("read", 512));
      counter.count++;
    }
  })();
  return counter;
}

test("members take turns; the same schedule gives the same counts", async () => {
  const counts: number[][] = [];
  for (let round = 0; round < 2; round++) {
    const clock = new ManualClock();
    const group = new ThrottleGroup("g", limits({ "iops-total": 30 }), clock);
    const loads = [1, 2, 3].map(() => load(clock, new ThrottleMember(group), 10_000));
    while (clock.now() < 10_000) {
      await turn();
      clock.advance(10);
    }
    counts.push(loads.map(({ count }) => count));
  }
  assert.equal(counts[0], counts[1]);
  for (const count of counts[0]!) assert.ok(count >= 99 && count <= 103, counts[0]!.join(", "));
});

test("new limits take effect at once, and who leaves is not limited", async () => {
  const clock = new ManualClock();
  const group = new ThrottleGroup("g", limits({ "iops-total": 1 }), clock);
  const [a, b] = [new ThrottleMember(group), new ThrottleMember(group)];
  let done = "";
  for (let i = 0; i < 3; i++) {
    void runAsync(a.admit("read", 1)).then(() => (done += "a"));
    void runAsync(b.admit("read", 1)).then(() => (done += "b"));
  }
  await turn();
  assert.is(done.length, 1);
  b.leave();
  await turn();
  assert.is(done.replaceAll("a", "").length, 3);
  group.limits = noLimits();
  await turn();
  assert.is(done.length, 6);
  assert.is(clock.next, null);
});

test("limits that contradict each other are refused", () => {
  const cases: [Record<string, number>, RegExp][] = [
    [{ "bps-total": 1, "bps-read": 1 }, /total values and read\/write values/],
    [{ "iops-size": 1 }, /iops size requires/],
    [{ "bps-total-max": 5 }, /require corresponding/],
    [{ "bps-total": 10, "bps-total-max": 5 }, /cannot be lower/],
    [{ "bps-total": 10, "bps-total-max-length": 5 }, /burst length set without burst rate/],
    [{ "bps-total": 10, "bps-total-max": 20, "bps-total-max-length": 0 }, /cannot be 0/],
    [{ "bps-total": 1e15 + 1 }, /within/],
  ];
  for (const [given, message] of cases) assert.throws(() => limits(given), message);
  checkLimits(noLimits());
});

test("the filter waits and then passes on", async () => {
  const on = makeWorld({ mode: "sync", drivers: [raw, ...allFilters] });
  on.files.set("disk", memoryStorage(65536, { name: "disk" }));
  const group = new ThrottleGroup("g", limits({ "bps-write": 1024 }), new ManualClock());
  Object.assign(on.environment, { findThrottleGroup: (name: string) => (name === "g" ? group : null) });
  const opening = openNode(on.environment, {
    driver: "throttle",
    options: { "throttle-group": "g", file: { driver: "raw", file: { driver: "file", filename: "disk" } } },
    flags: { write: true },
  });
  const node = runSync(opening);
  // In a synchronous call no time passes: it goes on at once.
  await on.run(write(node, new Uint8Array(4096).fill(2), 0));
  await on.run(write(node, new Uint8Array(512).fill(3), 1024));
  assert.is(on.bytes("disk")[1024], 3);
  assert.is(group.members, 1);
  await on.close(node);
  assert.is(group.members, 0);
  try {
    await on.run(
      openNode(on.environment, {
        driver: "throttle",
        options: { "throttle-group": "other", file: { driver: "file", filename: "disk" } },
      }),
    );
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, "Throttle group 'other' does not exist");
  }
});

test("what waits below goes on while a node is drained, and is limited again afterwards", async () => {
  const on = makeWorld({ mode: "async", drivers: [raw, ...allFilters] });
  on.files.set("disk", memoryStorage(65536, { name: "disk" }));
  const clock = new ManualClock();
  const group = new ThrottleGroup("g", limits({ "iops-total": 1 }), clock);
  Object.assign(on.environment, { findThrottleGroup: () => group });
  const node = await on.run(
    openNode(on.environment, {
      driver: "throttle",
      options: { "throttle-group": "g", file: { driver: "raw", file: { driver: "file", filename: "disk" } } },
      flags: { write: true },
    }),
  );
  const backend = new Backend("d", node);
  let done = 0;
  const request = (): void => void runAsync(backend.write(new Uint8Array(512), 0)).then(() => done++);
  for (let i = 0; i < 4; i++) request();
  await turn();
  assert.ok(done <= 1);
  // eslint-disable-next-line require-yield
  await runAsync(drained(node.file, function* (): Op<void> {}));
  await turn();
  assert.is(done, 4);
  for (let i = 0; i < 4; i++) request();
  for (let i = 0; i < 50; i++) await turn();
  assert.ok(done < 8, `${done}`);
  const restore = suspendLimits(node);
  await runAsync(backend.idle());
  await turn();
  assert.is(done, 8);
  restore();
  await runAsync(backend.close());
  await on.close(node);
});

test.run();
