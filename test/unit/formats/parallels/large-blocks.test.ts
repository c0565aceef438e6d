/** Blocks may have 2 GiB: what is copied around a small write goes through a buffer of bounded size. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { flush, read, write } from "../../../../src/block/io.js";
import { parallels } from "../../../../src/formats/parallels/parallels.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { makeWorld } from "../../../support/world.js";

const MiB = 1 << 20;

test("a small write to a large block in used space copies its surroundings in pieces", async () => {
  const on = makeWorld({ mode: "sync", drivers: [raw, parallels] });
  await on.create("parallels", "image", 64 * MiB, { cluster_size: 16 * MiB });
  // Space behind the image that holds something already is not taken as zeros.
  const old = on.bytes("image");
  const storage = memoryStorage(old.length + 16 * MiB, { name: "image" });
  storage.sync.write(new Uint8Array(old.length + 16 * MiB).fill(0xee), 0);
  storage.sync.write(old, 0);
  on.files.set("image", storage);
  const node = await on.open("parallels", "image", { write: true });
  let largest = 0;
  const plain = storage.sync.write.bind(storage.sync);
  storage.sync.write = (from, offset) => {
    largest = Math.max(largest, from.length);
    return plain(from, offset);
  };
  await on.run(write(node, new Uint8Array(512).fill(7), 5 * MiB));
  await on.run(flush(node));
  assert.ok(largest <= 2 * MiB, `one write of ${largest} bytes`);
  const back = new Uint8Array(16 * MiB);
  await on.run(read(node, back, 0));
  const expected = new Uint8Array(16 * MiB).fill(7, 5 * MiB, 5 * MiB + 512);
  assert.is(Buffer.compare(back, expected), 0);
  await on.close(node);
});

test.run();
