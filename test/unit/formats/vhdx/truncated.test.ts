/** A VHDX that was cut off (a download that ended early) is not taken for one with zeros at its end. */
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

for (const [length, message, found] of [
  [DATA, /BAT entry 0 start offset 8388608 points after end of file \(8388608\)/, 2],
  [DATA + 4 * MiB, /BAT entry 0 end offset 16777215 points after end of file \(12582912\)/, 2],
  [2 * DATA, /BAT entry 1 start offset 16777216 points after end of file \(16777216\)/, 1],
  [2 * DATA + 4 * MiB - 512, /BAT entry 1 end offset 20971519 points/, 1],
] as const) {
  test(`cut to ${length} bytes it is refused; a check counts what is missing`, async () => {
    const world = await makeImage();
    cut(world, length);
    try {
      await world.open("vhdx", "image", {});
      assert.unreachable("it opens");
    } catch (error) {
      assert.instance(error, BlockError);
      assert.match((error as BlockError).message, message);
      assert.match((error as BlockError).message, /truncated/);
    }
    const node = await world.open("vhdx", "image", { check: true });
    const texts: string[] = [];
    const result = await world.run(checkImage(node, { fix: "none", onProblem: ({ text }) => void texts.push(text) }));
    await world.close(node);
    assert.is(result.corruptions, found);
    assert.match(texts[0]!, message);
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
