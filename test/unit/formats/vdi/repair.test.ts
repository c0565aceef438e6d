/** VDI block maps that a crash or another program left behind: counted, repaired, and used again. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../../src/base/error.js";
import { read, truncate, write } from "../../../../src/block/io.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vdi } from "../../../../src/formats/vdi/vdi.js";
import { checkImage } from "../../../../src/image/check.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { makeWorld, type World } from "../../../support/world.js";

const MiB = 1 << 20;
const HEADER_COUNT = 388;
const MAP = 512;

/** An image of 8 blocks, the first three written with 1, 2, 3. */
async function image(): Promise<World> {
  const world = makeWorld({ mode: "sync", drivers: [raw, vdi] });
  await world.create("vdi", "image", 8 * MiB);
  const node = await world.open("vdi", "image");
  for (let i = 0; i < 3; i++) await world.run(write(node, new Uint8Array(MiB).fill(i + 1), i * MiB));
  await world.close(node);
  return world;
}
function put32(world: World, offset: number, value: number): void {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  world.files.get("image")!.sync.write(bytes, offset);
}
function get32(world: World, offset: number): number {
  return new DataView(world.bytes("image").buffer).getUint32(offset, true);
}
async function check(
  world: World,
  fix: "none" | "all" = "none",
): Promise<{ texts: string[]; corruptions: number; fixed: number }> {
  const node = await world.open("vdi", "image", { check: true, write: fix === "all" });
  const texts: string[] = [];
  const found = await world.run(checkImage(node, { fix, onProblem: ({ text }) => void texts.push(text) }));
  await world.close(node);
  return { texts, corruptions: found.corruptions ?? 0, fixed: found["corruptions-fixed"] ?? 0 };
}

test("a wrong count is found and repaired", async () => {
  const world = await image();
  put32(world, HEADER_COUNT, 5);
  assert.equal((await check(world)).texts, ["ERROR: allocated blocks mismatch, is 3, should be 5"]);
  assert.is((await check(world, "all")).fixed, 1);
  assert.is(get32(world, HEADER_COUNT), 3);
  assert.equal(await check(world), { texts: [], corruptions: 0, fixed: 0 });
});

test("a repair that is only to be planned writes nothing", async () => {
  const world = await image();
  put32(world, HEADER_COUNT, 5);
  const before = world.bytes("image").slice();
  const node = await world.open("vdi", "image", { check: true, write: true });
  const found = await world.run(checkImage(node, { fix: "all", dryRun: true }));
  await world.close(node);
  assert.is(found["corruptions-fixed"] ?? 0, 0);
  assert.equal(world.bytes("image"), before);
});

test("a block used twice and one outside are found and not repaired", async () => {
  const world = await image();
  put32(world, MAP + 4, 0);
  put32(world, MAP + 8, 77);
  const { texts, corruptions } = await check(world, "all");
  assert.is(corruptions, 3);
  assert.equal(texts.slice(0, 2), ["ERROR: block index 0 also used by 0", "ERROR: block index 2 too large, is 77"]);
});

test("blocks that a file which was cut off does not hold are counted; QEMU finds nothing", async () => {
  for (const [cut, indexes] of [
    [512, [2]],
    [MiB, [2]],
    [MiB + 512, [1, 2]],
  ] as const) {
    const world = await image();
    const bytes = world.bytes("image");
    world.files.set("image", memoryStorage(bytes.slice(0, bytes.length - cut), { name: "image" }));
    const { texts, corruptions } = await check(world);
    const told = (index: number): string =>
      `ERROR: block index ${index} points after the end of the file, is ${index}: the image has been truncated`;
    assert.equal(texts, indexes.map(told));
    assert.is(corruptions, indexes.length);
  }
});

test("space that nothing uses is taken first, and what it held does not show", async () => {
  const world = await image();
  // Guest block 1 forgets its place: the second block of the file is free.
  put32(world, MAP + 4, 0xffffffff);
  const node = await world.open("vdi", "image");
  await world.run(write(node, new Uint8Array(10).fill(9), 6 * MiB + 100));
  const bytes = new Uint8Array(MiB);
  await world.run(read(node, bytes, 6 * MiB));
  const expected = new Uint8Array(MiB);
  expected.fill(9, 100, 110);
  assert.equal(bytes, expected);
  await world.close(node);
  assert.is(get32(world, MAP + 24), 1);
  assert.equal(await check(world), { texts: [], corruptions: 0, fixed: 0 });
});

test("writes to blocks that lie in the header or behind the file are refused", async () => {
  for (const entry of [0x7ffffff0, 6]) {
    const world = await image();
    put32(world, MAP, entry);
    const node = await world.open("vdi", "image");
    try {
      await world.run(write(node, new Uint8Array(10), 0));
      assert.unreachable();
    } catch (error) {
      assert.instance(error, BlockError);
      assert.is((error as BlockError).code, "ERR_CORRUPT");
    }
    await world.close(node);
  }
  const world = await image();
  put32(world, 340, 0);
  try {
    await world.open("vdi", "image");
    assert.unreachable();
  } catch (error) {
    assert.match((error as BlockError).message, "can only be opened read-only");
  }
});

test("an image grows as far as its map has room", async () => {
  const world = await image();
  const node = await world.open("vdi", "image");
  await world.run(truncate(node, 128 * MiB, { preallocation: "off" }));
  try {
    await world.run(truncate(node, 129 * MiB, { preallocation: "off" }));
    assert.unreachable();
  } catch (error) {
    assert.is((error as BlockError).code, "ERR_UNSUPPORTED");
  }
  await world.run(write(node, new Uint8Array(512).fill(4), 128 * MiB - 512));
  await world.close(node);
  assert.equal(await check(world), { texts: [], corruptions: 0, fixed: 0 });
});

test("differencing images are refused as QEMU refuses them", async () => {
  for (const [offset, what] of [
    [424, "link"],
    [440, "parent"],
  ] as const) {
    const world = await image();
    put32(world, offset, 1);
    try {
      await world.open("vdi", "image", {});
      assert.unreachable();
    } catch (error) {
      assert.is((error as BlockError).message, `unsupported VDI image (non-NULL ${what} UUID)`);
    }
  }
});

test.run();
