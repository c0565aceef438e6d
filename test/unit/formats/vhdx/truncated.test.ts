/** A VHDX that was cut off (a download that ended early), or whose table names impossible places: refused with the reason, and checked. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../../src/base/error.js";
import { flush, read, write } from "../../../../src/block/io.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vhdx } from "../../../../src/formats/vhdx/vhdx.js";
import { checkImage } from "../../../../src/image/check.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { makeWorld, type World } from "../../../support/world.js";

const MiB = 1048576;
const DATA = 8 * MiB;

/** Two blocks of 8 MiB, of which the last one is half behind the end of the disk. */
async function makeImage(): Promise<World> {
  const world = makeWorld({ mode: "sync", drivers: [raw, vhdx] });
  await world.create("vhdx", "image", 12 * MiB, { block_size: 8 * MiB });
  const node = await world.open("vhdx", "image");
  await world.run(write(node, new Uint8Array(4096).fill(1), 0));
  await world.run(write(node, new Uint8Array(4096).fill(2), 9 * MiB));
  await world.run(flush(node));
  await world.close(node);
  return world;
}

const cut = (world: World, length: number): void =>
  void world.files.set("image", memoryStorage(world.bytes("image").slice(0, length), { name: "image" }));

async function refused(world: World): Promise<BlockError> {
  try {
    await world.open("vhdx", "image", {});
  } catch (error) {
    assert.instance(error, BlockError, String(error));
    return error as BlockError;
  }
  return assert.unreachable("it opens") as never;
}

async function check(world: World): Promise<{ corruptions: number | undefined; texts: string[] }> {
  const node = await world.open("vhdx", "image", { check: true });
  const texts: string[] = [];
  const { corruptions } = await world.run(checkImage(node, { fix: "none", onProblem: ({ text }) => void texts.push(text) }));
  await world.close(node);
  return { corruptions, texts };
}

for (const [length, message, found] of [
  [DATA, /BAT entry 0 start offset 8388608 points after end of file \(8388608\)/, 2],
  [DATA + 4 * MiB, /BAT entry 0 end offset 16777215 points after end of file \(12582912\)/, 2],
  [2 * DATA, /BAT entry 1 start offset 16777216 points after end of file \(16777216\)/, 1],
  [2 * DATA + 4 * MiB - 512, /BAT entry 1 end offset 20971519 points/, 1],
] as const) {
  test(`cut to ${length} bytes it is refused; a check counts what is missing`, async () => {
    const world = await makeImage();
    cut(world, length);
    const error = await refused(world);
    assert.match(error.message, message);
    assert.match(error.message, /truncated/);
    const { corruptions, texts } = await check(world);
    assert.is(corruptions, found);
    assert.match(texts[0]!, message);
  });
}

test("cut off before its metadata it says that, too", async () => {
  for (const length of [300_000, 3 * MiB]) {
    const world = await makeImage();
    cut(world, length);
    const { message } = await refused(world);
    assert.is(
      message,
      `The VHDX metadata at offset ${3 * MiB} points after end of file (${length}). Image has probably been truncated.`,
    );
  }
});

for (const [name, high, low, message] of [
  ["beyond all numbers", 0xffffffff, 0xfff00006, "VHDX BAT entry 0 offset overflow."],
  ["in the header", 0, 6, "VHDX BAT entry 0 offset 0: a block of 8388608 bytes there lies over bytes 0 to 1048575"],
  [
    "in the log",
    0,
    0x00100006,
    "VHDX BAT entry 0 offset 1048576: a block of 8388608 bytes there lies over bytes 1048576 to 2097151",
  ],
] as const) {
  test(`a block ${name} is refused; a check counts it`, async () => {
    const world = await makeImage();
    const entry = new Uint8Array(8);
    new DataView(entry.buffer).setUint32(0, low, true);
    new DataView(entry.buffer).setUint32(4, high, true);
    world.files.get("image")!.sync.write(entry, 2 * MiB);
    assert.is((await refused(world)).message.slice(0, message.length), message);
    const { corruptions, texts } = await check(world);
    assert.is(corruptions, 1);
    assert.is(texts[0]!.slice(0, message.length), message);
  });
}

test("the part of the last block behind the end of the disk may be missing", async () => {
  const world = await makeImage();
  cut(world, 2 * DATA + 4 * MiB);
  const node = await world.open("vhdx", "image", {});
  const bytes = new Uint8Array(1);
  await world.run(read(node, bytes, 9 * MiB));
  assert.is(bytes[0], 2);
  await world.close(node);
});

test.run();
