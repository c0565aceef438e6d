/** Differencing VHDs: their own sectors, the parent's for the rest, and the gate before the parent. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BlockError } from "../../../../src/base/error.js";
import type { Environment, Reference } from "../../../../src/block/context.js";
import { read, write } from "../../../../src/block/io.js";
import type { Node } from "../../../../src/block/node.js";
import { openNode } from "../../../../src/block/open.js";
import { done, runSync } from "../../../../src/block/op.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vpc } from "../../../../src/formats/vpc/vpc.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { makeWorld, MODES, type Mode, type World } from "../../../support/world.js";
import { buildDifferencing, type DifferencingSpec } from "./vhd-builder.js";
import { refused } from "../../../support/refused.js";

const SIZE = 3 * 65536 + 1024;

/** A parent filled with 0x11, and a child that holds sectors 1, 2 and 200. */
async function family(mode: Mode, change: Partial<DifferencingSpec> = {}): Promise<World> {
  const world = makeWorld({ mode, drivers: [raw, vpc], seed: 5 });
  await world.create("vpc", "images/base disk.vhd", SIZE, { force_size: true });
  const parent = await world.open("vpc", "images/base disk.vhd");
  await world.run(write(parent, new Uint8Array(SIZE).fill(0x11), 0));
  await world.close(parent);
  const uuid = world.bytes("images/base disk.vhd").slice(68, 84);
  const child = buildDifferencing({
    size: SIZE,
    blockSize: 65536,
    parentUuid: uuid,
    locators: { W2ku: "C:\\vm\\base disk.vhd", W2ru: ".\\base disk.vhd" },
    sectors: new Map([
      [1, 0x21],
      [2, 0x22],
      [200, 0x23],
    ]),
    ...change,
  });
  world.files.set("images/child.vhd", memoryStorage(child, { name: "images/child.vhd" }));
  return world;
}

function expected(fill: number): Uint8Array {
  const bytes = new Uint8Array(SIZE).fill(fill);
  bytes.fill(0x21, 512, 1024);
  bytes.fill(0x22, 1024, 1536);
  bytes.fill(0x23, 200 * 512, 201 * 512);
  return bytes;
}

async function content(world: World, node: Node): Promise<Uint8Array> {
  const bytes = new Uint8Array(node.size);
  await world.run(read(node, bytes, 0));
  return bytes;
}

for (const mode of MODES) {
  test(`sectors of its own and the parent's (${mode})`, async () => {
    const world = await family(mode);
    const node = await world.open("vpc", "images/child.vhd", {});
    assert.equal(await content(world, node), expected(0x11));
    const part = new Uint8Array(700);
    await world.run(read(node, part, 400));
    assert.equal(part, expected(0x11).subarray(400, 1100));
    assert.is(node.backing?.filename, "images/base disk.vhd");
    assert.is(node.impl.shape === "mapped" && node.impl.backingFile?.filename, "base disk.vhd");
    await world.close(node);
  });
}

test("every kind of locator leads to the parent", async () => {
  const cases: [Record<string, string>, string][] = [
    [{ MacX: "file://localhost/images/base%20disk.vhd" }, ""],
    [{}, "base disk.vhd"],
    [{ W2ru: "gone.vhd", W2ku: "C:\\nowhere\\base disk.vhd" }, "base disk.vhd"],
  ];
  for (const [locators, parentName] of cases) {
    const world = await family("sync", { locators, parentName });
    world.files.set("/images/base disk.vhd", world.files.get("images/base disk.vhd")!);
    const node = await world.open("vpc", "images/child.vhd", {});
    assert.equal(await content(world, node), expected(0x11), JSON.stringify(locators));
    await world.close(node);
  }
});

test("a parent that is not there, or is another one, is an error", async () => {
  const world = await family("sync", { locators: { W2ru: ".\\gone.vhd" } });
  const missing = await refused(world.open("vpc", "images/child.vhd", {}));
  assert.is(missing.code, "ERR_NOT_FOUND");
  assert.match(missing.message, "Could not open parent file: ");
  assert.match(missing.message, "gone.vhd");
  const other = await refused(
    (await family("sync", { parentUuid: new Uint8Array(16).fill(9) })).open("vpc", "images/child.vhd", {}),
  );
  assert.is(other.code, "ERR_CORRUPT");
  assert.match(other.message, "is not the parent");
});

test("the parent passes the gate, as a plain path", async () => {
  const asked: Omit<Reference, "image">[] = [];
  const world = await family("sync", { locators: { W2ru: 'json:{"driver":"raw"}', W2ku: "nbd://host/secret" } });
  const environment: Environment = {
    ...world.environment,
    gate: ({ kind, filename, resolved, format }) => {
      asked.push({ kind, filename, resolved, format });
      return done(false);
    },
  };
  try {
    runSync(openNode(environment, { driver: "vpc", filename: "images/child.vhd" }));
    assert.unreachable();
  } catch (error) {
    assert.is((error as BlockError).code, "ERR_DENIED");
  }
  assert.equal(asked, [
    { kind: "parent", filename: './json:{"driver":"raw"}', resolved: 'images/./json:{"driver":"raw"}', format: "vpc" },
  ]);
});

test("without its parent, or with another one stated", async () => {
  const world = await family("sync", { locators: { W2ru: "gone.vhd" } });
  const alone = await world.open("vpc", "images/child.vhd", {}, { backing: null });
  assert.equal(await content(world, alone), expected(0));
  await world.close(alone);
  const closed = await world.open("vpc", "images/child.vhd", { noBacking: true });
  assert.is(closed.backing, null);
  await world.close(closed);
  const stated = await world.open(
    "vpc",
    "images/child.vhd",
    {},
    { backing: { driver: "vpc", file: { driver: "file", filename: "images/base disk.vhd" } } },
  );
  assert.equal(await content(world, stated), expected(0x11));
  await world.close(stated);
});

test("what is written is the image's own, sector by sector; the parent stays as it is", async () => {
  const world = await family("sync");
  const before = world.bytes("images/base disk.vhd");
  const node = await world.open("vpc", "images/child.vhd", { write: true });
  // Inside one sector, over a boundary between blocks, and into a block that the image does not have yet.
  const wanted = expected(0x11);
  for (const [offset, length] of [
    [5000, 10],
    [65536 - 700, 1400],
    [2 * 65536 + 512, 512],
  ] as const) {
    await world.run(write(node, new Uint8Array(length).fill(0x99), offset));
    wanted.fill(0x99, offset, offset + length);
  }
  assert.equal(await content(world, node), wanted);
  await world.close(node);
  const again = await world.open("vpc", "images/child.vhd", {});
  assert.equal(await content(world, again), wanted);
  await world.close(again);
  assert.equal(world.bytes("images/base disk.vhd"), before);
});

test("without its parent it cannot be written", async () => {
  const world = await family("sync", { locators: {} });
  const error = await refused(world.open("vpc", "images/child.vhd", { write: true }));
  assert.is(error.code, "ERR_READ_ONLY");
});

test("one is made over a parent, named as the parent is; sizes and formats that do not fit are refused", async () => {
  const world = await family("sync");
  await world.create("vpc", "images/new.vhd", SIZE, { backing_file: "base disk.vhd" });
  const node = await world.open("vpc", "images/new.vhd", {});
  assert.is(node.filename, "images/new.vhd");
  assert.equal(await content(world, node), new Uint8Array(SIZE).fill(0x11));
  await world.close(node);
  // The first block does not take the place of the parent's name.
  const changed = await world.open("vpc", "images/new.vhd", { write: true });
  await world.run(write(changed, new Uint8Array(512).fill(1), 0));
  await world.close(changed);
  const again = await world.open("vpc", "images/new.vhd", {});
  assert.is(again.impl.shape === "mapped" && again.impl.backingFile?.filename, "base disk.vhd");
  assert.is(world.warnings.length, 0);
  await world.close(again);
  const make = (size: number, options: Record<string, unknown>) => refused(world.create("vpc", "images/x.vhd", size, options));
  assert.match((await make(SIZE + 512, { backing_file: "base disk.vhd" })).message, "must have the size of its parent");
  assert.match((await make(SIZE, { backing_file: "base disk.vhd", backing_fmt: "raw" })).message, "must be a VHD");
  assert.match((await make(SIZE, { backing_file: "base disk.vhd", subformat: "fixed" })).message, "'subformat' cannot be given");
});

test("hostile locators cost nothing", async () => {
  const world = await family("sync", { locators: { W2ru: "x" } });
  const bytes = world.bytes("images/child.vhd");
  // A name of 4 GiB, at the end of all files.
  new DataView(bytes.buffer).setUint32(512 + 576 + 8, 0xffffffff);
  new DataView(bytes.buffer).setUint32(512 + 576 + 16, 0x7fffffff);
  world.files.set("images/child.vhd", memoryStorage(bytes));
  const node = await world.open("vpc", "images/child.vhd", {});
  assert.equal(await content(world, node), expected(0));
  assert.is(world.warnings.length, 2);
  await world.close(node);
});

test.run();
