/** rebase and commit: what a reader sees stays, whatever the sizes and contents of the layers. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { read, write, writeZeroes } from "../../../src/block/io.js";
import type { Node } from "../../../src/block/node.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { addBitmap } from "../../../src/block/named-bitmap.js";
import { findBackingImage } from "../../../src/image/backing.js";
import { changeBitmap } from "../../../src/image/bitmap.js";
import { checkImage } from "../../../src/image/check.js";
import { commitImage } from "../../../src/image/commit.js";
import { rebaseImage, type RebaseOptions } from "../../../src/image/rebase.js";
import { random, type Random } from "../../support/random.js";
import { makeWorld, MODES, type World } from "../../support/world.js";

const KiB = 1024;
const seed = Number(process.env["SEED"] ?? Date.now() % 1e6);

async function layer(w: World, chance: Random, name: string, size: number, backing: string | null): Promise<void> {
  const cluster = chance.pick([512, 4 * KiB, 64 * KiB]);
  await w.create("qcow2", name, size, {
    cluster_size: cluster,
    ...(backing === null ? {} : { backing_file: backing, backing_fmt: "qcow2" }),
  });
  const node = await w.open("qcow2", name);
  for (let i = 0; i < 12; i++) {
    const offset = 512 * chance.int(size / 512);
    const length = Math.min(size - offset, 512 * (1 + chance.int(100)));
    if (chance.chance(0.3)) await w.run(writeZeroes(node, offset, length, { mayUnmap: true }));
    else await w.run(write(node, new Uint8Array(length).fill(1 + chance.int(3)), offset));
  }
  await w.close(node);
}

async function content(w: World, name: string): Promise<Uint8Array> {
  const node = await w.open("qcow2", name, {});
  const bytes = new Uint8Array(node.size);
  await w.run(read(node, bytes, 0));
  await w.close(node);
  return bytes;
}
async function sound(w: World, name: string, label: string): Promise<void> {
  const node = await w.open("qcow2", name, { check: true });
  const result = await w.run(checkImage(node));
  await w.close(node);
  assert.is((result.corruptions ?? 0) + (result.leaks ?? 0) + result["check-errors"], 0, `${label}: ${JSON.stringify(result)}`);
}
const sized = (chance: Random): number => 512 * (200 + chance.int(1500));

async function rebase(w: World, options: RebaseOptions): Promise<void> {
  const node = await w.open("qcow2", "top", { write: true, noBacking: options.unsafe === true });
  try {
    await w.run(rebaseImage(node, options));
  } finally {
    await w.close(node);
  }
}

for (const mode of MODES) {
  const chain = suite(`chains, ${mode}`);

  chain("rebase keeps the content", async () => {
    for (let round = 0; round < 6; round++) {
      const chance = random(seed + round);
      const w = makeWorld({ mode, drivers: [raw, qcow2], seed: seed + round });
      await layer(w, chance, "base", sized(chance), null);
      await layer(w, chance, "middle", sized(chance), "base");
      await layer(w, chance, "other", sized(chance), null);
      await layer(w, chance, "top", sized(chance), "middle");
      const before = await content(w, "top");
      for (const backingFile of ["other", "middle", "base", "middle", null, "base"]) {
        const compress = chance.chance(0.2);
        await rebase(w, { backingFile, backingFormat: backingFile === null ? null : "qcow2", compress });
        const label = `to ${backingFile}, seed ${seed + round}`;
        await sound(w, "top", label);
        assert.is(Buffer.compare(await content(w, "top"), before), 0, label);
        const node: Node = await w.open("qcow2", "top", {});
        assert.is(node.impl.shape === "mapped" ? (node.impl.backingFile?.filename ?? null) : "", backingFile, label);
        await w.close(node);
      }
    }
  });

  chain("commit moves the content down", async () => {
    for (let round = 0; round < 6; round++) {
      const chance = random(seed + 100 + round);
      const w = makeWorld({ mode, drivers: [raw, qcow2], seed: seed + round });
      await layer(w, chance, "base", sized(chance), null);
      await layer(w, chance, "middle", sized(chance), "base");
      await layer(w, chance, "top", sized(chance), "middle");
      const before = await content(w, "top");
      const deep = chance.chance(0.5);
      const node = await w.open("qcow2", "top");
      await w.run(commitImage(node, deep ? { base: "base" } : {}));
      const kept = new Uint8Array(before.length);
      await w.run(read(node, kept, 0));
      assert.is(Buffer.compare(kept, before), 0, `open image, seed ${seed + 100 + round}`);
      await w.close(node);
      for (const name of deep ? ["base", "top"] : ["middle", "top"]) {
        await sound(w, name, `${name}, seed ${seed + 100 + round}`);
        const bytes = await content(w, name);
        assert.is(Buffer.compare(bytes.subarray(0, before.length), before), 0, `${name}, seed ${seed + 100 + round}`);
      }
    }
  });
  chain.run();
}

const rules = suite("chains: rules");
const small = async (): Promise<World> => {
  const w = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
  await w.create("qcow2", "dir/base", 64 * KiB);
  await w.create("qcow2", "dir/top", 64 * KiB, { backing_file: "base", backing_fmt: "qcow2" });
  return w;
};
async function failing(work: Promise<unknown>, message: RegExp): Promise<void> {
  let text = "(nothing failed)";
  await work.catch((error: Error) => (text = error.message));
  assert.match(text, message);
}

rules("layers are found by path, relative to the image above them", async () => {
  const w = await small();
  const node = await w.open("qcow2", "dir/top", {});
  assert.is(findBackingImage(node, "base"), node.backing);
  assert.is(findBackingImage(node, "./x/../base"), node.backing);
  assert.is(findBackingImage(node, "dir/base"), null);
  assert.is(findBackingImage(node, "json:base"), null);
  await w.close(node);
});

rules("what cannot be done is said in QEMU's words", async () => {
  const w = await small();
  let node = await w.open("qcow2", "dir/base");
  await failing(w.run(commitImage(node)), /^Image does not have a backing file$/);
  await w.close(node);
  node = await w.open("qcow2", "dir/top");
  await failing(
    w.run(commitImage(node, { base: "nope", filename: "top" })),
    /^Did not find 'nope' in the backing chain of 'top'$/,
  );
  await failing(
    w.run(rebaseImage(node, { backingFile: "nope", backingFormat: "qcow2" })),
    /^Could not open new backing file 'nope': /,
  );
  await failing(
    w.run(rebaseImage(node, { backingFile: "base" })),
    /^Could not change the backing file to 'base': backing format must be specified$/,
  );
  await failing(w.run(rebaseImage(node, { backingFile: "base", backingFormat: "x" })), /^Invalid format name: 'x'$/);
  await failing(
    w.run(rebaseImage(node, { backingFile: "x".repeat(1024), backingFormat: "qcow2", unsafe: true })),
    /^Could not change the backing file to 'x+': /,
  );
  await w.close(node);
});

rules("bitmap actions act in order, and a failure names the action", async () => {
  const w = await small();
  const node = await w.open("qcow2", "dir/top");
  addBitmap(node, { name: "b", persistent: true });
  await w.run(
    changeBitmap({
      node,
      bitmap: "c",
      actions: [{ verb: "add" }, { verb: "merge", source: "b" }, { verb: "disable" }, { verb: "rename", to: "d" }],
    }),
  );
  await failing(
    w.run(changeBitmap({ node, bitmap: "d", actions: [{ verb: "add" }] })),
    /^Operation add on bitmap d failed: Bitmap already exists: d$/,
  );
  await failing(
    w.run(changeBitmap({ node, bitmap: "d", actions: [{ verb: "merge", source: "e" }] })),
    /^Operation merge on bitmap d failed: Dirty bitmap 'e' not found$/,
  );
  await w.close(node);
  await sound(w, "dir/top", "after bitmaps");
});

rules.run();
