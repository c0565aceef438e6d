/** The types of `BlockCore`: what must compile, and what must not. Most of this test is done by the compiler. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../src/base/error.js";
import { BlockCore } from "../../../src/edge.js";
import { memoryStorage } from "../../../src/storage/memory.js";

async function refusal(work: Promise<unknown>): Promise<BlockError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof BlockError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

test("commands know what they take and return", async () => {
  const core = new BlockCore();
  await core.execute("blockdev-add", { driver: "null-co", "node-name": "n", size: 1 << 20, "read-zeroes": true });
  const [node] = await core.execute("query-named-block-nodes");
  const name: string | undefined = node!["node-name"];
  const size: number = node!.image["virtual-size"];
  assert.is(name, "n");
  assert.is(size, 1 << 20);
  // @ts-expect-error no such command
  assert.is((await refusal(core.execute("no-such-command"))).qmpClass, "CommandNotFound");
  // @ts-expect-error the node's name is missing
  assert.match((await refusal(core.execute("blockdev-del"))).message, "Parameter 'node-name' is missing");
  // @ts-expect-error not a mode
  const odd = core.execute("blockdev-mirror", { device: "n", target: "n", sync: "sometimes" });
  assert.match((await refusal(odd)).message, "Parameter 'sync' does not accept value 'sometimes'");
  // @ts-expect-error a command of the other dialect
  assert.is((await refusal(core.execute("block_passwd", { device: "n", password: "p" }))).qmpClass, "CommandNotFound");
  await core.close();
});

test("the other dialect has its own commands", async () => {
  const core = new BlockCore({ profile: "qemu-2.2" });
  await core.execute("blockdev-add", { options: { driver: "null-co", id: "d", size: 65536 } });
  const [device] = await core.execute("query-block");
  assert.is(device!.device, "d");
  // @ts-expect-error came with 2.9
  assert.is((await refusal(core.execute("blockdev-del", { "node-name": "d" }))).qmpClass, "CommandNotFound");
  await core.close();
});

test("jobs as objects: states, errors, verbs", async () => {
  const core = new BlockCore({ files: { s: memoryStorage(1 << 20), t: memoryStorage(1 << 20), small: memoryStorage(1 << 19) } });
  for (const name of ["s", "t", "small"])
    await core.execute("blockdev-add", { driver: "raw", "node-name": name, file: { driver: "file", filename: name } });
  const seen: string[] = [];
  core.on("JOB_STATUS_CHANGE", ({ data }) => void seen.push(data.status));

  const failing = await core.start("blockdev-mirror", { "job-id": "f", device: "s", target: "small", sync: "full" });
  assert.match((await refusal(failing.ready)).message, "different sizes");
  assert.match((await refusal(failing.completed)).message, "different sizes");
  assert.is(failing.error?.code, "ERR_INVALID_ARGUMENT");

  const slow = await core.start("blockdev-backup", { "job-id": "b", device: "s", target: "t", sync: "full", speed: 1 });
  assert.is(core.jobs().length, 1);
  slow.pause();
  assert.is((await refusal(Promise.resolve().then(() => slow.pause()))).message, "Job is already paused");
  slow.resume();
  assert.is((await refusal(Promise.resolve().then(() => slow.complete()))).code, "ERR_INVALID_ARGUMENT");
  await slow.cancel();
  assert.is((await refusal(slow.completed)).code, "ERR_ABORTED");

  const held = await core.start("blockdev-mirror", {
    "job-id": "m",
    device: "s",
    target: "t",
    sync: "full",
    "auto-finalize": false,
    "auto-dismiss": false,
  });
  await held.ready;
  const over = held.complete();
  await held.pending;
  await held.finalize();
  await over;
  assert.equal(held.progress, { current: 1 << 20, total: 1 << 20 });
  assert.is(core.job("m").status, "concluded");
  held.dismiss();
  assert.is(core.jobs().length, 0);
  assert.ok(seen.includes("pending") && seen.includes("aborting"));
  await core.close();
});

test("a guest device: its error stops the machine, cont makes the request again", async () => {
  const core = new BlockCore({ files: { disk: memoryStorage(65536) } });
  const rule = { event: "none", iotype: "read", errno: 5, once: true, immediately: false } as const;
  await core.execute("blockdev-add", {
    driver: "blkdebug",
    "node-name": "n",
    image: { driver: "file", filename: "disk" },
    "inject-error": [rule],
  });
  core.addDrive("d", "n", { rerror: "stop" });
  const stopped = new Promise<void>((resolve) => void core.on("STOP", () => resolve()));
  const reasons: string[] = [];
  core.on("BLOCK_IO_ERROR", ({ data }) => void reasons.push(`${data.operation} ${data.action}: ${data.reason}`));
  const reading = core.disk("d").read(0, 512);
  await stopped;
  assert.equal(reasons, ["read stop: Input/output error"]);
  const [device] = await core.execute("query-block");
  assert.is(device!["io-status"], "failed");
  await core.execute("cont");
  await reading;
  await core.close();
});

test.run();
