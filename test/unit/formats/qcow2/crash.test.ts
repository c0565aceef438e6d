// time-limit: 240 s
/**
 * The five places where QEMU 7.2 loses data or leaves corrupt images, as scenarios that we pass; and a driver broken on purpose, which
 * the judge must notice: a crash test that cannot fail proves nothing.
 */
import { execFileSync } from "node:child_process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { MappedImpl } from "../../../../src/block/driver.js";
import { read, write, writeGrow } from "../../../../src/block/io.js";
import { runSync, type Op } from "../../../../src/block/op.js";
import { encodeHeader } from "../../../../src/formats/qcow2/header.js";
import type { Qcow2 } from "../../../../src/formats/qcow2/image.js";
import { imageOf, qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import type { Machine } from "../../../crash/machine.js";
import { judge, type Verdict } from "../../../crash/judge.js";
import { loadCrashcheck, loadOracle } from "../../../crash/oracle.js";
import { SCENARIOS, type Scenario } from "../../../crash/scenarios.js";
import { skip } from "../../../support/skip.js";
import { tempPath } from "../../../support/temp.js";
import { makeWorld } from "../../../support/world.js";

const KiB = 1024;
const MiB = 1024 * KiB;
const oracle = await loadOracle();

const options = { stale: 0xee, perEpoch: 200, seed: 1, continueEvery: 11, qemuEvery: 0 };
const run = (scenario: Scenario): Promise<Verdict> => judge(scenario, oracle!, options);

function passes(name: string, scenario: Omit<Scenario, "name">): void {
  test(name, async () => {
    if (oracle === null) return skip("the crash oracle is not there");
    const verdict = await run({ name, ...scenario });
    assert.equal(verdict.violations, []);
    assert.ok(verdict.distinct > 20, `only ${verdict.distinct} states`);
  });
}

// ---- where QEMU fails -----------------------------------------------------------------------------------------------

passes("flaw a: snapshots are created, applied and deleted as a whole", {
  machine: { size: 512 * KiB, create: { cluster_size: 4096 } },
  before: (m) => m.write(0, 64 * KiB),
  run(m) {
    m.createSnapshot("one");
    m.write(8 * KiB, 512);
    m.createSnapshot("two");
    m.write(4 * KiB, 8 * KiB);
    m.flush();
    m.applySnapshot("one");
    m.write(0, 1024);
    m.removeSnapshot("two");
    m.removeSnapshot("one");
  },
});
passes("flaw b: space that zeros or a discard set free is not used again before that is on disk", {
  machine: { size: MiB, create: { cluster_size: 4096 } },
  before: (m) => m.write(0, 64 * KiB),
  run(m) {
    m.zero(0, 32 * KiB, true);
    m.write(512 * KiB, 32 * KiB);
    m.discard(32 * KiB, 32 * KiB);
    m.write(640 * KiB, 32 * KiB);
  },
});
passes("flaw e: entries do not reach the disk before the data they point to", {
  machine: { size: 256 * KiB, create: { cluster_size: 512 }, open: { "l2-cache-size": 1024, "l2-cache-entry-size": 512 } },
  run(m) {
    for (let i = 0; i < 20; i++) m.write(i * 12 * KiB - ((i * 12 * KiB) % 512), 512);
  },
});

test("flaw c: compressed data is not put into a cluster that belongs to somebody else by then", async () => {
  for (const between of ["overwrite", "discard", "overwrite and flush", "discard and flush"] as const) {
    const world = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
    await world.create("qcow2", "t", 4 * MiB);
    const node = await world.open("qcow2", "t");
    const fill = (value: number): Uint8Array => new Uint8Array(64 * KiB).fill(value);
    await world.run(write(node, fill(3), 256 * KiB, { compressed: true }));
    if (between.startsWith("overwrite")) await world.run(write(node, fill(5), 256 * KiB));
    else await world.run((node.impl as MappedImpl).discard!(256 * KiB, 64 * KiB));
    if (between.endsWith("flush")) await world.run((node.impl as MappedImpl).flush());
    await world.run(write(node, fill(6), MiB));
    await world.run(write(node, fill(11), 2 * MiB, { compressed: true }));
    const into = new Uint8Array(64 * KiB);
    await world.run(read(node, into, MiB));
    assert.equal(into, fill(6));
    await world.run(read(node, into, 2 * MiB));
    assert.equal(into, fill(11));
    await world.close(node);
  }
});
test("flaw c: real QEMU has it, in four commands", () => {
  let text: string;
  const file = tempPath("t.qcow2");
  try {
    execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", file, "4M"]);
    const commands = [
      "write -c -P 3 256k 64k",
      "write -P 5 256k 64k",
      "write -P 6 1M 64k",
      "write -c -P 11 2M 64k",
      "read -P 6 1M 64k",
    ];
    text = execFileSync("qemu-io", ["-f", "qcow2", ...commands.flatMap((command) => ["-c", command]), file], {
      stdio: "pipe",
    }).toString();
  } catch (error) {
    const { stdout, code } = error as { stdout?: Buffer; code?: string };
    if (code === "ENOENT") return skip("the qemu programs are not installed");
    text = stdout?.toString() ?? "";
  }
  // A version of QEMU without the flaw has nothing to show here.
  if (!/Pattern verification failed/.test(text)) return skip("this version of QEMU does not have the flaw");
});

// Flaw d, one failing write or flush during snapshot operations, is in faults.test.ts.

// ---- a judge that sees nothing would be worse than none -------------------------------------------------------------

const stateOf = (m: Machine): Qcow2 => imageOf(m.node.impl);
function* nothing(): Op<void> {}

function noticed(name: string, scenario: string, sabotage: (image: Qcow2) => void): void {
  test(`noticed: ${name}`, async () => {
    if (oracle === null) return skip("the crash oracle is not there");
    const found = SCENARIOS.find((candidate) => candidate.name === scenario);
    assert.ok(found, `there is no scenario ${scenario}`);
    const verdict = await run({ ...found!, sabotage: (m) => sabotage(stateOf(m)) });
    assert.ok(verdict.violations.length > 0, "nobody noticed");
  });
}

noticed("flushes that are not passed on", "allocate, 4k clusters", (image) => {
  image.barrier = nothing;
});
noticed("entries written before refcounts and data", "allocate, 4k clusters", (image) => {
  image.beforeL2Write = nothing;
});
noticed("refcounts that are not written", "allocate, 512 clusters", (image) => {
  image.allocator.writeBack = nothing;
});
noticed("space reused at once", "discarded without a flush", (image) => {
  const { allocator } = image;
  allocator.free = (offset, length) => runSync(allocator.undo(offset, length));
});
noticed("a header that overtakes what it points to", "snapshot create, 64k", (image) => {
  const { barrier, updateHeader } = image;
  image.barrier = nothing;
  image.updateHeader = function* (change) {
    yield* updateHeader.call(image, change);
    yield* barrier.call(image);
  };
});
noticed("a header of several sectors written at once", "another backing file name, 4k", (image) => {
  image.writeHeader = () => writeGrow(image.file, encodeHeader(image.header), 0);
});
noticed("L1 tables replaced without a flush", "the L1 table grows", (image) => {
  const { barrier, writeHeader } = image;
  image.barrier = nothing;
  image.writeHeader = function* () {
    yield* writeHeader.call(image);
    yield* barrier.call(image);
  };
});
noticed("lazy refcounts without the dirty bit", "lazy refcounts", (image) => {
  image.beginModifying = nothing;
  Object.defineProperty(image, "isDirty", { get: () => true });
});

test("the oracle's own enumerator agrees", async () => {
  const check = await loadCrashcheck();
  if (oracle === null || check === null) return skip("the crash oracle is not there");
  const { logFiles } = await import("../../../crash/log-files.js");
  for (const name of [
    "allocate, 4k clusters",
    "compressed, then freed and reused",
    "extended L2",
    "zeros, unmapped, then written again",
  ]) {
    const file = await logFiles(
      SCENARIOS.find((scenario) => scenario.name === name)!,
      tempPath("log"),
    );
    const result = check(file);
    assert.is(result.error, undefined);
    assert.equal(result.violations, {}, JSON.stringify(result.examples[0]));
    assert.ok(result.unique > 20);
  }
});

test.run();
