/** Damaged and hostile VMDK and VHDX images: our duty per case (`expect.json`), and never anything but a BlockError. */
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../src/base/error.js";
import type { GateDecision, OpenFlags } from "../../src/block/context.js";
import { flush, read, write } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { done } from "../../src/block/op.js";
import { checkImage } from "../../src/image/check.js";
import { memoryStorage } from "../../src/storage/memory.js";
import { skip } from "../support/skip.js";
import { makeWorld, type World } from "../support/world.js";
import { DATA, drivers, FORMATS, unpackValid } from "./vm-formats-data.js";

/** Images up to this size are read whole. */
const WHOLE = 64 << 20;

interface Expectation {
  open?: string;
  read?: string;
  check_rc?: number;
  content_sha256?: string;
  max_cpu_s: number;
  policy?: string;
  default?: string;
}
interface Case {
  id: string;
  format: string;
  files: Map<string, Buffer>;
  main: string;
  expect: Expectation;
}

/** Where we do otherwise than the derived expectation, and why. */
const OTHERWISE: Readonly<Record<string, Partial<Expectation> & { because: string }>> = {
  "vmdk-hdr/gd_offset=zero": {
    content_sha256: "0a1a41fe2cdc7dc019cf4d83047e5c97dc2678df244709eccbac99a5dd22cdc0",
    because: "the redundant grain directory still has the content; QEMU shows zeros",
  },
  "vhdx-region/e0.offset=far": { open: "error", because: "the table lies beyond 2^53 bytes; QEMU takes it for zeros" },
  "vhdx-meta/virtual_size.offset=unaligned": { open: "error", because: "the size that is found there is larger than 64 TB" },
  "vhdx-log/zero-ok": { open: "ok", because: "a good log is replayed in memory where QEMU refuses to open read-only" },
  "vhdx-log/torn-second-entry": { open: "ok", because: "the first entry is a complete sequence: it is replayed in memory" },
};

function worldOf(hostile: Case, allow = true): World {
  const world = makeWorld({ mode: "sync", drivers });
  for (const [name, bytes] of hostile.files) world.files.set(name, memoryStorage(bytes, { name }));
  (world.environment as { gate: unknown }).gate = () => done<GateDecision>(allow);
  return world;
}

/** The result, or the BlockError; anything else thrown fails the test. */
async function attempt<T>(work: Promise<T>): Promise<T | BlockError> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof BlockError) return error;
    throw error;
  }
}

async function open(world: World, hostile: Case, flags: Partial<OpenFlags> = {}): Promise<Node | BlockError> {
  return await attempt(world.open(hostile.format, hostile.main, flags));
}

async function content(world: World, node: Node): Promise<string> {
  const hash = createHash("sha256");
  const size = Math.min(node.size, node.size > WHOLE ? 1 << 20 : node.size);
  for (let at = 0; at < size; at += 1 << 20) {
    const part = new Uint8Array(Math.min(1 << 20, size - at));
    await world.run(read(node, part, at));
    hash.update(part);
  }
  return hash.digest("hex");
}

async function checkCode(world: World, hostile: Case): Promise<number> {
  const node = await open(world, hostile, { check: true });
  if (node instanceof BlockError) return 1;
  const found = await attempt(world.run(checkImage(node)));
  await world.close(node);
  if (found instanceof BlockError) return found.errno === "ENOTSUP" ? 63 : 1;
  return found["check-errors"] > 0 ? 1 : (found.corruptions ?? 0) > 0 ? 2 : 0;
}

async function judge(hostile: Case): Promise<void> {
  const expect: Expectation = { ...hostile.expect, ...OTHERWISE[hostile.id] };
  const began = process.cpuUsage();
  if (expect.default === "refuse")
    assert.instance(await open(worldOf(hostile, false), hostile), BlockError, "it opens although the gate is closed");
  const world = worldOf(hostile);
  const node = await open(world, hostile);
  if (expect.open === "error") assert.instance(node, BlockError, "it opens");
  if (expect.open === "ok" && node instanceof BlockError) assert.unreachable(`it does not open: ${node.message}`);
  if (!(node instanceof BlockError)) {
    const whole = node.size <= WHOLE;
    const sha256 = await attempt(content(world, node));
    if (expect.read === "error") assert.instance(sha256, BlockError, "it can be read");
    if (expect.read === "ok") {
      if (sha256 instanceof BlockError) assert.unreachable(`it cannot be read: ${sha256.message}`);
      if (expect.content_sha256 !== undefined && whole) assert.is(sha256, expect.content_sha256);
    }
    await world.close(node);
    const code = await checkCode(worldOf(hostile), hostile);
    if (expect.check_rc !== undefined) assert.is(code, expect.check_rc, "check");
    await writeInto(hostile);
  }
  const used = process.cpuUsage(began);
  assert.ok((used.user + used.system) / 1e6 < expect.max_cpu_s, `took ${(used.user + used.system) / 1e6} s of CPU`);
}

/** Writing into it: refused or done, never anything else; what is written can be read. */
async function writeInto(hostile: Case): Promise<void> {
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

const valid = existsSync(`${DATA}/hostile/cases.mjs`) ? unpackValid() : null;
if (valid === null) test("hostile images", () => skip("the outside images are not there"));
else {
  const root = dirname(valid.dir);
  mkdirSync(join(root, "corrupt"));
  for (const name of ["cases.json.gz", "expect.json.gz"]) copyFileSync(`${DATA}/hostile/${name}`, join(root, "corrupt", name));
  const module = (await import(pathToFileURL(resolve(DATA, "hostile/cases.mjs")).href)) as {
    loadCorrupt(dir: string, options: { filter: (entry: { format: string }) => boolean }): Iterable<Case>;
  };
  for (const hostile of module.loadCorrupt(root, { filter: (entry) => FORMATS.includes(entry.format) })) {
    test(hostile.id, () => judge(hostile));
  }
}

test.run();
