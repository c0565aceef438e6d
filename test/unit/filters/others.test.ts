/** blkverify, compress, preallocate and blklogwrites. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { allFilters } from "../../../src/platform/all-filters.js";
import type { BlockdevOptions } from "../../../src/block/context.js";
import { discard, flush, read, truncate, write, writeGrow, writeZeroes } from "../../../src/block/io.js";
import type { Node } from "../../../src/block/node.js";
import { openNode } from "../../../src/block/open.js";
import { blockStatus } from "../../../src/block/status.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../src/storage/memory.js";
import { random } from "../../support/random.js";
import { makeWorld, type World } from "../../support/world.js";

const MB = 1024 * 1024;
const newWorld = (): World => makeWorld({ mode: "sync", drivers: [raw, qcow2, ...allFilters] });
const disk = (on: World, name: string, size: number): void => void on.files.set(name, memoryStorage(size, { name }));
const file = (filename: string): BlockdevOptions => ({ driver: "file", filename });
const open = (on: World, driver: string, options: BlockdevOptions): Promise<Node> =>
  on.run(openNode(on.environment, { driver, options, flags: { write: true, unmap: true } }));
const messageOf = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "no error",
    (error: unknown) => (error as Error).message,
  );

test("blkverify: both images get everything, a difference is found where it is", async () => {
  const on = newWorld();
  disk(on, "raw", 4 * MB);
  await on.create("qcow2", "test", 4 * MB);
  const node = await on.open(null, "blkverify:raw:test");
  // Probed from the outside it looks like a raw disk.
  assert.is(node.driver.name, "raw");
  assert.is(node.file.child("test")!.driver.name, "qcow2");
  const seed = Math.floor(Math.random() * 2 ** 31);
  const chance = random(seed);
  for (let i = 0; i < 40; i++) {
    const at = chance.int(4 * MB - 70_000);
    if (chance.chance(0.3)) await on.run(writeZeroes(node, at, 1 + chance.int(70_000), { mayUnmap: true }));
    else await on.run(write(node, chance.bytes(1 + chance.int(70_000)), at));
    const from = chance.int(3 * MB);
    await on.run(read(node, new Uint8Array(MB - 1), from));
  }
  on.files.get("raw")!.sync.write(new Uint8Array([on.bytes("raw")[1234]! ^ 1]), 1234);
  assert.match(
    await messageOf(on.run(read(node, new Uint8Array(4096), 0))),
    /^blkverify: read .* contents mismatch at offset 1234$/,
    `seed ${seed}`,
  );
  await on.close(node);
});

test("compress: what is written is stored compressed, whatever its size", async () => {
  const on = newWorld();
  await on.create("qcow2", "image", 4 * MB);
  const node = await open(on, "compress", { file: { driver: "qcow2", file: file("image") } });
  const data = new Uint8Array(300_000).fill(7);
  await on.run(write(node, data, 12_345));
  await on.run(write(node, new Uint8Array(10).fill(8), 100_000));
  data.fill(8, 100_000 - 12_345, 100_010 - 12_345);
  const back = new Uint8Array(300_000);
  await on.run(read(node, back, 12_345));
  assert.equal(back, data);
  const status = await on.run(blockStatus(node, 65536, 65536));
  assert.ok(status.compressed);
  await on.close(node);
  assert.ok(on.bytes("image").length < 600_000);
  disk(on, "plain", MB);
  assert.is(
    await messageOf(open(on, "compress", { file: { driver: "raw", file: file("plain") } })),
    "Compression is not supported for underlying format: raw",
  );
});

test("preallocate: the file grows ahead and is cut in the end", async () => {
  const on = newWorld();
  await on.create("qcow2", "image", 64 * MB);
  const node = await open(on, "qcow2", {
    file: { driver: "preallocate", "prealloc-size": 2 * MB, "prealloc-align": MB, file: file("image") },
  });
  const before = on.bytes("image").length;
  const data = new Uint8Array(MB).map((_, index) => index);
  await on.run(write(node, data, 0));
  const grown = on.bytes("image").length;
  assert.ok(grown >= before + 2 * MB && grown % MB === 0, `${grown}`);
  assert.ok(node.file.size < grown, "readers see what was written");
  await on.run(write(node, data, MB));
  await on.close(node);
  const end = on.bytes("image").length;
  assert.ok(end < 3 * MB && end >= 2 * MB, `${end}`);
  const again = await on.open("qcow2", "image");
  const back = new Uint8Array(2 * MB);
  await on.run(read(again, back, 0));
  assert.equal(back.subarray(0, MB), data);
  assert.equal(back.subarray(MB), data);
  await on.close(again);
});

test("preallocate: a truncate inside of what is preallocated leaves as much on the medium as was asked for", async () => {
  const on = newWorld();
  for (const [preallocation, length] of [
    ["off", 4096],
    ["falloc", MB],
  ] as const) {
    disk(on, "disk", 0);
    const node = await open(on, "preallocate", { "prealloc-size": MB / 2, "prealloc-align": MB, file: file("disk") });
    await on.run(writeGrow(node, new Uint8Array(512), 0));
    assert.is(on.bytes("disk").length, MB);
    await on.run(truncate(node, 4096, { preallocation }));
    assert.is(on.bytes("disk").length, length, preallocation);
    assert.is(node.size, 4096);
    await on.close(node);
    assert.is(on.bytes("disk").length, 4096);
  }
});

test("preallocate: the file is as long as it was made", async () => {
  const on = newWorld();
  disk(on, "disk", 0);
  const node = await open(on, "raw", {
    file: { driver: "preallocate", "prealloc-size": MB, "prealloc-align": MB, file: file("disk") },
  });
  await on.run(truncate(node, 1000, { preallocation: "off" }));
  assert.is(on.bytes("disk").length, 1000);
  await on.run(write(node, new Uint8Array(500).fill(1), 500));
  await on.close(node);
  assert.is(on.bytes("disk").length, 1000);
  assert.match(await messageOf(open(on, "preallocate", { "prealloc-align": 1000, file: file("disk") })), /not aligned to 512/);
});

/** Replays a log as the kernel's replay-log would. */
function replay(log: Uint8Array, into: Uint8Array): { flushes: number; discards: number; entries: number } {
  const view = new DataView(log.buffer, log.byteOffset);
  const number = (at: number): number => Number(view.getBigUint64(at, true));
  assert.is(view.getBigUint64(0, true), 0x6a736677736872n);
  assert.is(number(8), 1);
  const entries = number(16);
  const size = view.getUint32(24, true);
  let at = size;
  const seen = { flushes: 0, discards: 0, entries };
  for (let i = 0; i < entries; i++) {
    const [sector, count, flags] = [number(at), number(at + 8), number(at + 16)];
    at += size;
    if ((flags & 1) !== 0) seen.flushes++;
    if ((flags & 4) !== 0) {
      seen.discards++;
      into.fill(0, sector * size, (sector + count) * size);
      continue;
    }
    into.set(log.subarray(at, at + count * size), sector * size);
    at += count * size;
  }
  return seen;
}

test("blklogwrites: replaying the log gives the disk", async () => {
  for (const sectorSize of [512, 4096]) {
    const on = newWorld();
    disk(on, "disk", MB);
    disk(on, "log", 0);
    const options = { "log-sector-size": sectorSize, file: { driver: "raw", file: file("disk") }, log: file("log") };
    let node = await open(on, "blklogwrites", options);
    await on.run(write(node, new Uint8Array(10_000).fill(1), 5000));
    await on.run(flush(node));
    await on.run(writeZeroes(node, 8192, 4096));
    await on.run(discard(node, 65536, 8192));
    await on.run(write(node, new Uint8Array(4096).fill(2), 131072));
    await on.close(node);
    const copy = new Uint8Array(MB);
    const seen = replay(on.bytes("log"), copy);
    assert.equal(copy, on.bytes("disk"));
    assert.is(seen.discards, 1);
    assert.ok(seen.flushes >= 1);
    const { "log-sector-size": _, ...rest } = options;
    node = await open(on, "blklogwrites", { ...rest, "log-append": true });
    await on.run(write(node, new Uint8Array(4096).fill(3), 0));
    await on.close(node);
    const more = new Uint8Array(MB);
    assert.is(replay(on.bytes("log"), more).entries, seen.entries + 1);
    assert.equal(more, on.bytes("disk"));
  }
  const on = newWorld();
  disk(on, "disk", MB);
  disk(on, "log", MB);
  assert.is(
    await messageOf(open(on, "blklogwrites", { "log-append": true, file: file("disk"), log: file("log") })),
    "Invalid magic or not a log",
  );
});

test.run();
