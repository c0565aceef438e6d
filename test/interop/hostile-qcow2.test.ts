// time-limit: 240 s
/**
 * Damaged and hostile qcow2 images: our duty per case (`expect.json`), what the real qemu-img counts where it could check them,
 * and never anything but a BlockError, little time and no memory to speak of.
 */
import { createHash } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../src/base/error.js";
import type { GateDecision, OpenFlags } from "../../src/block/context.js";
import { flush, read, write } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { openNode } from "../../src/block/open.js";
import { done } from "../../src/block/op.js";
import type { CheckProblem, ImageCheck } from "../../src/block/types.js";
import { qcow2 } from "../../src/formats/qcow2/qcow2.js";
import { raw } from "../../src/formats/raw/raw.js";
import { checkImage } from "../../src/image/check.js";
import { imageInfo } from "../../src/image/info.js";
import { mapImage } from "../../src/image/map.js";
import { memoryStorage } from "../../src/storage/memory.js";
import { skip } from "../support/skip.js";
import { makeWorld, type World } from "../support/world.js";
import { attempt, withinLimits } from "./hostile.js";
import { hostileCases, type Duty, type HostileCase } from "./outside-data.js";

/** Images up to this size are read whole. */
const WHOLE = 64 << 20;
const MiB = 1 << 20;

/**
 * Where we do something else than QEMU, and why.
 *
 * Host offsets from 2^53 on are refused by design (they are no exact numbers); QEMU takes them for zeros behind the end of the file.
 */
const BEYOND = /^qcow2-hdr.*offset=2p(56|62)$|^qcow2-l2\/.*=(far|max)$/;

function worldOf(hostile: HostileCase): World {
  const world = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
  for (const [name, bytes] of hostile.files)
    if (Buffer.isBuffer(bytes)) world.files.set(name, memoryStorage(new Uint8Array(bytes), { name }));
  return world;
}

async function open(world: World, hostile: HostileCase, flags: Partial<OpenFlags> = {}): Promise<Node | BlockError> {
  return await attempt(world.open("qcow2", hostile.main, flags, hostile.openOpts ?? {}));
}

async function content(world: World, node: Node): Promise<string> {
  const hash = createHash("sha256");
  // qemu-img, which made the sums, leaves out a last sector that is not whole.
  const size = node.size > WHOLE ? MiB : node.size - (node.size % 512);
  for (let at = 0; at < size; at += MiB) {
    const part = new Uint8Array(Math.min(MiB, size - at));
    await world.run(read(node, part, at));
    hash.update(part);
  }
  return hash.digest("hex");
}

interface Checked {
  code: number;
  found: ImageCheck | BlockError;
  problems: CheckProblem[];
}

async function check(world: World, hostile: HostileCase, fix: "none" | "all"): Promise<Checked> {
  const problems: CheckProblem[] = [];
  const node = await open(world, hostile, { check: true, noBacking: true, write: fix === "all" });
  if (node instanceof BlockError) return { code: 1, found: node, problems };
  const found = await attempt(world.run(checkImage(node, { fix, onProblem: (problem) => problems.push(problem) })));
  await attempt(world.close(node));
  if (found instanceof BlockError || found["check-errors"] > 0) return { code: 1, found, problems };
  return { code: (found.corruptions ?? 0) > 0 ? 2 : (found.leaks ?? 0) > 0 ? 3 : 0, found, problems };
}

async function judge(hostile: HostileCase): Promise<void> {
  const different = BEYOND.test(hostile.id);
  const { max_cpu_s, max_rss_extra_mb } = hostile.expect;
  const expect: Duty = different ? { max_cpu_s, max_rss_extra_mb } : hostile.expect;
  await withinLimits(hostile.id, { max_cpu_s, max_rss_extra_mb }, () => judgeContent(hostile, expect));
}

async function judgeContent(hostile: HostileCase, expect: Duty): Promise<void> {
  const world = worldOf(hostile);
  if (expect.default === "refuse") {
    const careful = { ...world.environment, gate: () => done<GateDecision>(false) };
    assert.instance(
      await attempt(world.run(openNode(careful, { filename: hostile.main, driver: "qcow2" }))),
      BlockError,
      "opened what the image names",
    );
  }
  const node = await open(world, hostile);
  if (expect.open === "error") assert.ok(node instanceof BlockError, "it opens");
  if (expect.open === "ok" && node instanceof BlockError) {
    // Looking at its metadata (info) is all that must be possible where reading is expected to fail.
    const looked = await open(world, hostile, { noIO: true, noBacking: true });
    if (looked instanceof BlockError) assert.unreachable(`it does not open: ${looked.message}`);
    if (expect.read === "ok") assert.unreachable(`it cannot be read: ${node.message}`);
    await attempt(world.close(looked as Node));
  }
  if (!(node instanceof BlockError)) {
    await attempt(world.run(imageInfo(node)));
    await attempt(world.run(mapImage(node, () => {}, { length: WHOLE })));
    const sha256 = await attempt(content(world, node));
    if (expect.read === "error") assert.ok(sha256 instanceof BlockError, "it can be read");
    if (expect.read === "ok") {
      if (sha256 instanceof BlockError) assert.unreachable(`it cannot be read: ${sha256.message}`);
      if (expect.content_sha256 !== undefined && node.size <= WHOLE) assert.is(sha256, expect.content_sha256);
    }
    await attempt(world.close(node));
  }
  const checked = await check(worldOf(hostile), hostile, "none");
  if (expect.check_rc !== undefined) {
    assert.is(
      checked.code,
      expect.check_rc,
      `check: ${checked.found instanceof BlockError ? checked.found.message : JSON.stringify(checked.found)}`,
    );
    compareCounts(hostile, checked);
  }
  const repaired = worldOf(hostile);
  await check(repaired, hostile, "all");
  if (expect.repair_then_check_rc !== undefined) {
    const after = await check(repaired, hostile, "none");
    assert.is(
      after.code,
      expect.repair_then_check_rc,
      `check after repair: ${after.problems.map(({ text }) => text).join("; ")}`,
    );
  }
  // The guest's data survives a repair, unless tables were guest data too.
  if (expect.read === "ok" && expect.content_sha256 !== undefined && hostile.qemu.repair?.content_same_as_base === true) {
    const again = await open(repaired, hostile);
    if (!(again instanceof BlockError)) {
      if (again.size <= WHOLE) assert.is(await content(repaired, again), expect.content_sha256, "the content after the repair");
      await attempt(repaired.close(again));
    }
  }
  await writeInto(hostile, checked.code === 0 || checked.code === 3);
}

/** The numbers of the real qemu-img check, where it ran to its end. */
function compareCounts(hostile: HostileCase, { found }: Checked): void {
  const theirs = hostile.qemu.check;
  if (theirs === undefined || theirs["check-errors"] !== 0 || found instanceof BlockError) return;
  if (theirs.rc !== hostile.expect.check_rc) return;
  assert.equal([found.corruptions ?? 0, found.leaks ?? 0], [theirs.corruptions ?? 0, theirs.leaks ?? 0], "corruptions and leaks");
}

/** Writing into it: refused or done, never anything else; in a sound image, what is written can be read. */
async function writeInto(hostile: HostileCase, sound: boolean): Promise<void> {
  const world = worldOf(hostile);
  const node = await open(world, hostile, { write: true });
  if (node instanceof BlockError) return;
  const length = 70_000;
  for (const at of [0, Math.floor(node.size / 2), node.size - length]) {
    if (at < 0 || at + length > node.size) continue;
    const bytes = new Uint8Array(length).fill(0xa5);
    if ((await attempt(world.run(write(node, bytes, at)))) instanceof BlockError) continue;
    const back = new Uint8Array(length);
    const again = await attempt(world.run(read(node, back, at)));
    // Where clusters in use count as free, one write may land in another one's place.
    if (sound && !(again instanceof BlockError))
      assert.ok(Buffer.compare(back, bytes) === 0, "reads back something else than was written");
  }
  await attempt(world.run(flush(node)));
  await attempt(world.close(node));
}

const only = process.env["ONLY"] ?? "";
// Encrypted ones are among the other formats: see hostile-formats.
const cases = await hostileCases(
  ["qcow2"],
  ({ id, format, base }) => format === "qcow2" && id.includes(only) && base?.includes("luks") !== true,
);
if (cases === null) test("hostile qcow2 images", () => skip("the outside images are not there"));
for (const { id, load } of cases ?? []) test(id, () => judge(load()));

test.run();
