/** Differencing images of VirtualBox: type 4, a parent known by UUID only, which the caller names. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { flush, read, truncate, write, writeZeroes } from "../../../../src/block/io.js";
import { openNode } from "../../../../src/block/open.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vdi } from "../../../../src/formats/vdi/vdi.js";
import { makeWorld, type World } from "../../../support/world.js";

const MiB = 1 << 20;
const IMAGE_TYPE = 76;
const LINK_UUID = 424;
const MAP = 512;

/** A parent of 4 blocks of 1, 2, 3, 4 and an empty child whose third block is discarded. */
async function pair(): Promise<World> {
  const on = makeWorld({ mode: "sync", drivers: [raw, vdi] });
  await on.create("vdi", "parent", 4 * MiB);
  const parent = await on.open("vdi", "parent", { write: true });
  for (let i = 0; i < 4; i++) await on.run(write(parent, new Uint8Array(MiB).fill(i + 1), i * MiB));
  await on.close(parent);
  await on.create("vdi", "child", 4 * MiB);
  const put32 = (offset: number, value: number): void => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    on.files.get("child")!.sync.write(bytes, offset);
  };
  put32(IMAGE_TYPE, 4);
  put32(LINK_UUID, 0x12345678);
  put32(MAP + 4 * 2, 0xfffffffe);
  return on;
}
const child = (on: World, write = true) =>
  on.run(
    openNode(on.environment, {
      driver: "vdi",
      options: {
        file: { driver: "file", filename: "child" },
        backing: { driver: "vdi", file: { driver: "file", filename: "parent" } },
      },
      flags: { write },
    }),
  );

test("what the child does not hold comes from the parent; discarded blocks are zeros", async () => {
  const on = await pair();
  const node = await child(on);
  const expected = new Uint8Array(4 * MiB);
  for (const block of [0, 1, 3]) expected.fill(block + 1, block * MiB, (block + 1) * MiB);
  const back = new Uint8Array(4 * MiB);
  await on.run(read(node, back, 0));
  assert.is(Buffer.compare(back, expected), 0);
  // A write into part of a block takes the rest from the parent.
  await on.run(write(node, new Uint8Array(4096).fill(9), MiB + 8192));
  await on.run(write(node, new Uint8Array(512).fill(8), 2 * MiB + 512));
  await on.run(writeZeroes(node, 3 * MiB, 65536));
  await on.run(flush(node));
  expected
    .fill(9, MiB + 8192, MiB + 12288)
    .fill(8, 2 * MiB + 512, 2 * MiB + 1024)
    .fill(0, 3 * MiB, 3 * MiB + 65536);
  await on.close(node);
  const again = await child(on, false);
  await on.run(read(again, back, 0));
  assert.is(Buffer.compare(back, expected), 0);
  await on.close(again);
});

test("a differencing image keeps its size; complete images have no parent", async () => {
  const on = await pair();
  const node = await child(on);
  try {
    await on.run(truncate(node, 5 * MiB, { preallocation: "off" }));
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, "Resizing differencing VDI images is not supported");
  }
  await on.close(node);
  const file = (filename: string) => ({ driver: "file", filename });
  try {
    const options = { file: file("parent"), backing: { driver: "raw", file: file("child") } };
    await on.run(openNode(on.environment, { driver: "vdi", options }));
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /cannot have a backing file/);
  }
});

test.run();
