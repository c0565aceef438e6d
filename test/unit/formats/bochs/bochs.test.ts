/** Bochs growing images, built by hand: what is read, and what is refused. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { writeU64LE } from "../../../../src/base/bytes.js";
import type { BlockError } from "../../../../src/base/error.js";
import { read } from "../../../../src/block/io.js";
import { bochs } from "../../../../src/formats/bochs/bochs.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { makeWorld, type World } from "../../../support/world.js";

interface Fields {
  version: number;
  catalog: number;
  bitmap: number;
  extent: number;
  disk: number;
}
const usual: Fields = { version: 0x20000, catalog: 4, bitmap: 1, extent: 4096, disk: 4 * 4096 };

/** Extent 1 holds sectors 0 and 3, extent 2 nothing of its own, extents 0 and 3 are not there. */
function image(change: Partial<Fields> = {}): Uint8Array {
  const fields = { ...usual, ...change };
  const bytes = new Uint8Array(512 + 16 + 2 * (512 + 4096));
  const view = new DataView(bytes.buffer);
  const text = (at: number, value: string): void => bytes.set(new TextEncoder().encode(value), at);
  text(0, "Bochs Virtual HD Image");
  text(32, "Redolog");
  text(48, "Growing");
  view.setUint32(64, fields.version, true);
  view.setUint32(68, 512, true);
  view.setUint32(72, fields.catalog, true);
  view.setUint32(76, fields.bitmap, true);
  view.setUint32(80, fields.extent, true);
  writeU64LE(view, fields.version === 0x10000 ? 84 : 88, fields.disk);
  [0xffffffff, 1, 0, 0xffffffff].forEach((entry, i) => view.setUint32(512 + i * 4, entry, true));
  const second = 528 + 512 + 4096;
  bytes[second] = 0b1001;
  bytes.fill(0x31, second + 512, second + 1024);
  bytes.fill(0xee, second + 1024, second + 2048);
  bytes.fill(0x34, second + 2048, second + 2560);
  return bytes;
}

function world(bytes: Uint8Array): World {
  const made = makeWorld({ mode: "async", drivers: [raw, bochs], seed: 2 });
  made.files.set("image", memoryStorage(bytes));
  return made;
}

for (const version of [0x10000, 0x20000]) {
  test(`sectors are where catalog and bitmap say (version ${version >> 16})`, async () => {
    const place = world(image({ version }));
    const node = await place.open(null, "image", {});
    assert.is(node.driver.name, "bochs");
    assert.is(node.size, 16384);
    const expected = new Uint8Array(16384);
    expected.fill(0x31, 4096, 4608);
    expected.fill(0x34, 4096 + 1536, 4096 + 2048);
    const bytes = new Uint8Array(16384);
    await place.run(read(node, bytes, 0));
    assert.equal(bytes, expected);
    const part = new Uint8Array(1700);
    await place.run(read(node, part, 4000));
    assert.equal(part, expected.subarray(4000, 5700));
    await place.close(node);
  });
}

const refused: [Partial<Fields>, string][] = [
  [{ version: 0x30000 }, "Image not in Bochs format"],
  [{ catalog: 0x100001 }, "Catalog size is too large"],
  [{ catalog: 3 }, "Catalog size is too small for this disk size"],
  [{ extent: 0 }, "Extent size must be at least 512"],
  [{ extent: 4097 }, "Extent size 4097 is not a power of two"],
  [{ extent: 0x1000000 }, "Extent size 16777216 is too large"],
  [{ disk: 2 ** 52 }, "Catalog size is too small for this disk size"],
];
for (const [change, message] of refused) {
  test(`refused: ${JSON.stringify(change)}`, async () => {
    try {
      await world(image(change)).open("bochs", "image", {});
      assert.unreachable();
    } catch (error) {
      assert.is((error as BlockError).message, message);
    }
  });
}

test("an image is read-only", async () => {
  try {
    await world(image()).open("bochs", "image", { write: true });
    assert.unreachable();
  } catch (error) {
    assert.is((error as BlockError).code, "ERR_READ_ONLY");
    assert.is((error as BlockError).message, "Image is read-only");
  }
});

test.run();
