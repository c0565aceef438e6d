/** Throttling under a clock of our own: averages, bursts, operations by size, fairness, changed limits. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { allFilters } from "../../../src/all-filters.js";
import { write } from "../../../src/block/io.js";
import { openNode } from "../../../src/block/open.js";
import { runSync, TimedWaitRequest, WaitRequest, type Op, type Request } from "../../../src/block/op.js";
import { checkLimits, noLimits, takeLimits, ThrottleGroup, type ThrottleLimits } from "../../../src/block/throttle.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../src/storage/memory.js";
import { makeWorld } from "../../support/world.js";

/** Runs an op; waiting for time moves the clock. */
function clocked(): { now: () => number; run: (op: Op<void>) => void } {
  let time = 0;
  return {
    now: () => time,
    run(op) {
      let step = op.next();
      while (!step.done) {
        const request: Request = step.value;
        if (request instanceof TimedWaitRequest) time += request.milliseconds;
        else if (request instanceof WaitRequest) throw new Error("nobody to wait for");
        step = op.next();
      }
    },
  };
}
const limits = (text: Record<string, number>): ThrottleLimits => takeLimits({ ...text });

test("the average holds in the long run", () => {
  const { now, run } = clocked();
  const group = new ThrottleGroup("g", limits({ "bps-total": 1_000_000 }), now);
  for (let i = 0; i < 100; i++) run(group.admit(i % 2 === 0 ? "read" : "write", 100_000));
  // 10 MB at 1 MB/s, the first tenth of a second and the last request free.
  assert.ok(now() >= 9_700 && now() <= 10_100, `${now()} ms`);
});

test("a burst goes at its own rate for as long as it may", () => {
  const { now, run } = clocked();
  const group = new ThrottleGroup("g", limits({ "iops-total": 10, "iops-total-max": 100, "iops-total-max-length": 3 }), now);
  let done = 0;
  while (now() < 3_000) {
    run(group.admit("write", 512));
    done++;
  }
  assert.ok(done >= 280 && done <= 345, `${done} operations in the burst`);
  const burst = done;
  while (now() < 8_000) {
    run(group.admit("write", 512));
    done++;
  }
  assert.ok(done - burst <= 75, `${done - burst} operations after it`);
});

test("large requests count as several operations; directions are limited apart", () => {
  const { now, run } = clocked();
  const group = new ThrottleGroup("g", limits({ "iops-write": 10, "iops-size": 4096 }), now);
  for (let i = 0; i < 10; i++) run(group.admit("write", 40_960));
  assert.ok(now() >= 8_800 && now() <= 10_000, `${now()} ms`);
  const then = now();
  for (let i = 0; i < 1000; i++) run(group.admit("read", 40_960));
  assert.is(now(), then);
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
  const clock = clocked();
  const group = new ThrottleGroup("g", limits({ "bps-write": 1024 }), clock.now);
  Object.assign(on.environment, { findThrottleGroup: (name: string) => (name === "g" ? group : null) });
  const opening = openNode(on.environment, {
    driver: "throttle",
    options: { "throttle-group": "g", file: { driver: "raw", file: { driver: "file", filename: "disk" } } },
    flags: { write: true },
  });
  const node = runSync(opening);
  clock.run(group.admit("write", 4096));
  // In a synchronous call no time passes: it goes on at once.
  await on.run(write(node, new Uint8Array(512).fill(3), 1024));
  assert.is(on.bytes("disk")[1024], 3);
  await on.close(node);
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

test.run();
