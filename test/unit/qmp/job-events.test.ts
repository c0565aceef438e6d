/** What is told of block jobs: ready, pending, errors, the end. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { allFilters } from "../../../src/platform/all-filters.js";
import { readBytes, write } from "../../../src/block/io.js";
import { runAsync } from "../../../src/block/op.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import type { JsonObject } from "../../../src/qapi/json.js";
import { BlockCore, type QmpEvent } from "../../../src/qmp/block-core.js";
import { makeWorld } from "../../support/world.js";

const file = (filename: string): JsonObject => ({ driver: "file", filename });

interface Setup {
  core: BlockCore;
  /** The data of the next event of this name. */
  next: (event: string) => Promise<JsonObject>;
}

async function withCore(work: (setup: Setup) => Promise<void>): Promise<void> {
  const setup = await setUp();
  try {
    await work(setup);
  } finally {
    await setup.core.close();
  }
}

async function setUp(): Promise<Setup> {
  const world = makeWorld({ mode: "async", drivers: [raw, qcow2, ...allFilters], seed: 1 });
  for (const name of ["a", "t"]) await world.create("qcow2", name, 1 << 20);
  const core = new BlockCore({ environment: world.environment });
  const events: QmpEvent[] = [];
  core.on((event) => void events.push(event));
  return {
    core,
    async next(name) {
      for (let i = 0; i < 1000; i++) {
        const at = events.findIndex(({ event }) => event === name);
        if (at >= 0) return events.splice(0, at + 1).at(-1)!.data as JsonObject;
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      throw new Error(`${name} did not come`);
    },
  };
}

test("BLOCK_JOB_READY, and BLOCK_JOB_CANCELLED or BLOCK_JOB_COMPLETED", () =>
  withCore(async ({ core, next }) => {
    for (const name of ["a", "t"]) await core.execute("blockdev-add", { driver: "qcow2", "node-name": name, file: file(name) });
    const about = { device: "j", type: "mirror", speed: 0 };
    const mirror = { "job-id": "j", device: "a", target: "t", sync: "full" };
    await core.execute("blockdev-mirror", mirror);
    assert.equal(await next("BLOCK_JOB_READY"), { ...about, len: 1 << 20, offset: 1 << 20 });
    await core.execute("block-job-cancel", { device: "j", force: true });
    assert.equal(await next("BLOCK_JOB_CANCELLED"), { ...about, len: 1 << 20, offset: 1 << 20 });
    await core.execute("blockdev-mirror", mirror);
    await next("BLOCK_JOB_READY");
    await core.execute("block-job-complete", { device: "j" });
    assert.equal(await next("BLOCK_JOB_COMPLETED"), { ...about, len: 1 << 20, offset: 1 << 20 });
  }));

test("BLOCK_JOB_PENDING before job-finalize", () =>
  withCore(async ({ core, next }) => {
    for (const name of ["a", "t"]) await core.execute("blockdev-add", { driver: "qcow2", "node-name": name, file: file(name) });
    const backup = { "job-id": "j", device: "a", target: "t", sync: "full", "auto-finalize": false };
    await core.execute("blockdev-backup", backup);
    assert.equal(await next("BLOCK_JOB_PENDING"), { type: "backup", id: "j" });
    await core.execute("job-finalize", { id: "j" });
    assert.is((await next("BLOCK_JOB_COMPLETED"))["error"], undefined);
  }));

test("BLOCK_JOB_ERROR says what became of an error", () =>
  withCore(async ({ core, next }) => {
    const rules = [{ event: "write_aio", errno: 28, once: true }];
    await core.execute("blockdev-add", { driver: "qcow2", "node-name": "a", file: file("a") });
    await runAsync(write(core.node("a"), new Uint8Array(65536).fill(1), 0));
    await core.execute("blockdev-add", {
      driver: "qcow2",
      "node-name": "t",
      file: { driver: "blkdebug", image: file("t"), "inject-error": rules },
    });
    const backup = { "job-id": "j", device: "a", target: "t", sync: "full", "on-target-error": "enospc" };
    await core.execute("blockdev-backup", backup);
    assert.equal(await next("BLOCK_JOB_ERROR"), { device: "j", operation: "write", action: "stop" });
    await core.execute("block-job-resume", { device: "j" });
    assert.is((await next("BLOCK_JOB_COMPLETED"))["error"], undefined);
  }));

/** A mirror of 64 KiB, and the first, second, third … flush of its target fails. */
async function mirrorWithFailingFlush(core: BlockCore, failing: number[], policy: string): Promise<void> {
  await core.execute("blockdev-add", { driver: "qcow2", "node-name": "a", file: file("a") });
  await runAsync(write(core.node("a"), new Uint8Array(65536).fill(1), 0));
  const event = "flush_to_disk";
  const rules = failing.map((state) => ({ event, immediately: true, once: true, state }));
  const states = [1, 2, 3].map((state) => ({ event, state, new_state: state + 1 }));
  await core.execute("blockdev-add", {
    driver: "qcow2",
    "node-name": "t",
    file: { driver: "blkdebug", image: file("t"), "inject-error": rules, "set-state": states },
  });
  const options = { "job-id": "j", device: "a", target: "t", sync: "full", "filter-node-name": "above" };
  await core.execute("blockdev-mirror", { ...options, "on-target-error": policy });
}

const flushError = (action: string): JsonObject => ({ device: "j", operation: "write", action });

test("a mirror's flush before it is ready fails: the policy decides", () =>
  withCore(async ({ core, next }) => {
    await mirrorWithFailingFlush(core, [1], "stop");
    assert.equal(await next("BLOCK_JOB_ERROR"), flushError("stop"));
    await core.execute("block-job-resume", { device: "j" });
    await next("BLOCK_JOB_READY");
  }));

test("… reported, it is how the mirror ends", () =>
  withCore(async ({ core, next }) => {
    await mirrorWithFailingFlush(core, [1], "report");
    assert.equal(await next("BLOCK_JOB_ERROR"), flushError("report"));
    assert.is((await next("BLOCK_JOB_COMPLETED"))["error"], "Input/output error");
  }));

test("… ignored, it is tried again", () =>
  withCore(async ({ core, next }) => {
    await mirrorWithFailingFlush(core, [1], "ignore");
    assert.equal(await next("BLOCK_JOB_ERROR"), flushError("ignore"));
    await next("BLOCK_JOB_READY");
  }));

test("a mirror that was told to end stands still when its last flush fails, and guests do not wait for it", () =>
  withCore(async ({ core, next }) => {
    await mirrorWithFailingFlush(core, [2], "stop");
    await next("BLOCK_JOB_READY");
    core.addDevice("d", core.node("above"));
    const guest = core.devices.get("d")!.backend;
    await runAsync(guest.write(new Uint8Array(65536).fill(2), 0));
    await core.execute("block-job-cancel", { device: "j" });
    assert.equal(await next("BLOCK_JOB_ERROR"), flushError("stop"));
    while ((await next("JOB_STATUS_CHANGE"))["status"] !== "standby");
    await runAsync(guest.write(new Uint8Array(65536).fill(3), 0));
    await core.execute("block-job-resume", { device: "j" });
    assert.is((await next("BLOCK_JOB_COMPLETED"))["error"], undefined);
    assert.equal(await runAsync(readBytes(core.node("t"), 0, 1)), new Uint8Array([3]));
  }));

test("… and a forced cancel ends it, if its flushes keep failing", () =>
  withCore(async ({ core, next }) => {
    await mirrorWithFailingFlush(core, [2, 3], "enospc");
    await next("BLOCK_JOB_READY");
    await runAsync(write(core.node("above"), new Uint8Array(65536).fill(2), 0));
    await core.execute("block-job-complete", { device: "j" });
    assert.equal(await next("BLOCK_JOB_ERROR"), flushError("report"));
    assert.is((await next("BLOCK_JOB_COMPLETED"))["error"], "Input/output error");
    await core.execute("blockdev-mirror", { "job-id": "j", device: "a", target: "t", sync: "full", "on-target-error": "stop" });
    assert.equal(await next("BLOCK_JOB_ERROR"), flushError("stop"));
    await core.execute("block-job-cancel", { device: "j", force: true });
    await next("BLOCK_JOB_CANCELLED");
  }));

test("a filter above the base is no layer to commit", () =>
  withCore(async ({ core, next }) => {
    await core.execute("object-add", { "qom-type": "throttle-group", id: "g" });
    await core.execute("blockdev-add", { driver: "qcow2", "node-name": "base", file: file("t") });
    await core.execute("blockdev-add", { driver: "throttle", "node-name": "limited", "throttle-group": "g", file: "base" });
    await core.execute("blockdev-add", { driver: "qcow2", "node-name": "mid", backing: "limited", file: file("a") });
    await runAsync(write(core.node("base"), new Uint8Array(65536).fill(1), 0));
    core.addDevice("d", core.node("mid"));
    let changes = 0;
    core.node("base").writeListeners.add(() => changes++);
    await core.execute("blockdev-snapshot-sync", { device: "d", "snapshot-node-name": "top", "snapshot-file": "over" });
    await core.execute("block-commit", { device: "d", "top-node": "mid", "job-id": "j" });
    assert.is((await next("BLOCK_JOB_COMPLETED"))["error"], undefined);
    assert.is(changes, 0);
  }));

test.run();
