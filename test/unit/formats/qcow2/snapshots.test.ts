// time-limit: 180 s
/** Internal snapshots: the table, the operations, what QEMU makes of the images. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../../src/base/error.js";
import { readU64BE, viewOf, writeU64BE } from "../../../../src/base/bytes.js";
import type { MappedImpl, SnapshotVerbs } from "../../../../src/block/driver.js";
import { read, truncate, write } from "../../../../src/block/io.js";
import type { Node } from "../../../../src/block/node.js";
import { ExtentKind, ExtentList } from "../../../../src/block/extent.js";
import { runSync, type Op } from "../../../../src/block/op.js";
import { qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { encodeSnapshotTable, newSnapshot, snapshotInfo } from "../../../../src/formats/qcow2/snapshot-table.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { loadOracle } from "../../../crash/oracle.js";
import { chooseSeed, random } from "../../../support/random.js";
import { skip } from "../../../support/skip.js";
import { tempPath } from "../../../support/temp.js";
import { makeWorld, MODES, type Mode, type World } from "../../../support/world.js";

const KiB = 1024;
const MiB = 1024 * KiB;
const STATE = { vmStateSize: 0, dateSec: 1_700_000_000, dateNsec: 5, vmClockNsec: 0 };
const oracle = await loadOracle();

const makeIt = (mode: Mode = "sync", seed = 1): World => makeWorld({ mode, drivers: [raw, qcow2], seed });
const verbs = (node: Node): SnapshotVerbs => (node.impl as MappedImpl).snapshots!;
const named = (node: Node, name: string) =>
  verbs(node)
    .list()
    .find((snapshot) => snapshot.name === name)!;
const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);
async function content(world: World, node: Node): Promise<Uint8Array> {
  const bytes = new Uint8Array(node.size);
  await world.run(read(node, bytes, 0));
  return bytes;
}
async function fails(work: Promise<unknown>, code: string, text: RegExp): Promise<void> {
  try {
    await work;
  } catch (error) {
    assert.instance(error, BlockError);
    assert.is((error as BlockError).code, code);
    assert.match((error as Error).message, text);
    return;
  }
  assert.unreachable("it did not fail");
}
/** The independent reader finds nothing wrong. */
function isClean(world: World, name = "image"): void {
  if (oracle === null) return;
  const image = oracle(null)(Buffer.from(world.bytes(name)));
  assert.equal(image.corruptions, []);
  assert.is(image.leaks, 0);
  assert.is(image.dirty, false);
}

for (const mode of MODES) {
  for (const options of [
    {},
    { cluster_size: 512 },
    { compat: "0.10", cluster_size: 4096 },
    { extended_l2: true },
    { lazy_refcounts: true },
    { refcount_bits: 64, cluster_size: 4096 },
  ]) {
    test(`create, apply, remove: ${mode}, ${JSON.stringify(options)}`, async () => {
      const world = makeIt(mode);
      await world.create("qcow2", "image", MiB, options);
      const node = await world.open("qcow2", "image");
      await world.run(write(node, filled(300 * KiB, 1), 0));
      await world.run(verbs(node).create("one", STATE));
      await world.run(write(node, filled(100 * KiB, 2), 50 * KiB));
      await world.run(verbs(node).create("two", { ...STATE, icount: 7 }));
      await world.run(write(node, filled(100 * KiB, 3), 100 * KiB));
      const three = await content(world, node);
      assert.equal(
        verbs(node)
          .list()
          .map(({ id, name }) => [id, name]),
        [
          ["1", "one"],
          ["2", "two"],
        ],
      );
      assert.is(named(node, "two").icount, 7);
      await world.run(verbs(node).create("three", STATE));
      await world.run(verbs(node).apply(named(node, "one")));
      const one = new Uint8Array(MiB);
      one.fill(1, 0, 300 * KiB);
      assert.equal(await content(world, node), one);
      await world.run(write(node, filled(4096, 9), 0));
      await world.run(verbs(node).apply(named(node, "three")));
      assert.equal(await content(world, node), three);
      await world.run(verbs(node).remove(named(node, "one")));
      await world.close(node);
      isClean(world);
      const again = await world.open("qcow2", "image", { write: false });
      assert.equal(
        verbs(again)
          .list()
          .map(({ id, name }) => [id, name]),
        [
          ["2", "two"],
          ["3", "three"],
        ],
      );
      await world.run(verbs(again).load(named(again, "two")));
      const two = one.slice();
      two.fill(2, 50 * KiB, 150 * KiB);
      assert.equal(await content(world, again), two);
      await world.close(again);
      const last = await world.open("qcow2", "image");
      for (const { name } of verbs(last).list()) await world.run(verbs(last).remove(named(last, name)));
      assert.equal(await content(world, last), three);
      await world.close(last);
      isClean(world);
    });
  }
}

test("disks of another size come back with their size", async () => {
  const world = makeIt();
  await world.create("qcow2", "image", 64 * KiB, { cluster_size: 512 });
  const node = await world.open("qcow2", "image");
  await world.run(write(node, filled(64 * KiB, 1), 0));
  await world.run(verbs(node).create("small", STATE));
  await world.run(truncate(node, 4 * MiB, { preallocation: "off" }));
  await world.run(write(node, filled(64 * KiB, 2), 3 * MiB));
  await world.run(verbs(node).create("large", STATE));
  await world.run(verbs(node).apply(named(node, "small")));
  assert.is(node.size, 64 * KiB);
  assert.equal(await content(world, node), filled(64 * KiB, 1));
  await world.run(truncate(node, 256 * KiB, { preallocation: "off" }));
  assert.equal((await content(world, node)).subarray(64 * KiB), new Uint8Array(192 * KiB));
  await world.run(verbs(node).apply(named(node, "large")));
  assert.is(node.size, 4 * MiB);
  const bytes = await content(world, node);
  assert.equal(bytes.subarray(3 * MiB, 3 * MiB + 64 * KiB), filled(64 * KiB, 2));
  await world.close(node);
  const reader = await world.open("qcow2", "image", { write: false });
  await world.run(verbs(reader).load(named(reader, "small")));
  assert.equal(await content(world, reader), filled(64 * KiB, 1));
  await world.close(reader);
  isClean(world);
});

test("VM state goes with its snapshot", async () => {
  const world = makeIt();
  await world.create("qcow2", "image", MiB, { cluster_size: 4096 });
  const node = await world.open("qcow2", "image");
  const impl = node.impl as MappedImpl;
  await world.run(write(node, filled(64 * KiB, 1), 0));
  await world.run(impl.writeVmState!(filled(10 * KiB, 7), 0));
  await world.run(verbs(node).create("vm", { ...STATE, vmStateSize: 10 * KiB }));
  assert.is(named(node, "vm")["vm-state-size"], 10 * KiB);
  const kinds = (): number[] => {
    const list = new ExtentList();
    const miss = impl.mapVmState!(0, 12 * KiB, list);
    if (miss !== null) {
      runSync(impl.load(miss));
      return kinds();
    }
    return Array.from({ length: list.count }, (_, i) => list.at(i).kind);
  };
  assert.ok(kinds().every((kind) => kind === ExtentKind.unallocated));
  await world.run(write(node, filled(64 * KiB, 2), 0));
  await world.run(truncate(node, 2 * MiB, { preallocation: "off" }));
  await world.run(verbs(node).apply(named(node, "vm")));
  assert.equal(kinds(), [ExtentKind.data]);
  // What was VM state does not become part of the disk.
  await world.run(truncate(node, 64 * MiB, { preallocation: "off" }));
  assert.ok((await content(world, node)).subarray(64 * KiB).every((byte) => byte === 0));
  await world.close(node);
  isClean(world);
});

test("a refcount that cannot grow stops a snapshot, and nothing has changed", async () => {
  for (const [bits, possible] of [
    [1, 0],
    [2, 2],
  ] as const) {
    const world = makeIt();
    await world.create("qcow2", "image", 256 * KiB, { refcount_bits: bits, cluster_size: 4096 });
    const node = await world.open("qcow2", "image");
    await world.run(write(node, filled(100 * KiB, 1), 0));
    for (let i = 0; i < possible; i++) await world.run(verbs(node).create(`s${i}`, STATE));
    await fails(world.run(verbs(node).create("more", STATE)), "ERR_TOO_LARGE", /refcount/);
    assert.is(verbs(node).list().length, possible);
    await world.run(write(node, filled(100 * KiB, 2), 50 * KiB));
    await world.close(node);
    isClean(world);
  }
});

test("images with an external data file have none", async () => {
  const world = makeIt();
  await world.create("qcow2", "image", MiB, { data_file: "data" });
  const node = await world.open("qcow2", "image");
  await fails(world.run(verbs(node).create("x", STATE)), "ERR_UNSUPPORTED", /not supported/);
  await world.close(node);
});

test("read-only nodes show snapshots and refuse the rest", async () => {
  const world = makeIt();
  await world.create("qcow2", "image", MiB);
  const node = await world.open("qcow2", "image");
  await world.run(verbs(node).create("x", STATE));
  await fails(world.run(verbs(node).load(named(node, "x"))), "ERR_INVALID_ARGUMENT", /read-only/);
  await world.close(node);
  const reader = await world.open("qcow2", "image", { write: false });
  await fails(world.run(verbs(reader).create("y", STATE)), "ERR_READ_ONLY", /read-only/);
  await fails(world.run(verbs(reader).remove(named(reader, "x"))), "ERR_READ_ONLY", /read-only/);
  await world.close(reader);
});

// ---- the table ------------------------------------------------------------------------------------------------------

const entry = (fields: Partial<Parameters<typeof newSnapshot>[0]> = {}): ReturnType<typeof newSnapshot> =>
  newSnapshot({
    id: "1",
    name: "name",
    l1Offset: 0,
    l1Entries: 0,
    diskSize: MiB,
    vmStateSize: 0,
    dateSec: 1,
    dateNsec: 2,
    vmClockNsec: 3,
    icount: undefined,
    ...fields,
  });

test("entries say what they were made of", () => {
  const info = snapshotInfo(entry({ id: "7", name: "größe", vmStateSize: 2 ** 40, vmClockNsec: 2 ** 53 - 1, icount: 2 ** 50 }));
  assert.equal(info, {
    id: "7",
    name: "größe",
    "vm-state-size": 2 ** 40,
    "date-sec": 1,
    "date-nsec": 2,
    "vm-clock-sec": 9007199,
    "vm-clock-nsec": 254740991,
    icount: 2 ** 50,
  });
  assert.is(snapshotInfo(entry()).icount, undefined);
});

test("a clock beyond 2^53 nanoseconds is told exactly", () => {
  const snapshot = entry();
  viewOf(snapshot.bytes).setUint32(24, 0xffffffff);
  viewOf(snapshot.bytes).setUint32(28, 0xffffffff);
  const info = snapshotInfo(snapshot);
  assert.is(info["vm-clock-sec"], 18446744073);
  assert.is(info["vm-clock-nsec"], 709551615);
});

/** An image whose snapshot table is `table`, in a cluster at the end of the file. */
async function withTable(count: number, table: Uint8Array): Promise<World> {
  const world = makeIt();
  await world.create("qcow2", "image", MiB);
  const bytes = world.bytes("image");
  const end = Math.ceil(bytes.length / 65536) * 65536;
  const image = new Uint8Array(end + table.length);
  image.set(bytes);
  image.set(table, end);
  const view = viewOf(image);
  // The refcount of its cluster, in the one refcount block.
  const block = readU64BE(view, readU64BE(view, 48));
  view.setUint16(block + (end / 65536) * 2, 1);
  view.setUint32(60, count);
  writeU64BE(viewOf(image), 64, end);
  world.files.set("image", memoryStorage(image, { name: "image" }));
  return world;
}
test("extra data nobody knows stays", async () => {
  const strange = entry();
  const bytes = new Uint8Array(strange.bytes.length + 100);
  bytes.set(strange.bytes.subarray(0, 64));
  bytes.fill(0x5a, 64, 164);
  bytes.set(strange.bytes.subarray(64), 164);
  viewOf(bytes).setUint32(36, 124);
  const world = await withTable(1, encodeSnapshotTable([{ ...strange, bytes }]));
  const node = await world.open("qcow2", "image");
  assert.is(named(node, "name").id, "1");
  await world.run(verbs(node).create("other", STATE));
  await world.close(node);
  const image = world.bytes("image");
  const text = Buffer.from(image).toString("latin1");
  assert.ok(text.includes("Z".repeat(100)));
});
test("entries of old images have no sizes: 32-bit VM state, today's disk", async () => {
  const old = entry();
  const bytes = new Uint8Array(old.bytes.length - 24);
  bytes.set(old.bytes.subarray(0, 40));
  bytes.set(old.bytes.subarray(64), 40);
  viewOf(bytes).setUint32(36, 0);
  viewOf(bytes).setUint32(32, 4242);
  const world = await withTable(1, encodeSnapshotTable([{ ...old, bytes }]));
  const node = await world.open("qcow2", "image", { write: false });
  assert.equal(
    verbs(node)
      .list()
      .map((snapshot) => [snapshot.name, snapshot["vm-state-size"]]),
    [["name", 4242]],
  );
  await world.close(node);
});
test("tables that lie are refused before they cost anything", async () => {
  const greedy = entry().bytes.slice();
  viewOf(greedy).setUint32(36, 1025);
  for (const [count, table, text] of [
    [1, greedy, /Too much extra metadata/],
    [65537, new Uint8Array(512), /too large/],
  ] as const) {
    const world = await withTable(count, table);
    try {
      await world.open("qcow2", "image", { write: false });
      assert.unreachable(`it was opened: ${text}`);
    } catch (error) {
      assert.instance(error, BlockError, (error as Error).message);
      assert.match((error as Error).message, text);
    }
  }
});
test("as many snapshots as there may be, all of them zeros behind the end of the file", async () => {
  const world = await withTable(65536, new Uint8Array(512));
  const started = performance.now();
  const node = await world.open("qcow2", "image", { write: false });
  assert.is(verbs(node).list().length, 65536);
  assert.ok(performance.now() - started < 5000);
  await world.close(node);
});
test("a snapshot whose L1 table is nowhere cannot be applied, removed or shown", async () => {
  for (const fields of [
    { l1Offset: 12345, l1Entries: 1 },
    { l1Offset: 2 ** 40, l1Entries: 1 },
    { l1Offset: 0, l1Entries: 2 ** 31 },
  ]) {
    const world = await withTable(1, encodeSnapshotTable([entry(fields)]));
    const node = await world.open("qcow2", "image");
    for (const verb of ["apply", "remove"] as const) {
      try {
        await world.run(verbs(node)[verb](named(node, "name")));
        assert.unreachable("it worked");
      } catch (error) {
        assert.instance(error, BlockError, (error as Error).message);
      }
    }
    assert.is(verbs(node).list().length, 1);
    await world.close(node);
  }
});

// ---- at the same time -----------------------------------------------------------------------------------------------

test("a snapshot between requests in flight is one moment of the disk", async () => {
  const first = chooseSeed();
  console.log(`SEED=${first}`);
  for (let seed = first; seed < first + 60; seed++) {
    const choose = random(seed);
    const world = makeIt("seeded", seed);
    const clusterSize = choose.pick([512, 4096, 65536]);
    await world.create("qcow2", "image", 256 * KiB, { cluster_size: clusterSize, lazy_refcounts: choose.chance(0.3) });
    const node = await world.open(
      "qcow2",
      "image",
      { write: true, unmap: true },
      choose.chance(0.5) ? { "l2-cache-size": 1024, "l2-cache-entry-size": 512, "refcount-cache-size": 1024 } : {},
    );
    await world.run(write(node, filled(128 * KiB, 1), 0));
    await world.run(verbs(node).create("before", STATE));
    await world.run(write(node, filled(64 * KiB, 2), 0));
    const readers = Array.from({ length: 4 }, () => new Uint8Array(16 * KiB));
    const third = choose.pick(["create", "apply", "remove"] as const);
    const ops: Op<unknown>[] = [
      ...[0, 1, 2, 3].map((i) => write(node, filled(3000, 10 + i), i * 40_000 + 100)),
      ...readers.map((into, i) => read(node, into, i * 16 * KiB)),
      third === "create" ? verbs(node).create("during", STATE) : verbs(node)[third](named(node, "before")),
      ...[0, 1].map((i) => write(node, filled(3000, 20 + i), i * 40_000 + 20_000)),
    ];
    for (const outcome of await world.runAll(ops))
      if (!outcome.ok) throw new Error(`seed ${seed}: ${(outcome.error as Error).message}`);
    for (const into of readers) for (const byte of into) assert.ok(byte !== 0, `seed ${seed}: a reader saw a hole`);
    const now = await content(world, node);
    // Every write is there as a whole, or gone as a whole where the disk went back.
    for (const [at, value] of [
      [100, 10],
      [40_100, 11],
      [20_000, 20],
      [60_000, 21],
    ] as const) {
      const part = now.subarray(at, at + 3000);
      assert.ok(
        part.every((byte) => byte === part[0]),
        `seed ${seed}: a write at ${at} is torn`,
      );
      if (third !== "apply") assert.is(part[0], value, `seed ${seed}: a write at ${at} is lost`);
    }
    await world.close(node);
    isClean(world);
  }
});

// ---- real QEMU ------------------------------------------------------------------------------------------------------

test("QEMU and we take turns on one image", () => {
  const folder = tempPath("turns");
  mkdirSync(folder);
  const qemu = (...args: string[]): string => execFileSync(args[0]!, args.slice(1), { cwd: folder, stdio: "pipe" }).toString();
  try {
    qemu("qemu-img", "--version");
  } catch {
    return skip("the qemu programs are not installed");
  }
  return (async () => {
    for (const options of [
      "cluster_size=65536",
      "cluster_size=512",
      "cluster_size=4096,compat=0.10",
      "cluster_size=16384,extended_l2=on",
    ]) {
      const file = join(folder, "t");
      qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "t", "1M");
      qemu("qemu-io", "-c", "write -q -P 1 0 512k", "-c", "write -q -c -P 9 768k 64k", "t");
      const ours = async (work: (world: World, node: Node) => Promise<void>): Promise<void> => {
        const world = makeIt();
        world.files.set("t", memoryStorage(readFileSync(file), { name: "t" }));
        const node = await world.open("qcow2", "t");
        await work(world, node);
        await world.close(node);
        writeFileSync(file, world.bytes("t"));
        qemu("qemu-img", "check", "-q", "t");
      };
      await ours((world, node) => world.run(verbs(node).create("ours", STATE)));
      qemu("qemu-io", "-c", "write -q -P 2 100k 100k", "t");
      qemu("qemu-img", "snapshot", "-c", "theirs", "t");
      await ours(async (world, node) => {
        await world.run(write(node, filled(100 * KiB, 3), 150 * KiB));
        await world.run(verbs(node).create("ours too", STATE));
        await world.run(verbs(node).apply(named(node, "theirs")));
        await world.run(write(node, filled(10 * KiB, 4), 0));
      });
      qemu("qemu-io", "-c", "read -q -P 4 0 10k", "-c", "read -q -P 2 100k 100k", "-c", "read -q -P 9 768k 64k", "t");
      qemu("qemu-img", "snapshot", "-a", "ours too", "t");
      qemu("qemu-io", "-c", "read -q -P 3 150k 100k", "-c", "read -q -P 1 0 100k", "t");
      qemu("qemu-img", "snapshot", "-d", "ours", "t");
      qemu("qemu-img", "check", "-q", "t");
      await ours((world, node) => world.run(verbs(node).remove(named(node, "theirs"))));
      await ours((world, node) => world.run(verbs(node).remove(named(node, "ours too"))));
      qemu("qemu-io", "-c", "read -q -P 3 150k 100k", "-c", "read -q -P 1 0 100k", "t");
    }
  })();
});

test.run();
