/** Parallels images: the in-use mark, space taken ahead, repair, runtime options. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { errnoError } from "../../../../src/base/error.js";
import { flush, read, truncate, write, writeZeroes } from "../../../../src/block/io.js";
import { md5 } from "../../../../src/formats/parallels/md5.js";
import { parallels } from "../../../../src/formats/parallels/parallels.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { checkImage } from "../../../../src/image/check.js";
import type { ImageCheck } from "../../../../src/block/types.js";
import { encodeText, equalBytes, toHex } from "../../../../src/base/bytes.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { makeWorld, type World } from "../../../support/world.js";
import { refused } from "../../../support/refused.js";

const MiB = 1 << 20;
const INUSE = 44;

async function image(options: Record<string, unknown> = {}): Promise<World> {
  const world = makeWorld({ mode: "sync", drivers: [raw, parallels] });
  await world.create("parallels", "image", 8 * MiB, options);
  return world;
}
const get32 = (world: World, offset: number): number => new DataView(world.bytes("image").buffer).getUint32(offset, true);
function put32(world: World, offset: number, value: number): void {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  world.files.get("image")!.sync.write(bytes, offset);
}
async function check(world: World, fix: "none" | "all" = "none"): Promise<{ result: ImageCheck; texts: string[] }> {
  const node = await world.open("parallels", "image", { check: true, write: fix !== "none" });
  const texts: string[] = [];
  const result = await world.run(checkImage(node, { fix, onProblem: ({ text }) => void texts.push(text) }));
  await world.close(node);
  return { result, texts };
}

test("a mark that could not be made sure is taken away at closing, too", async () => {
  const world = await image();
  const node = await world.open("parallels", "image");
  const impl = node.child("file")!.impl as unknown as { storage: { sync: { flush(): void } } };
  const { sync } = impl.storage;
  const works = sync.flush.bind(sync);
  sync.flush = () => {
    sync.flush = works;
    throw errnoError("EIO");
  };
  assert.is((await refused(world.run(write(node, new Uint8Array(10).fill(1), 0)))).errno, "EIO");
  await world.close(node);
  assert.is(get32(world, INUSE), 0);
  await world.close(await world.open("parallels", "image"));
});

test("the image is marked from the first write until it is closed", async () => {
  const world = await image();
  const node = await world.open("parallels", "image");
  assert.is(get32(world, INUSE), 0);
  await world.run(write(node, new Uint8Array(10).fill(1), 0));
  assert.is(get32(world, INUSE), 0x746f6e59);
  await world.run(flush(node));
  // A crash now: reading is fine, writing is not, a check repairs it.
  const crashed = makeWorld({ mode: "sync", drivers: [raw, parallels] });
  crashed.files.set("image", world.files.get("image")!.snapshot());
  await world.close(node);
  assert.is(get32(world, INUSE), 0);
  const reading = await crashed.open("parallels", "image", {});
  const bytes = new Uint8Array(10);
  await crashed.run(read(reading, bytes, 0));
  assert.equal(bytes, new Uint8Array(10).fill(1));
  await crashed.close(reading);
  const error = await refused(crashed.open("parallels", "image"));
  assert.is(error.message, "parallels: Image was not closed correctly; cannot be opened read/write");
  assert.is(error.errno, "EACCES");
  assert.equal((await check(crashed)).texts[0], "ERROR image was not closed correctly");
  const { texts } = await check(crashed, "all");
  assert.equal(texts[0], "Repairing image was not closed correctly");
  assert.is((await check(crashed)).result.corruptions, undefined);
  await crashed.close(await crashed.open("parallels", "image"));
});

test("space is taken ahead while the image is open, and given back", async () => {
  const world = await image();
  const node = await world.open("parallels", "image", { write: true }, { "prealloc-size": 4 * MiB, "prealloc-mode": "truncate" });
  await world.run(write(node, new Uint8Array(10).fill(1), 0));
  assert.is(world.bytes("image").length, 6 * MiB);
  await world.close(node);
  assert.is(world.bytes("image").length, 2 * MiB);
  assert.match((await refused(world.open("parallels", "image", {}, { "prealloc-mode": "lots" }))).message, "prealloc-mode");
});

test("clusters outside and space behind the end are found and repaired", async () => {
  const world = await image();
  const node = await world.open("parallels", "image");
  await world.run(write(node, new Uint8Array(3 * MiB).fill(1), 0));
  await world.close(node);
  put32(world, 64 + 4, 500);
  world.files.get("image")!.sync.truncate(7 * MiB);
  const found = await check(world);
  assert.equal(found.texts[0], "ERROR cluster 1 is outside image");
  assert.is(found.result.corruptions, 1);
  const repaired = await check(world, "all");
  assert.equal(repaired.texts, [
    "Repairing cluster 1 is outside image",
    `Repairing space leaked at the end of the image ${3 * MiB}`,
  ]);
  const clean = await check(world);
  assert.equal(clean.texts, []);
  assert.is(clean.result["allocated-clusters"], 2);
  assert.is(clean.result["image-end-offset"], 4 * MiB);
});

test("an image grows as far as its table has room", async () => {
  const world = await image({ cluster_size: 4096 });
  const node = await world.open("parallels", "image");
  // 2048 entries fill two clusters and 64 bytes of a third: there is room for 1008 more.
  await world.run(truncate(node, 3056 * 4096, { preallocation: "off" }));
  assert.is((await refused(world.run(truncate(node, 3057 * 4096, { preallocation: "off" })))).code, "ERR_UNSUPPORTED");
  await world.run(write(node, new Uint8Array(4096).fill(8), 3055 * 4096));
  await world.close(node);
  const again = await world.open("parallels", "image", {});
  assert.is(again.size, 3056 * 4096);
  const bytes = new Uint8Array(4096);
  await world.run(read(again, bytes, 3055 * 4096));
  assert.equal(bytes, new Uint8Array(4096).fill(8));
  await world.close(again);
});

test("a table of 2^28 entries costs no memory", async () => {
  const world = await image();
  put32(world, 32, 1 << 28);
  const before = process.memoryUsage().rss;
  const node = await world.open("parallels", "image", {});
  const bytes = new Uint8Array(8 * MiB);
  await world.run(read(node, bytes, 0));
  await world.close(node);
  await check(world);
  assert.ok(process.memoryUsage().rss - before < 64 * MiB);
});

test("a backing file given at run time shows through, and is copied where a cluster is made", async () => {
  const world = await image();
  world.files.set("base", memoryStorage(new Uint8Array(5 * MiB).fill(0x77), { name: "base" }));
  const backing = { driver: "raw", file: { driver: "file", filename: "base" } };
  let node = await world.open("parallels", "image", { write: true, unmap: true }, { backing });
  await world.run(write(node, new Uint8Array(100).fill(1), MiB + 50));
  await world.run(writeZeroes(node, 3 * MiB, 1000));
  await world.run(write(node, new Uint8Array(100).fill(2), 5 * MiB - 50));
  const expected = new Uint8Array(8 * MiB).fill(0x77, 0, 5 * MiB);
  expected.fill(1, MiB + 50, MiB + 150);
  expected.fill(0, 3 * MiB, 3 * MiB + 1000);
  expected.fill(2, 5 * MiB - 50, 5 * MiB + 50);
  for (let round = 0; round < 2; round++) {
    const bytes = new Uint8Array(8 * MiB);
    await world.run(read(node, bytes, 0));
    assert.ok(equalBytes(bytes, expected), `round ${round}`);
    await world.close(node);
    node = await world.open("parallels", "image", {}, { backing });
  }
  await world.close(node);
});

test("md5 is MD5", () => {
  assert.is(toHex(md5(encodeText(""))), "d41d8cd98f00b204e9800998ecf8427e");
  assert.is(
    toHex(md5(encodeText("12345678901234567890123456789012345678901234567890123456789012345678901234567890"))),
    "57edf4a22be3c955ac49da2e2107b67a",
  );
  assert.is(toHex(md5(new Uint8Array(120).fill(97))), "5f61c0ccad4cac44c75ff505e1f1e537");
});

test("an extension that cannot be read: readers refuse the image until a repair has taken it away", async () => {
  const world = await image();
  put32(world, 56, 9);
  assert.match((await refused(world.open("parallels", "image", {}))).message, /Wrong parallels Format Extension magic/);
  const { result, texts } = await check(world, "all");
  assert.equal(texts, ["Repairing format extension cannot be read"]);
  assert.is(result["corruptions-fixed"], 1);
  assert.is(get32(world, 56), 0);
  assert.is((await check(world)).result.corruptions ?? 0, 0);
});

test.run();
