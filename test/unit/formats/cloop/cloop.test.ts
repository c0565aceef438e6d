/** Compressed loop images, made for the test: what is read, and what is refused. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { writeU64BE } from "../../../../src/base/bytes.js";
import { BlockError } from "../../../../src/base/error.js";
import { read } from "../../../../src/block/io.js";
import { cloop } from "../../../../src/formats/cloop/cloop.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { cloopOf } from "../../../support/foreign-images.js";
import { random } from "../../../support/random.js";
import { makeWorld, MODES, type Mode, type World } from "../../../support/world.js";

const BLOCK = 4096;
const COUNT = 200;
const content: Uint8Array = random(4).bytes(BLOCK * COUNT);
content.fill(0, 5000, 90_000);

const image = (change?: (view: DataView) => void): Uint8Array => cloopOf(content, BLOCK, change);

function world(bytes: Uint8Array, mode: Mode = "sync"): World {
  const made = makeWorld({ mode, drivers: [raw, cloop], seed: 6 });
  made.files.set("image", memoryStorage(bytes));
  return made;
}

for (const mode of MODES) {
  test(`blocks are inflated (${mode})`, async () => {
    const place = world(image(), mode);
    const node = await place.open(null, "image", {});
    assert.is(node.driver.name, "cloop");
    const bytes = new Uint8Array(content.length);
    await place.run(read(node, bytes, 0));
    assert.equal(bytes, content);
    const parts = [1, 4095, 4097, 100_000].map((offset) => ({ offset, part: new Uint8Array(9000) }));
    await place.runAll(parts.map(({ offset, part }) => read(node, part, offset)));
    for (const { offset, part } of parts) assert.equal(part, content.subarray(offset, offset + 9000));
    await place.close(node);
  });
}

const refused: [string, (view: DataView) => void, RegExp][] = [
  ["block size 0", (view) => view.setUint32(128, 0), /^block_size cannot be zero$/],
  ["block size 513", (view) => view.setUint32(128, 513), /^block_size 513 must be a multiple of 512$/],
  ["block size 128 MiB", (view) => view.setUint32(128, 1 << 27), /^block_size 134217728 must be 64 MB or less$/],
  ["2^30 blocks", (view) => view.setUint32(132, 1 << 30), /^n_blocks 1073741824 must be 536870911 or less$/],
  ["2^29-1 blocks", (view) => view.setUint32(132, 0x1fffffff), /too many offsets/],
  ["more blocks than the file has room for", (view) => view.setUint32(132, 1 << 20), /behind the end/],
  ["descending offsets", (view) => writeU64BE(view, 136 + 8, 1), /not monotonically increasing at index 1/],
  ["an offset beyond 2^53", (view) => view.setUint32(136 + 16, 0xffffffff), /invalid compressed block size at index 2/],
];
for (const [what, change, message] of refused) {
  test(`refused: ${what}`, async () => {
    try {
      await world(image(change)).open("cloop", "image", {});
      assert.unreachable();
    } catch (error) {
      assert.instance(error, BlockError);
      assert.match((error as BlockError).message, message);
    }
  });
}

test("a damaged block is an error, its neighbours are not", async () => {
  const bytes = image();
  const at = Number(new DataView(bytes.buffer).getBigUint64(136 + 3 * 8));
  bytes.fill(0xff, at, at + 20);
  const place = world(bytes);
  const node = await place.open("cloop", "image", {});
  const part = new Uint8Array(BLOCK);
  await place.run(read(node, part, 2 * BLOCK));
  assert.equal(part, content.subarray(2 * BLOCK, 3 * BLOCK));
  try {
    await place.run(read(node, part, 3 * BLOCK));
    assert.unreachable();
  } catch (error) {
    assert.is((error as BlockError).code, "ERR_CORRUPT");
    assert.match((error as BlockError).message, "Could not read block 3 of the image");
  }
  await place.close(node);
});

test.run();
