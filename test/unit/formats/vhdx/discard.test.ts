/** Whole blocks that are cleared give their space back; the states they get; what a parent shows through. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { viewOf } from "../../../../src/base/bytes.js";
import { discard, flush, read, write, writeZeroes } from "../../../../src/block/io.js";
import type { Node } from "../../../../src/block/node.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vhdx } from "../../../../src/formats/vhdx/vhdx.js";
import { checkImage } from "../../../../src/image/check.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { makeWorld, type World } from "../../../support/world.js";

const MiB = 1048576;
const BAT = 2 * MiB;
const SIZE = 6 * MiB;

const newWorld = (): World => makeWorld({ mode: "sync", drivers: [raw, vhdx] });
const open = (world: World, name = "image"): Promise<Node> => world.open("vhdx", name, { write: true, unmap: true });
const state = (world: World, block: number, name = "image"): number =>
  viewOf(world.bytes(name)).getUint32(BAT + block * 8, true) & 7;
const place = (world: World, block: number, name = "image"): number =>
  viewOf(world.bytes(name)).getUint32(BAT + block * 8, true) >>> 20;
const problems = async (world: World, name = "image"): Promise<number> => {
  const node = await world.open("vhdx", name, { check: true });
  const found = await world.run(checkImage(node, { fix: "none" }));
  await world.close(node);
  return found.corruptions ?? 0;
};

/** All blocks hold their number + 1. */
async function filled(): Promise<{ world: World; node: Node }> {
  const world = newWorld();
  await world.create("vhdx", "image", SIZE, { block_size: MiB, block_state_zero: false });
  const node = await open(world);
  for (let block = 0; block < SIZE / MiB; block++) await world.run(write(node, new Uint8Array(MiB).fill(block + 1), block * MiB));
  await world.run(flush(node));
  return { world, node };
}

async function firstBytes(world: World, node: Node): Promise<number[]> {
  const bytes = new Uint8Array(node.size);
  await world.run(read(node, bytes, 0));
  return Array.from({ length: node.size / MiB }, (_, block) => bytes[block * MiB]!);
}

test("whole blocks are let go: unmapped by a discard, zeros by zeros that may unmap; parts stay", async () => {
  const { world, node } = await filled();
  await world.run(discard(node, MiB / 2, 2 * MiB));
  await world.run(writeZeroes(node, 3 * MiB, MiB, { mayUnmap: true }));
  await world.run(writeZeroes(node, 4 * MiB, MiB));
  await world.run(flush(node));
  assert.equal(
    [0, 1, 2, 3, 4, 5].map((block) => state(world, block)),
    [6, 3, 6, 2, 6, 6],
  );
  assert.equal(await firstBytes(world, node), [1, 0, 0, 0, 0, 6]);
  await world.close(node);
});

test("their space is used again, but not before the table says so on disk", async () => {
  const { world, node } = await filled();
  const length = world.bytes("image").length;
  const [lowest, first] = [place(world, 0), place(world, 1)];
  await world.run(discard(node, MiB, 2 * MiB));
  // Nothing was flushed: whoever opens the file now still finds the old places.
  await world.run(write(node, new Uint8Array(100).fill(0x77), MiB));
  assert.ok(world.bytes("image").length > length);
  await world.run(flush(node));
  await world.run(write(node, new Uint8Array(100).fill(0x78), 2 * MiB));
  await world.run(discard(node, 0, MiB));
  await world.run(flush(node));
  await world.run(write(node, new Uint8Array(100).fill(0x79), 100));
  await world.run(flush(node));
  assert.equal([place(world, 2), place(world, 0)], [first, lowest]);
  assert.is(world.bytes("image").length, length + MiB);
  const bytes = new Uint8Array(MiB);
  await world.run(read(node, bytes, 2 * MiB));
  assert.equal([bytes[99], bytes[100], bytes[MiB - 1]], [0x78, 0, 0], "what the place held before is gone");
  await world.close(node);
  assert.is(await problems(world), 0);
});

test("where two blocks of a damaged image share a place it is given to nobody", async () => {
  const { world, node } = await filled();
  await world.close(node);
  const bytes = world.bytes("image").slice();
  viewOf(bytes).setUint32(BAT + 8, viewOf(bytes).getUint32(BAT, true), true);
  world.files.set("image", memoryStorage(bytes, { name: "image" }));
  assert.is(await problems(world), 1);
  const again = await open(world);
  await world.run(writeZeroes(again, MiB, MiB, { mayUnmap: true }));
  await world.run(flush(again));
  await world.run(write(again, new Uint8Array(MiB).fill(0x55), MiB));
  await world.run(flush(again));
  assert.is.not(place(world, 1), place(world, 0));
  await world.close(again);
});

test("blocks of fixed disks keep their places", async () => {
  const world = newWorld();
  await world.create("vhdx", "image", SIZE, { block_size: MiB, subformat: "fixed" });
  const node = await open(world);
  await world.run(write(node, new Uint8Array(MiB).fill(1), 0));
  await world.run(discard(node, 0, 2 * MiB));
  await world.run(flush(node));
  assert.equal([state(world, 0), state(world, 1)], [6, 6]);
  assert.equal(await firstBytes(world, node), [0, 0, 0, 0, 0, 0]);
  await world.close(node);
});

test("over a parent zeros hide it, and take no space for whole blocks", async () => {
  const { world, node } = await filled();
  await world.close(node);
  await world.create("vhdx", "child", SIZE, { backing_file: "image", block_size: MiB });
  const child = await open(world, "child");
  const length = world.bytes("child").length;
  await world.run(writeZeroes(child, 0, 2 * MiB));
  assert.is(world.bytes("child").length, length);
  await world.run(writeZeroes(child, 2 * MiB + 512, 1024));
  await world.run(write(child, new Uint8Array(10).fill(9), 3 * MiB));
  await world.run(flush(child));
  await world.run(discard(child, 3 * MiB, MiB));
  await world.run(flush(child));
  assert.equal(
    [0, 1, 2, 3, 4].map((block) => state(world, block, "child")),
    [2, 2, 6, 3, 0],
  );
  assert.equal(await firstBytes(world, child), [0, 0, 3, 0, 5, 6]);
  const bytes = new Uint8Array(2048);
  await world.run(read(child, bytes, 2 * MiB));
  assert.equal([bytes[511], bytes[512], bytes[1535], bytes[1536]], [3, 0, 0, 3]);
  await world.close(child);
  assert.is(await problems(world, "child"), 0);
});

test.run();
