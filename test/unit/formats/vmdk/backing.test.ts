/** Images over a parent: tied to it by its content ID, also through a commit. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { discard, read, write } from "../../../../src/block/io.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { vmdk } from "../../../../src/formats/vmdk/vmdk.js";
import { commitImage } from "../../../../src/image/commit.js";
import { makeWorld, type World } from "../../../support/world.js";

const MiB = 1 << 20;

/** base holds 1 in its first 64 KiB, over it top 2 in its second. */
async function pair(): Promise<World> {
  const on = makeWorld({ mode: "sync", drivers: [raw, vmdk] });
  await on.create("vmdk", "base", MiB);
  await put(on, "base", 1, 0);
  await on.create("vmdk", "top", MiB, { backing_file: "base" });
  await put(on, "top", 2, 65536);
  return on;
}
async function put(on: World, name: string, fill: number, offset: number): Promise<void> {
  const node = await on.open("vmdk", name, { write: true });
  await on.run(write(node, new Uint8Array(65536).fill(fill), offset));
  await on.close(node);
}
async function commit(on: World): Promise<void> {
  const node = await on.open("vmdk", "top", { write: true });
  await on.run(commitImage(node));
  await on.close(node);
}
async function firstByte(on: World, name: string, offset: number): Promise<number> {
  const node = await on.open("vmdk", name, {});
  const byte = new Uint8Array(1);
  try {
    await on.run(read(node, byte, offset));
  } finally {
    await on.close(node);
  }
  return byte[0]!;
}

test("a commit changes the parent's content ID, and the image goes on naming it", async () => {
  const on = await pair();
  for (const fill of [3, 4]) {
    await commit(on);
    assert.is(await firstByte(on, "top", 0), 1);
    assert.is(await firstByte(on, "base", 65536), fill - 1);
    await put(on, "top", fill, 65536);
  }
});

test("a discard over a parent makes whole grains zeros where the image has entries for that, and leaves parts alone", async () => {
  for (const zeroed of [false, true]) {
    const on = makeWorld({ mode: "sync", drivers: [raw, vmdk] });
    await on.create("vmdk", "base", MiB);
    for (let at = 0; at < MiB; at += 65536) await put(on, "base", 1, at);
    await on.create("vmdk", "top", MiB, { backing_file: "base", zeroed_grain: zeroed });
    await put(on, "top", 2, 65536);
    const top = await on.open("vmdk", "top");
    for (const [offset, length] of [
      [512, 1024],
      [65536 - 512, 1024],
      [3 * 65536 - 512, 65536 + 1024],
    ] as const)
      await on.run(discard(top, offset, length));
    await on.close(top);
    for (const [grain, expected] of [1, 2, 1, zeroed ? 0 : 1, 1].entries())
      assert.is(await firstByte(on, "top", grain * 65536), expected, `grain ${grain}`);
  }
});

test("a parent that somebody else changed is not adopted by a commit", async () => {
  const on = await pair();
  await put(on, "base", 5, 2 * 65536);
  for (const work of [() => commit(on), () => firstByte(on, "top", 0)]) {
    try {
      await work();
      assert.unreachable();
    } catch (error) {
      const { message, cause } = error as Error;
      assert.match(`${message}: ${String(cause)}`, /has content ID [0-9a-f]+, but the image was made from/);
    }
  }
});

test("another parent, or none: with its content ID", async () => {
  for (const subformat of ["monolithicSparse", "twoGbMaxExtentSparse"]) {
    const on = await pair();
    await on.create("vmdk", "another parent with a longer name", MiB);
    await put(on, "another parent with a longer name", 7, 0);
    await on.create("vmdk", "top", MiB, { backing_file: "base", subformat });
    const change = async (name: string | null): Promise<void> => {
      const node = await on.open("vmdk", "top", { write: true });
      const { impl } = node;
      if (impl.shape === "mapped") await on.run(impl.changeBackingFile!(name, name === null ? null : "vmdk"));
      await on.close(node);
    };
    await change("another parent with a longer name");
    assert.is(await firstByte(on, "top", 0), 7);
    await change("base");
    assert.is(await firstByte(on, "top", 0), 1);
    await change(null);
    assert.is(await firstByte(on, "top", 0), 0);
    const alone = await on.open("vmdk", "top", {});
    assert.is(alone.backing, null);
    assert.is(alone.impl.shape === "mapped" ? alone.impl.backingFile : undefined, null);
    await on.close(alone);
    await change("base");
    assert.is(await firstByte(on, "top", 0), 1);
    for (const [name, message] of [
      ["nowhere", "nowhere"],
      ['a"b', "cannot hold quotes"],
    ] as const) {
      try {
        await change(name);
        assert.unreachable();
      } catch (error) {
        assert.match((error as Error).message, message);
      }
    }
  }
});

test.run();
