/** cow images: the layout on disk, random requests against a flat model over a backing file, damaged headers. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../../src/base/error.js";
import { flush, read, write } from "../../../../src/block/io.js";
import { cow } from "../../../../src/formats/cow/cow.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { chooseSeed, random } from "../../../support/random.js";
import { makeWorld, MODES } from "../../../support/world.js";

test("an image as QEMU 2.1 laid it out on x86-64", async () => {
  // 40 sectors: 5 bytes of bitmap at 1056, data from 1536 on.
  const bytes = new Uint8Array(1536 + 40 * 512);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x4f4f4f4d);
  view.setUint32(4, 2);
  bytes.set(new TextEncoder().encode("base.raw"), 8);
  view.setUint32(1044, 40 * 512);
  view.setUint32(1048, 512);
  bytes[1056] = 0b1000_0010; // sectors 1 and 7
  bytes[1060] = 0b1000_0000; // sector 39
  for (const sector of [1, 7, 39]) bytes.fill(sector, 1536 + sector * 512, 1536 + (sector + 1) * 512);
  const world = makeWorld({ mode: "sync", drivers: [raw, cow] });
  world.files.set("image", memoryStorage(bytes, { name: "image" }));
  world.files.set("base.raw", memoryStorage(new Uint8Array(20 * 512).fill(200), { name: "base.raw" }));
  const node = await world.open(null, "image", {});
  assert.is(node.driver.name, "cow");
  assert.is(node.size, 40 * 512);
  const found = new Uint8Array(40 * 512);
  await world.run(read(node, found, 0));
  for (let sector = 0; sector < 40; sector++) {
    const expected = [1, 7, 39].includes(sector) ? sector : sector < 20 ? 200 : 0;
    assert.ok(
      found.subarray(sector * 512, (sector + 1) * 512).every((byte) => byte === expected),
      `sector ${sector}`,
    );
  }
  await world.close(node);
});

test("bits and bytes of a write", async () => {
  const world = makeWorld({ mode: "sync", drivers: [raw, cow] });
  await world.create("cow", "image", 40 * 512);
  assert.is(world.bytes("image").length, 1056 + 5);
  const node = await world.open("cow", "image");
  await world.run(write(node, new Uint8Array(600).fill(7), 512 * 9 + 500));
  await world.close(node);
  const bytes = world.bytes("image");
  assert.equal([...bytes.subarray(1056, 1061)], [0, 0b0000_1110, 0, 0, 0]);
  assert.is(bytes[1536 + 9 * 512 + 499], 0);
  assert.is(bytes[1536 + 9 * 512 + 500], 7);
});

for (const mode of MODES) {
  test(`random requests over a backing file (${mode})`, async () => {
    const seed = chooseSeed();
    console.log(`seed ${seed}`);
    const chance = random(seed);
    const world = makeWorld({ mode, drivers: [raw, cow], seed });
    const size = 512 * (300 + chance.int(3000));
    const base = chance.bytes(512 * (1 + chance.int(1000)));
    world.files.set("base", memoryStorage(base, { name: "base" }));
    await world.create("cow", "image", size, { backing_file: "base" });
    const model = new Uint8Array(size);
    model.set(base.subarray(0, Math.min(size, base.length)));
    let node = await world.open("cow", "image");
    for (let step = 0; step < 150; step++) {
      const changes: { offset: number; bytes: Uint8Array }[] = [];
      for (let i = 1 + chance.int(4); i > 0; i--) {
        const offset = chance.int(size);
        const length = Math.min(size - offset, 1 + chance.int(chance.pick([100, 2000, 60_000])));
        if (changes.some((other) => other.offset < offset + length && offset < other.offset + other.bytes.length)) continue;
        changes.push({ offset, bytes: new Uint8Array(length).fill(1 + chance.int(255)) });
      }
      for (const outcome of await world.runAll(changes.map(({ offset, bytes }) => write(node, bytes, offset))))
        assert.ok(outcome.ok);
      for (const { offset, bytes } of changes) model.set(bytes, offset);
      if (chance.chance(0.1)) await world.run(flush(node));
      if (chance.chance(0.05)) {
        await world.close(node);
        node = await world.open("cow", "image");
      }
    }
    const found = new Uint8Array(size);
    await world.run(read(node, found, 0));
    assert.equal(found, model);
    await world.close(node);
  });
}

test("damaged headers: an error or an image, never anything else", async () => {
  const seed = chooseSeed();
  console.log(`seed ${seed}`);
  const chance = random(seed);
  const made = makeWorld({ mode: "sync", drivers: [raw, cow] });
  await made.create("cow", "image", 512 * 1000);
  const sound = made.bytes("image");
  for (let round = 0; round < 300; round++) {
    const bytes = sound.slice(0, chance.chance(0.2) ? chance.int(sound.length) : sound.length);
    for (let hits = chance.int(4); hits > 0; hits--)
      bytes[Math.min(bytes.length - 1, chance.pick([chance.int(8), 1036 + chance.int(20), chance.int(sound.length)]))] =
        chance.int(256);
    const world = makeWorld({ mode: "sync", drivers: [raw, cow] });
    world.files.set("image", memoryStorage(bytes, { name: "image" }));
    try {
      const node = await world.open("cow", "image", { noBacking: true });
      const part = new Uint8Array(Math.min(node.size, 100_000));
      await world.run(read(node, part, 0));
      await world.close(node);
    } catch (error) {
      assert.instance(error, BlockError);
    }
  }
});

test.run();
