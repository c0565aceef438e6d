/** How a damaged or hostile image is judged: our duty of `expect.json`, never anything but a BlockError, little time. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as assert from "uvu/assert";
import { allFormats } from "../../src/platform/all-formats.js";
import { BlockError } from "../../src/base/error.js";
import type { GateDecision, OpenFlags } from "../../src/block/context.js";
import { flush, read, write } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { done } from "../../src/block/op.js";
import { checkImage } from "../../src/image/check.js";
import { memoryStorage } from "../../src/storage/memory.js";
import { makeWorld, type World } from "../support/world.js";
import { onlyCase, type Duty, type HostileCase } from "./outside-data.js";

/** A garbage collector that does not wait for other threads, with the young generation that Node.js 20 has (24: three times that). */
const STEADY = ["--single-threaded-gc", "--max-semi-space-size=16"];
/** Images up to this size are read whole. */
const WHOLE = 64 << 20;
const MiB = 1 << 20;

function worldOf(hostile: HostileCase, allow = true): World {
  const world = makeWorld({ mode: "sync", drivers: allFormats, secrets: { sec0: hostile.secret ?? "" } });
  for (const [name, bytes] of hostile.files) if (Buffer.isBuffer(bytes)) world.files.set(name, memoryStorage(bytes, { name }));
  (world.environment as { gate: unknown }).gate = () => done<GateDecision>(allow);
  return world;
}

/** The result, or the BlockError; anything else thrown fails the test. */
export async function attempt<T>(work: Promise<T>): Promise<T | BlockError> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof BlockError) return error;
    throw error;
  }
}

async function open(world: World, hostile: HostileCase, flags: Partial<OpenFlags> = {}): Promise<Node | BlockError> {
  return await attempt(world.open(hostile.format, hostile.main, flags, flags.noIO === true ? {} : { ...hostile.openOpts }));
}

async function content(world: World, node: Node): Promise<string> {
  const hash = createHash("sha256");
  const size = node.size > WHOLE ? MiB : node.size;
  for (let at = 0; at < size; at += MiB) {
    const part = new Uint8Array(Math.min(MiB, size - at));
    await world.run(read(node, part, at));
    hash.update(part);
  }
  // The sums are qemu-img's, which counts in whole sectors.
  hash.update(new Uint8Array((512 - (size % 512)) % 512));
  return hash.digest("hex");
}

/** The exit code of qemu-img check. */
async function checkCode(world: World, hostile: HostileCase, fix: "none" | "all"): Promise<number> {
  const node = await open(world, hostile, { check: true, write: fix === "all" });
  if (node instanceof BlockError) return 1;
  const found = await attempt(world.run(checkImage(node, { fix })));
  await attempt(world.close(node));
  if (found instanceof BlockError) return found.errno === "ENOTSUP" ? 63 : 1;
  if (found["check-errors"] > 0) return 1;
  return (found.corruptions ?? 0) > 0 ? 2 : (found.leaks ?? 0) > 0 ? 3 : 0;
}

/** Judges an image; `otherwise`: where we do something else than the derived expectation. */
export async function judge(hostile: HostileCase, otherwise: Partial<Duty> = {}): Promise<void> {
  const expect: Duty = { ...hostile.expect, ...otherwise };
  await withinLimits(hostile.id, expect, () => judgeContent(hostile, expect));
}

/**
 * Does the work, which must neither take more time nor more memory than it may. Memory counts with what earlier cases left to the
 * garbage collector, which is late on a busy machine: a case that seems to take too much is judged again in a process of its own
 * whose collector does not wait for other threads.
 */
export async function withinLimits(id: string, expect: Duty, work: () => Promise<void>): Promise<void> {
  const began = process.cpuUsage();
  const memory = process.memoryUsage().rss;
  await work();
  const used = process.cpuUsage(began);
  assert.ok((used.user + used.system) / 1e6 < expect.max_cpu_s, `took ${(used.user + used.system) / 1e6} s of CPU`);
  const extra = (process.memoryUsage().rss - memory) / MiB;
  if (extra < expect.max_rss_extra_mb) return;
  assert.is(onlyCase, undefined, `took ${extra} MiB`);
  const { BLOCKCORE_TEST_REPORT: _, ...env } = process.env;
  const alone = spawnSync(process.execPath, [...process.execArgv, ...STEADY, ...process.argv.slice(1)], {
    env: { ...env, BLOCKCORE_HOSTILE: id },
    encoding: "utf8",
  });
  assert.ok(alone.status === 0 && /Passed: +1\b/.test(alone.stdout), `took ${extra} MiB; alone:\n${alone.stdout}${alone.stderr}`);
}

async function judgeContent(hostile: HostileCase, expect: Duty): Promise<void> {
  if (expect.default === "refuse")
    assert.instance(await open(worldOf(hostile, false), hostile), BlockError, "it opens although the gate is closed");
  const world = worldOf(hostile);
  const looked = await open(world, hostile, { noIO: true });
  if (!(looked instanceof BlockError)) await world.close(looked);
  if (expect.open === "ok" && looked instanceof BlockError) assert.unreachable(`it does not open: ${looked.message}`);
  const node = await open(world, hostile);
  if (expect.open === "error") {
    assert.instance(node, BlockError, "it opens");
    return;
  }
  if (node instanceof BlockError) {
    // What opens for its metadata may still have no key.
    if (expect.read === "ok" || (expect.open === "ok" && node.code !== "ERR_ENCRYPTED" && node.code !== "ERR_TOO_LARGE"))
      assert.unreachable(`it does not open: ${node.message}`);
    return;
  }
  const whole = node.size <= WHOLE;
  const sha256 = await attempt(content(world, node));
  if (expect.read === "error") assert.instance(sha256, BlockError, "it can be read");
  if (expect.read === "ok") {
    if (sha256 instanceof BlockError) assert.unreachable(`it cannot be read: ${sha256.message}`);
    if (expect.content_sha256 !== undefined && whole) assert.is(sha256, expect.content_sha256);
  }
  await world.close(node);
  const code = await checkCode(worldOf(hostile), hostile, "none");
  if (expect.check_rc !== undefined) assert.is(code, expect.check_rc, "check");
  const repaired = worldOf(hostile);
  await checkCode(repaired, hostile, "all");
  if (expect.repair_then_check_rc !== undefined)
    assert.is(await checkCode(repaired, hostile, "none"), expect.repair_then_check_rc, "check after repair");
  await writeInto(hostile);
}

/** Writing into it: refused or done, never anything else; what is written can be read. */
async function writeInto(hostile: HostileCase): Promise<void> {
  const world = worldOf(hostile);
  const node = await open(world, hostile, { write: true });
  if (node instanceof BlockError) return;
  for (const at of [0, Math.floor(node.size / 2), node.size - 70_000]) {
    if (at < 0 || at + 70_000 > node.size) continue;
    const bytes = new Uint8Array(70_000).fill(0xa5);
    if ((await attempt(world.run(write(node, bytes, at)))) instanceof BlockError) continue;
    const back = new Uint8Array(70_000);
    await world.run(read(node, back, at));
    // Where two guest blocks share their place the later writes are the earlier ones' too: all bytes are alike here.
    assert.equal(back, bytes, "what was written");
  }
  await attempt(world.run(flush(node)));
  await attempt(world.close(node));
}
