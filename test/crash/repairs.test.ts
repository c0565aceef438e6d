// time-limit: 240 s
/**
 * Crash simulation of repairs: damaged images of every kind, and a power cut that loses any part of what a repair wrote since its
 * last flush.
 *
 * BLOCKCORE_LONG=1 visits far more states; SEED moves the seeds.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { MappedImpl } from "../../src/block/driver.js";
import { write } from "../../src/block/io.js";
import { addBitmap } from "../../src/block/named-bitmap.js";
import type { Op } from "../../src/block/op.js";
import type { Qcow2 } from "../../src/formats/qcow2/image.js";
import { hasQemu } from "../support/qemu.js";
import { skip } from "../support/skip.js";
import type { World } from "../support/world.js";
import { loadOracle } from "./oracle.js";
import { judgeRepair, type Repair, type RepairOptions, type RepairVerdict } from "./repair-judge.js";

const KiB = 1024;
const long = process.env["BLOCKCORE_LONG"] === "1";
const oracle = await loadOracle();
const seed = Number(process.env["SEED"] ?? 1);
const options: Omit<RepairOptions, "stale"> = {
  perEpoch: long ? 2000 : 120,
  seed,
  againEvery: long ? 5 : 9,
  qemuEvery: hasQemu ? (long ? 101 : 67) : 0,
};

// ---- what is in the images ------------------------------------------------------------------------------------------

const SIZE = 512 * KiB;
const pattern = (n: number, bytes: number): Uint8Array => new Uint8Array(bytes).map((_, i) => (n * 37 + (i >> 9)) & 255);

async function filled(world: World): Promise<void> {
  const node = await world.open("qcow2", "image");
  for (let i = 0; i < 6; i++) await world.run(write(node, pattern(i, 20 * KiB), i * 80 * KiB));
  await world.close(node);
}
async function withSnapshots(world: World): Promise<void> {
  const node = await world.open("qcow2", "image");
  const { snapshots } = node.impl as MappedImpl;
  for (let i = 0; i < 4; i++) {
    await world.run(write(node, pattern(i, 20 * KiB), i * 60 * KiB));
    if (i < 3)
      await world.run(
        snapshots!.create(`snapshot ${i}`, { vmStateSize: 0, dateSec: 1_700_000_000, dateNsec: 0, vmClockNsec: 0 }),
      );
  }
  await world.close(node);
}
async function withBitmap(world: World): Promise<void> {
  const node = await world.open("qcow2", "image");
  addBitmap(node, { name: "changes", granularity: 512, persistent: true });
  await world.run(write(node, pattern(1, 100 * KiB), 0));
  await world.close(node);
}

// ---- where things are in a file -------------------------------------------------------------------------------------

const OFFSET = 0x00fffffffffffe00n;
const offsetAt = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64BE(at) & OFFSET);
const clusterOf = (bytes: Buffer): number => 2 ** bytes.readUInt32BE(20);
const l1Of = (bytes: Buffer): number => offsetAt(bytes, 40);
const l2Of = (bytes: Buffer): number => offsetAt(bytes, l1Of(bytes));
const blockOf = (bytes: Buffer): number => offsetAt(bytes, offsetAt(bytes, 48));
/** Of images with 16-bit refcounts, in their first block. */
const refcountAt = (bytes: Buffer, cluster: number): number => blockOf(bytes) + cluster * 2;
function setRefcount(bytes: Buffer, cluster: number, value: number): void {
  bytes.writeUInt16BE(value, refcountAt(bytes, cluster));
}
function firstFree(bytes: Buffer): number {
  let cluster = 0;
  for (let at = 0; at < clusterOf(bytes) / 2; at++) if (bytes.readUInt16BE(refcountAt(bytes, at)) !== 0) cluster = at + 1;
  return cluster;
}
const DIRTY = 1;
const CORRUPT = 2;
function mark(bytes: Buffer, bit: number): void {
  bytes.writeUInt32BE(bytes.readUInt32BE(76) | bit, 76);
}

// ---- what is wrong with them ----------------------------------------------------------------------------------------

function leaks(bytes: Buffer): void {
  const free = firstFree(bytes);
  for (const cluster of [free, free + 3, free + 4]) setRefcount(bytes, cluster, 1);
}
/** Two guest clusters share a host cluster that counts once. */
function shared(bytes: Buffer): void {
  const l2 = l2Of(bytes);
  bytes.copy(bytes, l2 + 8, l2, l2 + 8);
}
function wrongFlags(bytes: Buffer): void {
  bytes[l1Of(bytes)]! &= 0x7f;
  bytes[l2Of(bytes) + 8]! &= 0x7f;
  bytes[l2Of(bytes)]! &= 0x7f;
}
function lostCounts(bytes: Buffer): void {
  bytes.fill(0, blockOf(bytes) + 6, blockOf(bytes) + 20);
}
function noTable(bytes: Buffer): void {
  bytes.writeBigUInt64BE(0x7000_0000n, 48);
}
function misplacedZeros(bytes: Buffer): void {
  bytes.writeBigUInt64BE(BigInt(offsetAt(bytes, l2Of(bytes)) + 512 + 1), l2Of(bytes) + clusterOf(bytes) / 8 - 16);
}
/** The snapshot table once more in a fresh place, with far more extra data in its first entry than one may have. */
function muchExtraData(bytes: Buffer): void {
  const cluster = firstFree(bytes);
  const [from, to] = [offsetAt(bytes, 64), cluster * clusterOf(bytes)];
  const extra = bytes.readUInt32BE(from + 36);
  const more = 1104;
  bytes.fill(0, to, to + 2 * clusterOf(bytes));
  bytes.copy(bytes, to, from, from + 40 + extra);
  bytes.writeUInt32BE(more, to + 36);
  bytes.copy(bytes, to + 40 + more, from + 40 + extra, from + clusterOf(bytes));
  bytes.writeBigUInt64BE(BigInt(to), 64);
  setRefcount(bytes, cluster, 1);
}
/** The only entry of a bitmap table points far behind the end of the file. */
function lostBits(bytes: Buffer): void {
  const extensions = bytes.readUInt32BE(100);
  let at = extensions;
  while (bytes.readUInt32BE(at) !== 0x23852875) at += 8 + Math.ceil(bytes.readUInt32BE(at + 4) / 8) * 8;
  const directory = offsetAt(bytes, at + 24);
  const table = offsetAt(bytes, directory);
  bytes.writeBigUInt64BE(BigInt(bytes.length + 2 ** 30), table);
  mark(bytes, CORRUPT);
}
const all =
  (...damages: ((bytes: Buffer) => void)[]) =>
  (bytes: Buffer): void => {
    for (const damage of damages) damage(bytes);
  };
const marked = (damage: (bytes: Buffer) => void, bit = CORRUPT): ((bytes: Buffer) => void) =>
  all(damage, (bytes) => mark(bytes, bit));

const repairs: Repair[] = [];
function repair(name: string, given: Pick<Repair, "damage"> & Partial<Repair>): void {
  repairs.push({ name, size: SIZE, create: { cluster_size: 4096 }, before: filled, fix: "all", ...given });
}
repair("leaks, given back", { damage: leaks, fix: "leaks" });
repair("leaks beside snapshots", { damage: leaks, before: withSnapshots });
for (const cluster_size of [512, 4096, 65536]) {
  const create = { cluster_size };
  repair(`shared cluster, ${cluster_size}`, { damage: marked(shared), create });
  repair(`flags, ${cluster_size}`, { damage: marked(wrongFlags), create });
  repair(`lost counts, ${cluster_size}`, { damage: marked(lostCounts), create });
  repair(`no refcount table, ${cluster_size}`, { damage: marked(noTable), create });
  repair(`misplaced zeros, ${cluster_size}`, { damage: marked(misplacedZeros), create });
}
repair("shared cluster, not marked corrupt", { damage: shared });
repair("lost counts, not marked corrupt", { damage: lostCounts });
repair("lost counts of an image that was not closed", { damage: marked(lostCounts, DIRTY) });
repair("lost counts, version 2", { damage: lostCounts, create: { cluster_size: 4096, compat: "0.10" } });
repair("lost counts beside snapshots", { damage: marked(lostCounts), before: withSnapshots });
repair("a snapshot's extra data", { damage: marked(muchExtraData), before: withSnapshots });
repair("a snapshot's extra data, flags and leaks", {
  damage: marked(all(muchExtraData, wrongFlags, leaks)),
  before: withSnapshots,
});
repair("lost bits of a bitmap", { damage: lostBits, before: withBitmap, beyondQemu: true });
repair("lost bits, flags and lost counts", {
  damage: all(lostBits, wrongFlags, lostCounts),
  before: withBitmap,
  beyondQemu: true,
});
repair("everything at once", { damage: marked(all(shared, misplacedZeros, leaks, wrongFlags)) });

const total = { repairs: 0, states: 0, again: 0, qemu: 0, violations: 0 };
function add(verdict: RepairVerdict): void {
  total.repairs++;
  total.states += verdict.states;
  total.again += verdict.again;
  total.qemu += verdict.qemu;
  total.violations += verdict.violations.length;
}

for (const given of repairs) {
  test(given.name, async () => {
    if (oracle === null) return skip("the crash oracle is not there");
    for (const stale of [0, 0xee]) {
      const verdict = await judgeRepair(given, oracle(null), { ...options, stale });
      add(verdict);
      assert.equal(verdict.violations, [], `free space ${stale}`);
      assert.ok(verdict.states > 2, `only ${verdict.states} states`);
    }
  });
}

// ---- a judge that sees nothing would be worse than none -------------------------------------------------------------

function noticed(name: string, of: string, sabotage: (image: Qcow2) => void): void {
  test(`noticed: ${name}`, async () => {
    if (oracle === null) return skip("the crash oracle is not there");
    const found = repairs.find((candidate) => candidate.name === of)!;
    const verdict = await judgeRepair({ ...found, sabotage }, oracle(null), { ...options, stale: 0xee, qemuEvery: 0 });
    assert.ok(verdict.violations.length > 0, "nobody noticed");
  });
}
function* nothing(): Op<void> {}
const withoutBarriers = (image: Qcow2): void => {
  image.barrier = nothing;
};
noticed("new refcounts without a flush", "lost counts, not marked corrupt", withoutBarriers);
noticed("the corrupt bit goes too early", "lost counts, 4096", withoutBarriers);
noticed("a snapshot table without a flush", "a snapshot's extra data", withoutBarriers);

test("how many states", () => {
  console.log(`SEED=${seed}: ${JSON.stringify(total)}`);
});

test.run();
