/** QED: the check bit, growing, repair, features, backing file names, and what a crash leaves behind. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../../src/base/error.js";
import { flush, read, truncate, write, writeZeroes } from "../../../../src/block/io.js";
import type { Node } from "../../../../src/block/node.js";
import { StorageRequest } from "../../../../src/block/op.js";
import { qed } from "../../../../src/formats/qed/qed.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { chooseSeed, random } from "../../../support/random.js";
import { makeWorld, type World } from "../../../support/world.js";

const KiB = 1024;
const newWorld = (): World => makeWorld({ mode: "sync", drivers: [raw, qed] });
const features = (world: World, name = "image"): number => world.bytes(name)[16]!;

async function refused(work: Promise<unknown>, message: RegExp): Promise<void> {
  let failure: unknown;
  try {
    await work;
  } catch (error) {
    failure = error;
  }
  assert.instance(failure, BlockError, "nothing was refused");
  assert.match((failure as BlockError).message, message);
}
function put(world: World, name: string, patch: (view: DataView, bytes: Uint8Array) => void): void {
  const bytes = world.bytes(name).slice();
  patch(new DataView(bytes.buffer), bytes);
  world.files.set(name, memoryStorage(bytes, { name }));
}
async function check(world: World, fix: "none" | "all"): Promise<Record<string, unknown>> {
  const node = await world.open("qed", "image", { write: fix === "all", check: true });
  const { impl } = node;
  const found = await world.run(impl.shape === "mapped" ? impl.check!({ fix, report: () => {} }) : fail());
  await world.close(node);
  return found as unknown as Record<string, unknown>;
}
function fail(): never {
  throw new Error("no format");
}
async function bytesOf(world: World, node: Node, offset: number, length: number): Promise<Uint8Array> {
  const found = new Uint8Array(length);
  await world.run(read(node, found, offset));
  return found;
}

test("the check bit is set before the first allocation and cleared at the end", async () => {
  const world = newWorld();
  await world.create("qed", "image", 1024 * KiB);
  const node = await world.open("qed", "image");
  await world.run(read(node, new Uint8Array(512), 0));
  assert.is(features(world), 0);
  await world.run(write(node, new Uint8Array(512).fill(1), 0));
  assert.is(features(world), 2);
  await world.close(node);
  assert.is(features(world), 0);
});

test("an image that was not closed is repaired when it is written next, and left alone when it is only read", async () => {
  const world = newWorld();
  await world.create("qed", "image", 1024 * KiB);
  const node = await world.open("qed", "image");
  await world.run(write(node, new Uint8Array(512).fill(1), 0));
  await world.run(flush(node));
  assert.is(features(world), 2);
  put(world, "image", () => {}); // the writer is gone
  const reader = await world.open("qed", "image", {});
  assert.is((await bytesOf(world, reader, 0, 1))[0], 1);
  await world.close(reader);
  assert.is(features(world), 2);
  const writer = await world.open("qed", "image");
  assert.is(features(world), 0);
  assert.is((await bytesOf(world, writer, 0, 1))[0], 1);
  await world.close(writer);
});

test("growing shows zeros, shrinking is refused", async () => {
  const world = newWorld();
  world.files.set("base", memoryStorage(new Uint8Array(512 * KiB).fill(9), { name: "base" }));
  await world.create("qed", "image", 100 * KiB, { backing_file: "base", backing_fmt: "raw" });
  const node = await world.open("qed", "image");
  await world.run(truncate(node, 400 * KiB, { preallocation: "off" }));
  assert.equal(
    await bytesOf(world, node, 0, 400 * KiB),
    Uint8Array.from({ length: 400 * KiB }, (_, i) => (i < 100 * KiB ? 9 : 0)),
  );
  await refused(world.run(truncate(node, 300 * KiB, { preallocation: "off" })), /^Shrinking images is currently not supported$/);
  await refused(world.run(truncate(node, 500 * KiB, { preallocation: "full" })), /^Unsupported preallocation mode 'full'$/);
  await world.close(node);
  const again = await world.open("qed", "image", {});
  assert.is(again.size, 400 * KiB);
  assert.equal(await bytesOf(world, again, 100 * KiB, 300 * KiB), new Uint8Array(300 * KiB));
  await world.close(again);
});

test("zero clusters hide the backing file", async () => {
  const world = newWorld();
  world.files.set("base", memoryStorage(new Uint8Array(256 * KiB).fill(9), { name: "base" }));
  await world.create("qed", "image", 256 * KiB, { backing_file: "base", backing_fmt: "raw" });
  const node = await world.open("qed", "image");
  const before = world.bytes("image").length;
  await world.run(writeZeroes(node, 64 * KiB, 64 * KiB));
  await world.close(node);
  assert.is(world.bytes("image").length, before + 256 * KiB, "one table, no data");
  const again = await world.open("qed", "image", {});
  assert.equal(
    await bytesOf(world, again, 0, 256 * KiB),
    Uint8Array.from({ length: 256 * KiB }, (_, i) => (i >= 64 * KiB && i < 128 * KiB ? 0 : 9)),
  );
  await world.close(again);
});

test("entries that point nowhere are found and removed", async () => {
  const world = newWorld();
  await world.create("qed", "image", 1024 * KiB);
  const node = await world.open("qed", "image");
  await world.run(write(node, new Uint8Array(128 * KiB).fill(1), 0));
  await world.close(node);
  assert.equal(await check(world, "none"), {
    filename: "",
    format: "qed",
    "check-errors": 0,
    "total-clusters": 16,
    "allocated-clusters": 2,
    "fragmented-clusters": 0,
  });
  const l2 = 7 * 64 * KiB; // behind header, L1 and the two data clusters
  put(world, "image", (view) => {
    assert.is(view.getUint32(64 * KiB, true), l2);
    view.setUint32(l2 + 8, 0x1234, true);
  });
  assert.is((await check(world, "none"))["corruptions"], 1);
  const damaged = await world.open("qed", "image", {});
  await refused(bytesOf(world, damaged, 64 * KiB, 512), /^QED cluster offset 4660 is invalid$/);
  await world.close(damaged);
  const repaired = await check(world, "all");
  assert.is(repaired["corruptions-fixed"], 1);
  assert.is(repaired["corruptions"], undefined);
  assert.is((await check(world, "none"))["corruptions"], undefined);
  // Two entries for one cluster cannot be told apart.
  put(world, "image", (view) => view.setUint32(l2 + 8, view.getUint32(l2, true), true));
  assert.is((await check(world, "all"))["corruptions"], 1);
  // What nobody points to is a leak, and stays.
  put(world, "image", (view) => view.setUint32(l2 + 8, 0, true));
  assert.is((await check(world, "all"))["leaks"], 1);
});

test("unknown features: refused, kept, or cleared", async () => {
  const world = newWorld();
  await world.create("qed", "image", 1024 * KiB);
  put(world, "image", (view) => view.setUint32(16, 0x18, true));
  await refused(world.open("qed", "image", {}), /^Unsupported QED features: 18$/);
  put(world, "image", (view) => {
    view.setUint32(16, 0, true);
    view.setUint32(24, 0x80, true); // compatible
    view.setUint32(32, 0x40, true); // autoclear
  });
  await world.close(await world.open("qed", "image", {}));
  assert.is(world.bytes("image")[32], 0x40);
  const node = await world.open("qed", "image");
  const impl = node.impl;
  if (impl.shape === "mapped") await refused(world.run(impl.changeBackingFile!("base", "raw")), /Features of this image/);
  await world.close(node);
  assert.is(world.bytes("image")[32], 0);
  assert.is(world.bytes("image")[24], 0x80);
});

test("backing file names are changed and removed", async () => {
  const world = newWorld();
  world.files.set("a", memoryStorage(new Uint8Array(64 * KiB).fill(1), { name: "a" }));
  world.files.set("other-name", memoryStorage(new Uint8Array(64 * KiB).fill(2), { name: "other-name" }));
  await world.create("qed", "image", 64 * KiB, { backing_file: "a", backing_fmt: "raw" });
  const change = async (to: string | null): Promise<void> => {
    const node = await world.open("qed", "image");
    const { impl } = node;
    if (impl.shape === "mapped") await world.run(impl.changeBackingFile!(to, "raw"));
    await world.close(node);
  };
  const first = async (): Promise<number> => {
    const node = await world.open("qed", "image", {});
    const [byte] = await bytesOf(world, node, 0, 1);
    await world.close(node);
    return byte!;
  };
  assert.is(await first(), 1);
  await change("other-name");
  assert.is(await first(), 2);
  await change(null);
  assert.is(await first(), 0);
  assert.not.ok(Buffer.from(world.bytes("image").subarray(0, 4096)).includes("other-name"));
});

test("wrong options are refused with QEMU's words", async () => {
  const world = newWorld();
  const create = (size: number, options: Record<string, unknown>): Promise<void> => world.create("qed", "image", size, options);
  await refused(
    create(1024, { cluster_size: 3072 }),
    /^QED cluster size must be within range \[4096, 67108864\] and power of 2$/,
  );
  await refused(create(1024, { table_size: 3 }), /^QED table size must be within range \[1, 16\] and power of 2$/);
  await refused(
    create(2 ** 50, {}),
    /^QED image size must be a non-zero multiple of cluster size and less than 70368744177664 bytes$/,
  );
});

test("what a crash leaves is consistent, and holds what was flushed", async () => {
  const seed = chooseSeed();
  console.log(`seed ${seed}`);
  const chance = random(seed);
  for (let round = 0; round < 25; round++) {
    /** Writes since the last flush, as they went to the file; a crash keeps any of them. */
    let unsettled: { offset: number; bytes: Uint8Array }[] = [];
    const settled: { offset: number; bytes: Uint8Array }[] = [];
    let size = 0;
    const world = makeWorld({
      mode: "seeded",
      drivers: [raw, qed],
      seed: chance.int(1 << 30),
      plain: true,
      before: (request) => {
        if (!(request instanceof StorageRequest)) return;
        if (request.verb === "write") unsettled.push({ offset: request.offset, bytes: request.bytes!.slice() });
        else if (request.verb === "truncate") size = Math.max(size, request.offset);
        else if (request.verb === "flush") {
          settled.push(...unsettled);
          unsettled = [];
        }
      },
    });
    await world.create("qed", "image", 2048 * KiB, { cluster_size: 4096, table_size: 2 });
    let node = await world.open("qed", "image");
    const model = new Uint8Array(2048 * KiB);
    const durable = new Uint8Array(2048 * KiB);
    const touched = new Uint8Array(2048 * KiB);
    for (let step = 0; step < 12; step++) {
      const offset = chance.int(model.length - 20_000);
      const bytes = new Uint8Array(1 + chance.int(20_000)).fill(1 + chance.int(255));
      await world.run(write(node, bytes, offset));
      model.set(bytes, offset);
      touched.fill(1, offset, offset + bytes.length);
      if (chance.chance(0.3)) {
        await world.run(flush(node));
        durable.set(model);
        touched.fill(0);
      }
    }
    // The crash: everything flushed, and some of the rest.
    const medium = new Uint8Array(
      Math.max(size, ...[...settled, ...unsettled].map(({ offset, bytes }) => offset + bytes.length)),
    );
    for (const { offset, bytes } of [...settled, ...unsettled.filter(() => chance.chance(0.5))]) medium.set(bytes, offset);
    const after = newWorld();
    after.files.set("image", memoryStorage(medium, { name: "image" }));
    const found = await check(after, "none");
    assert.is(found["corruptions"], undefined, `round ${round}`);
    node = await after.open("qed", "image");
    const content = await bytesOf(after, node, 0, model.length);
    for (let i = 0; i < content.length; i++)
      if (touched[i] === 0 && content[i] !== durable[i])
        throw new Error(`round ${round}: byte ${i} is ${content[i]} instead of ${durable[i]}`);
    await after.close(node);
  }
});

test.run();
