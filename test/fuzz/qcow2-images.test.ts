// time-limit: 240 s
/**
 * Damaged qcow2 images: a sound image with all it can have (snapshots, bitmaps, compressed clusters, subclusters, encryption), a few
 * fields with something else in them, and then everything that can be asked of an image. Whatever comes is a BlockError or an answer,
 * within bounds of time, memory and I/O; a repair that calls the image sound is right.
 *
 * SEED=n starts at another seed, BLOCKCORE_IMAGES=n damages that many images. To repeat one failure: SEED=<its seed> BLOCKCORE_IMAGES=1.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { discard, flush, read, truncate, write, writeZeroes } from "../../src/block/io.js";
import { addBitmap, removeBitmap } from "../../src/block/named-bitmap.js";
import type { MappedImpl, SnapshotVerbs } from "../../src/block/driver.js";
import type { Node } from "../../src/block/node.js";
import type { Op } from "../../src/block/op.js";
import { qcow2 } from "../../src/formats/qcow2/qcow2.js";
import { raw } from "../../src/formats/raw/raw.js";
import { checkImage } from "../../src/image/check.js";
import { imageInfo } from "../../src/image/info.js";
import { mapImage } from "../../src/image/map.js";
import { memoryStorage } from "../../src/storage/memory.js";
import { chooseSeed, random, type Random } from "../support/random.js";
import { makeWorld, type World } from "../support/world.js";
import { damage } from "./fields.js";
import { attempt, withinBounds } from "./limits.js";
import { fieldsOf } from "./qcow2-fields.js";

const COUNT = Number(process.env["BLOCKCORE_IMAGES"] ?? 400);
const MiB = 1 << 20;
const SECRET = { k: "sesame" };
const STATE = { vmStateSize: 0, dateSec: 1, dateNsec: 2, vmClockNsec: 3 };

const shapes: readonly Readonly<Record<string, unknown>>[] = [
  {},
  { cluster_size: 512 },
  { cluster_size: 4096, refcount_bits: 1 },
  { cluster_size: 4096, refcount_bits: 64 },
  { compat: "0.10", cluster_size: 1024 },
  { extended_l2: true, cluster_size: 16384 },
  { lazy_refcounts: true, cluster_size: 2048 },
  { cluster_size: 4096, "encrypt.format": "aes", "encrypt.key-secret": "k" },
  { cluster_size: 65536, preallocation: "metadata" },
];

const implOf = (node: Node): MappedImpl => node.impl as MappedImpl;
const snapshotsOf = (node: Node): SnapshotVerbs => implOf(node).snapshots!;

function worldWith(bytes?: Uint8Array): World {
  const world = makeWorld({ mode: "sync", drivers: [raw, qcow2], secrets: SECRET });
  if (bytes !== undefined) world.files.set("image", memoryStorage(bytes, { name: "image" }));
  return world;
}
const optionsOf = (shape: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  shape["encrypt.format"] === undefined ? {} : { "encrypt.key-secret": "k" };

/** Sound images, one of each shape; every damaged one begins as a copy. */
const sound = await Promise.all(
  shapes.map(async (shape) => {
    const world = worldWith();
    await world.create("qcow2", "image", MiB, shape);
    const node = await world.open("qcow2", "image", { write: true, unmap: true }, optionsOf(shape));
    const impl = implOf(node);
    const plain = shape["encrypt.format"] === undefined;
    await world.run(write(node, new Uint8Array(100_000).fill(1), 5000));
    if (plain) await world.run(impl.writeCompressed!(new Uint8Array(impl.allocationUnit).fill(2), 4 * 65536));
    if (shape["refcount_bits"] !== 1) {
      await world.run(snapshotsOf(node).create("one", STATE));
      await world.run(write(node, new Uint8Array(3000).fill(3), 70_000));
      await world.run(snapshotsOf(node).create("two", STATE));
    }
    if (shape["compat"] !== "0.10") for (const name of ["a", "b"]) addBitmap(node, { name, persistent: true, granularity: 512 });
    await world.run(writeZeroes(node, 200_000, 50_000));
    await world.run(write(node, new Uint8Array(9000).fill(4), 8 * 65536));
    await world.close(node);
    const bytes = world.bytes("image");
    return { shape, bytes, fields: fieldsOf(bytes) };
  }),
);

const open = (world: World, flags: Parameters<World["open"]>[2], options: Record<string, unknown>): Promise<Node | null> =>
  attempt(world.open("qcow2", "image", flags, options));

/** Looking at it. */
async function look(bytes: Uint8Array, options: Record<string, unknown>): Promise<void> {
  const world = worldWith(bytes);
  const node = await open(world, {}, options);
  if (node === null) return;
  await attempt(world.run(imageInfo(node)));
  await attempt(world.run(mapImage(node, () => {}, { length: 4 * MiB })));
  const size = Math.min(node.size, 2 * MiB);
  for (let at = 0; at < size; at += 65536) await attempt(world.run(read(node, new Uint8Array(Math.min(65536, size - at)), at)));
  for (const snapshot of snapshotsOf(node).list().slice(0, 3)) {
    if ((await attempt(world.run(snapshotsOf(node).load(snapshot)))) === null || node.size < 4096) continue;
    await attempt(world.run(read(node, new Uint8Array(4096), 0)));
  }
  await attempt(world.close(node));
}

async function check(world: World, options: Record<string, unknown>, fix: "none" | "all"): Promise<number | null> {
  const node = await open(world, { check: true, write: fix === "all" }, options);
  if (node === null) return null;
  const found = await attempt(world.run(checkImage(node, { fix })));
  await attempt(world.close(node));
  return found === null ? null : found["check-errors"] + (found.corruptions ?? 0) + (found.leaks ?? 0);
}

/** Writing into it, whatever it takes. */
async function change(bytes: Uint8Array, options: Record<string, unknown>, choose: Random): Promise<void> {
  const world = worldWith(bytes);
  const node = await open(world, { write: true, unmap: true }, options);
  if (node === null) return;
  const impl = implOf(node);
  for (let step = 0; step < 10; step++) {
    const length = Math.min(node.size, 1 + choose.int(70_000));
    const at = choose.int(Math.min(node.size, 4 * MiB) - length + 1);
    const from = new Uint8Array(length).fill(0xa0 + step);
    const snapshot = snapshotsOf(node).list()[choose.int(3)];
    const steps: (() => Op<unknown> | null)[] = [
      () => write(node, from, at),
      () => write(node, from, at),
      () => writeZeroes(node, at, length, { mayUnmap: choose.chance(0.5) }),
      () => discard(node, at, length),
      () => write(node, from.subarray(0, impl.allocationUnit), at - (at % impl.allocationUnit), { compressed: true }),
      () => flush(node),
      () => snapshotsOf(node).create(`s${step}`, STATE),
      () => (snapshot === undefined ? null : snapshotsOf(node).remove(snapshot)),
      () => (snapshot === undefined ? null : snapshotsOf(node).apply(snapshot)),
      () => truncate(node, choose.int(3 * MiB), { preallocation: "off" }),
      () => impl.changeBackingFile!(null, null),
      () => (node.bitmaps.length === 0 ? null : removeBitmap(node, node.bitmaps[0]!.name)),
    ];
    const op = choose.pick(steps)();
    if (op !== null) await attempt(world.run(op));
  }
  await attempt(world.close(node));
}

async function fuzz(seed: number): Promise<void> {
  const choose = random(seed);
  const { shape, bytes: whole, fields } = choose.pick(sound);
  const options = optionsOf(shape);
  let bytes = whole.slice();
  const done = [`seed ${seed}, ${JSON.stringify(shape)}`];
  for (let i = 1 + choose.int(4); i > 0; i--) done.push(damage(bytes, choose.pick(fields), fields, choose));
  if (choose.chance(0.1)) {
    bytes = bytes.slice(0, choose.int(bytes.length));
    done.push(`cut to ${bytes.length}`);
  }
  await withinBounds(done, async () => {
    await look(bytes, options);
    const repaired = worldWith(bytes);
    await check(repaired, options, "none");
    if ((await check(repaired, options, "all")) === 0)
      assert.is(await check(repaired, options, "none"), 0, "called sound, and is not");
    await change(bytes, options, choose);
    await change(repaired.bytes("image"), options, choose);
  });
}

const first = chooseSeed();
test(`${COUNT} damaged images from seed ${first}`, async () => {
  console.log(`SEED=${first} (${COUNT} images)`);
  for (let i = 0; i < COUNT; i++) await fuzz((first + i) >>> 0);
});

test.run();
