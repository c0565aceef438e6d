/** The footers of a VHD: which one counts when one is damaged; geometry; sizes. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BlockError } from "../../../../src/base/error.js";
import { read, truncate, write } from "../../../../src/block/io.js";
import { isIntact } from "../../../../src/formats/vpc/footer.js";
import { geometryOf, shapeFor } from "../../../../src/formats/vpc/geometry.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vpc } from "../../../../src/formats/vpc/vpc.js";
import { makeWorld, type World } from "../../../support/world.js";

async function dynamic(): Promise<World> {
  const world = makeWorld({ mode: "sync", drivers: [raw, vpc] });
  await world.create("vpc", "image", 3 << 20, { force_size: true });
  const node = await world.open("vpc", "image");
  await world.run(write(node, new Uint8Array(1000).fill(9), 5000));
  await world.close(node);
  return world;
}
const put = (world: World, offset: number, ...bytes: number[]): void =>
  world.files.get("image")!.sync.write(Uint8Array.from(bytes), offset);

async function message(world: World): Promise<string> {
  try {
    await world.close(await world.open("vpc", "image", {}));
  } catch (error) {
    return (error as BlockError).message;
  }
  return "";
}

test("both footers of an image we wrote are intact", async () => {
  const bytes = (await dynamic()).bytes("image");
  assert.ok(isIntact(bytes.subarray(0, 512)));
  assert.ok(isIntact(bytes.subarray(bytes.length - 512)));
});

test("a damaged footer at the end is replaced by the copy, with a warning, and written anew", async () => {
  const world = await dynamic();
  const end = world.bytes("image").length;
  put(world, end - 500, 1, 2, 3);
  const node = await world.open("vpc", "image");
  assert.is(world.warnings.length, 1);
  assert.match(world.warnings[0]!, /at the end of .* is damaged/);
  const bytes = new Uint8Array(1000);
  await world.run(read(node, bytes, 5000));
  assert.ok(bytes.every((byte) => byte === 9));
  await world.run(write(node, bytes, 2 << 20));
  await world.close(node);
  const after = world.bytes("image");
  assert.ok(isIntact(after.subarray(after.length - 512)));
});

test("a footer that is not at the end is not missed: the copy does", async () => {
  const world = await dynamic();
  put(world, world.bytes("image").length + 4095, 0);
  const node = await world.open("vpc", "image", {});
  assert.equal(world.warnings, []);
  assert.is(node.size, 3 << 20);
  await world.close(node);
});

test("a damaged copy is replaced by the footer at the end; both damaged is an error", async () => {
  const world = await dynamic();
  put(world, 20, 0x55);
  const node = await world.open("vpc", "image", {});
  assert.is(node.size, 3 << 20);
  assert.match(world.warnings[0]!, "copy at the beginning");
  await world.close(node);
  put(world, world.bytes("image").length - 500, 0x55);
  assert.is(await message(world), "Incorrect header checksum");
});

test("a fixed disk whose guest wrote a footer's mark is still a fixed disk", async () => {
  const world = makeWorld({ mode: "sync", drivers: [raw, vpc] });
  await world.create("vpc", "image", 1 << 20, { subformat: "fixed", force_size: true });
  put(world, 0, ...new TextEncoder().encode("conectix"));
  const node = await world.open("vpc", "image", {});
  assert.is(node.size, 1 << 20);
  await world.close(node);
});

test("geometry as the specification prescribes it", () => {
  assert.equal(geometryOf(40 * 2048), { cylinders: 963, heads: 5, sectors: 17 });
  assert.equal(geometryOf(65535 * 16 * 255 + 5), { cylinders: 65535, heads: 16, sectors: 255 });
  assert.is(shapeFor(1 << 20, false).totalSectors * 512, 1079296);
  assert.is(shapeFor(4 << 20, false).totalSectors * 512, 4212736);
  assert.throws(() => shapeFor(2041 * 1024 ** 3, true), /max size is 2040 GiB/);
});

test("sizes for Azure: whole MiB, and the size field counts", async () => {
  const world = makeWorld({ mode: "sync", drivers: [raw, vpc] });
  await world.create("vpc", "image", (5 << 20) + 1, { subformat: "fixed", force_size: true, align_size: 1 << 20 });
  assert.is(world.bytes("image").length, (6 << 20) + 512);
  const node = await world.open("vpc", "image", {});
  assert.is(node.size, 6 << 20);
  await world.close(node);
});

test("an image that goes by its geometry only gets sizes that a geometry can say", async () => {
  const world = makeWorld({ mode: "sync", drivers: [raw, vpc] });
  await world.create("vpc", "image", 1 << 20, { subformat: "fixed" });
  const node = await world.open("vpc", "image");
  try {
    await world.run(truncate(node, 4 << 20, { preallocation: "off" }));
    assert.unreachable();
  } catch (error) {
    assert.is((error as BlockError).code, "ERR_INVALID_ARGUMENT");
    assert.is((error as BlockError).hint, "Try size=4212736");
  }
  await world.run(truncate(node, 4212736, { preallocation: "off" }));
  await world.close(node);
  assert.is(world.bytes("image").length, 4212736 + 512);
});

test.run();
