// time-limit: 240 s
/**
 * Damaged images of every format but qcow2 (which has a test of its own): a few fields of a sound image with something else in them,
 * checksums made right again, and then everything that can be asked of an image. Whatever comes is a BlockError or an answer, within
 * bounds of time, memory and I/O; looking changes nothing, a repair that calls the image sound is right, and what is written is there.
 *
 * SEED=n starts at another seed, BLOCKCORE_IMAGES=n damages that many images. To repeat one failure: SEED=<its seed> BLOCKCORE_IMAGES=1.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { OpenFlags } from "../../src/block/context.js";
import { discard, flush, read, truncate, write, writeZeroes } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { checkImage } from "../../src/image/check.js";
import { imageInfo } from "../../src/image/info.js";
import { mapImage } from "../../src/image/map.js";
import { chooseSeed, random, type Random } from "../support/random.js";
import type { World } from "../support/world.js";
import { damage } from "./fields.js";
import { attempt, withinBounds } from "./limits.js";
import { soundImages, worldWith, type SoundImage } from "./sound-images.js";

const COUNT = Number(process.env["BLOCKCORE_IMAGES"] ?? 300);
/** Formats whose check finds places that two guest blocks have: if it finds nothing, what is written is there. */
const SEES_SHARED: ReadonlySet<string> = new Set(["vdi", "qed", "vhdx", "parallels"]);
/** So many are reported. */
const MAX_FAILURES = 20;
/** Runs of this length are looked at and written to at both ends of an image. */
const SPAN = 2 << 20;
const PIECE = 65536;

const open = (world: World, { driver, options }: SoundImage, flags: Partial<OpenFlags>): Promise<Node | null> =>
  attempt(world.open(driver, "image", flags, options));

async function look(image: SoundImage, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  const world = worldWith(files);
  const node = await open(world, image, {});
  if (node === null) return;
  await attempt(world.run(imageInfo(node)));
  await attempt(world.run(mapImage(node, () => {}, { length: 2 * SPAN })));
  for (const from of [0, Math.max(0, node.size - SPAN)])
    for (let at = from; at < Math.min(node.size, from + SPAN); at += PIECE)
      await attempt(world.run(read(node, new Uint8Array(Math.min(PIECE, node.size - at)), at)));
  await attempt(world.close(node));
  for (const [name, bytes] of files) assert.is(Buffer.compare(world.bytes(name), bytes), 0, `looking changed '${name}'`);
}

async function check(world: World, image: SoundImage, fix: "none" | "all"): Promise<number | null> {
  const node = await open(world, image, { check: true, write: fix === "all" });
  if (node === null) return null;
  const found = await attempt(world.run(checkImage(node, { fix })));
  await attempt(world.close(node));
  return found === null ? null : found["check-errors"] + (found.corruptions ?? 0) + (found.leaks ?? 0);
}

async function change(image: SoundImage, files: ReadonlyMap<string, Uint8Array>, choose: Random): Promise<void> {
  const world = worldWith(files);
  const node = await open(world, image, { write: true, unmap: true });
  if (node === null) return;
  for (let step = 0; step < 8; step++) {
    const length = Math.min(node.size, 1 + choose.int(70_000));
    const span = Math.min(node.size, SPAN);
    const at = (choose.chance(0.5) ? 0 : node.size - span) + choose.int(span - length + 1);
    const op = choose.pick([
      () => write(node, new Uint8Array(length).fill(0xa0 + step), at),
      () => write(node, new Uint8Array(length).fill(0xa0 + step), at),
      () => writeZeroes(node, at, length, { mayUnmap: choose.chance(0.5) }),
      () => discard(node, at, length),
      () => flush(node),
      () => truncate(node, node.size + 512 * choose.int(5000), { preallocation: "off" }),
    ])();
    await attempt(world.run(op));
  }
  await attempt(world.close(node));
  const again = await open(world, image, {});
  if (again !== null) await attempt(world.close(again));
}

/** What was written can be read. */
async function writeAndRead(image: SoundImage, files: ReadonlyMap<string, Uint8Array>, isSound: boolean): Promise<void> {
  const world = worldWith(files);
  const node = await open(world, image, { write: true });
  if (node === null) return;
  const bytes = new Uint8Array(70_000).fill(0xa5);
  for (const at of [0, Math.floor(node.size / 2), node.size - bytes.length]) {
    if (at < 0 || at + bytes.length > node.size || (await attempt(written(world, node, bytes, at))) === null) continue;
    const back = new Uint8Array(bytes.length);
    await world.run(read(node, back, at));
    if (isSound) assert.is(Buffer.compare(back, bytes), 0, `what was written at ${at}`);
  }
  await attempt(world.run(flush(node)));
  await attempt(world.close(node));
}
async function written(world: World, node: Node, bytes: Uint8Array, at: number): Promise<true> {
  await world.run(write(node, bytes, at));
  return true;
}

async function fuzz(seed: number): Promise<void> {
  const choose = random(seed);
  const image = choose.pick(soundImages);
  const story = [`seed ${seed}, ${image.name}`];
  const files = new Map([...image.files].map(([name, bytes]) => [name, bytes.slice()]));
  for (let i = 1 + choose.int(4); i > 0; i--) {
    const { file, fields } = choose.pick(image.parts);
    story.push(`${file}: ${damage(files.get(file)!, choose.pick(fields), fields, choose)}`);
  }
  if (choose.chance(0.1)) {
    const { file } = choose.pick(image.parts);
    const bytes = files.get(file)!;
    files.set(file, bytes.slice(0, choose.int(bytes.length)));
    story.push(`${file}: cut to ${files.get(file)!.length}`);
  }
  if (choose.chance(0.8)) for (const { file } of image.parts) image.seal?.(files.get(file)!);
  await withinBounds(story, async () => {
    await look(image, files);
    const repaired = worldWith(files);
    const found = await check(repaired, image, "none");
    if ((await check(repaired, image, "all")) === 0)
      assert.is(await check(repaired, image, "none"), 0, "called sound, and is not");
    await writeAndRead(image, files, found === 0 && SEES_SHARED.has(image.driver));
    await change(image, files, choose);
  });
}

test("images that nothing was done to are read and written without an error", async () => {
  for (const image of soundImages) {
    const world = worldWith(image.files);
    const node = await world.open(image.driver, "image", {}, image.options);
    await world.run(read(node, new Uint8Array(node.size), 0));
    await world.close(node);
    for (const { file, fields } of image.parts) assert.ok(fields.length > 0, `${image.name}: '${file}' has fields`);
    const bytes = new Map([...image.files].map(([name, content]) => [name, content.slice()]));
    for (const { file } of image.parts) {
      image.seal?.(bytes.get(file)!);
      assert.is(Buffer.compare(bytes.get(file)!, image.files.get(file)!), 0, `${image.name}: '${file}' was sealed`);
    }
  }
});

const first = chooseSeed();
test(`${COUNT} damaged images from seed ${first}`, async () => {
  console.log(`SEED=${first} (${COUNT} images)`);
  const failures: string[] = [];
  for (let i = 0; i < COUNT && failures.length < MAX_FAILURES; i++)
    await fuzz((first + i) >>> 0).catch((error: Error) => void failures.push(error.message));
  assert.is(failures.length, 0, failures.join("\n\n"));
});

test.run();
