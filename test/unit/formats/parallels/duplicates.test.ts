/** Parallels images in which several blocks have one cluster: found by a check, and each gets its own by a repair. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { errnoError, type BlockError } from "../../../../src/base/error.js";
import { read, write } from "../../../../src/block/io.js";
import type { ImageCheck } from "../../../../src/block/types.js";
import { parallels } from "../../../../src/formats/parallels/parallels.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { checkImage } from "../../../../src/image/check.js";
import { makeWorld, type World } from "../../../support/world.js";

const CLUSTER = 65536;
const SIZE = 8 * CLUSTER + 512;
const BAT = 64;

/** Blocks 0 to 3 were written with 1 to 4, and the last one, which is short, with 9; then 1, 2 and the last got the cluster of block 0. */
async function image(options: Record<string, unknown> = { cluster_size: CLUSTER }): Promise<World> {
  const world = makeWorld({ mode: "sync", drivers: [raw, parallels] });
  await world.create("parallels", "image", SIZE, options);
  const node = await world.open("parallels", "image");
  for (const block of [0, 1, 2, 3]) await world.run(write(node, new Uint8Array(CLUSTER).fill(block + 1), block * CLUSTER));
  await world.run(write(node, new Uint8Array(512).fill(9), 8 * CLUSTER));
  await world.close(node);
  const { sync } = world.files.get("image")!;
  const first = world.bytes("image").slice(BAT, BAT + 4);
  for (const block of [1, 2, 8]) sync.write(first, BAT + 4 * block);
  return world;
}
async function content(world: World): Promise<Uint8Array> {
  const node = await world.open("parallels", "image", {});
  const bytes = new Uint8Array(SIZE);
  await world.run(read(node, bytes, 0));
  await world.close(node);
  return bytes;
}
async function check(world: World, fix: "none" | "leaks" | "all"): Promise<{ result: ImageCheck; texts: string[] }> {
  const node = await world.open("parallels", "image", { check: true, write: fix !== "none" });
  const texts: string[] = [];
  try {
    const result = await world.run(checkImage(node, { fix, onProblem: ({ text }) => void texts.push(text) }));
    return { result, texts };
  } finally {
    await world.close(node);
  }
}

test("a check tells each block that has the cluster of an earlier one", async () => {
  const world = await image();
  const before = await content(world);
  for (const fix of ["none", "leaks"] as const) {
    const { result, texts } = await check(world, fix);
    assert.equal(
      texts.slice(0, 3),
      [1, 2, 8].map((block) => `ERROR duplicate offset in BAT entry ${block}`),
    );
    assert.is(result.corruptions, 3);
    assert.is(result["corruptions-fixed"] ?? 0, 0);
  }
  assert.equal(await content(world), before);
});

test("a repair gives each a cluster of its own, and all read as before", async () => {
  const world = await image();
  const before = await content(world);
  const { result, texts } = await check(world, "all");
  assert.equal(
    texts.slice(0, 3),
    [1, 2, 8].map((block) => `Repairing duplicate offset in BAT entry ${block}`),
  );
  assert.is(result["corruptions-fixed"], 3);
  assert.equal(await content(world), before);
  const again = await check(world, "none");
  assert.equal([again.texts, again.result.corruptions ?? 0, again.result.leaks ?? 0], [[], 0, 0]);
  // They are their own now.
  const node = await world.open("parallels", "image");
  await world.run(write(node, new Uint8Array(CLUSTER).fill(7), CLUSTER));
  await world.close(node);
  before.fill(7, CLUSTER, 2 * CLUSTER);
  assert.equal(await content(world), before);
});

test("a repair that finds no space leaves the entries as they were", async () => {
  const world = await image();
  const before = await content(world);
  const node = await world.open("parallels", "image", { check: true, write: true });
  const impl = node.child("file")!.impl as unknown as { storage: { sync: { truncate(): void; allocate?(): void } } };
  const full = (): void => {
    throw errnoError("ENOSPC");
  };
  Object.assign(impl.storage.sync, { truncate: full, allocate: full });
  let code = "";
  try {
    await world.run(checkImage(node, { fix: "all", onProblem: () => {} }));
  } catch (error) {
    code = (error as BlockError).code;
  }
  assert.is(code, "ERR_NO_SPACE");
  await world.close(node).catch(() => {});
  assert.equal(await content(world), before);
});

test("clusters too large to be copied are told, and stay", async () => {
  const world = makeWorld({ mode: "sync", drivers: [raw, parallels] });
  const cluster = 128 * 1048576;
  await world.create("parallels", "image", 2 * cluster, { cluster_size: cluster });
  const node = await world.open("parallels", "image");
  await world.run(write(node, new Uint8Array(512).fill(1), 0));
  await world.close(node);
  world.files.get("image")!.sync.write(world.bytes("image").slice(BAT, BAT + 4), BAT + 4);
  const { result, texts } = await check(world, "all");
  assert.is(texts[0], "ERROR duplicate offset in BAT entry 1");
  assert.is(result["corruptions-fixed"] ?? 0, 0);
  assert.is(result.corruptions, 1);
});

test.run();
