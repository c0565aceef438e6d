/** Amend and makeEmpty: the content stays (or goes), every cluster is accounted for, and what cannot be is refused in QEMU's words. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { read, write, writeZeroes } from "../../../../src/block/io.js";
import type { Node } from "../../../../src/block/node.js";
import { qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { amendImage } from "../../../../src/image/amend.js";
import { checkImage } from "../../../../src/image/check.js";
import { parseOpts } from "../../../../src/qapi/options.js";
import { random } from "../../../support/random.js";
import { makeWorld, type World } from "../../../support/world.js";

const KiB = 1024;
const MiB = 1024 * KiB;
const SIZE = 2 * MiB;
const seed = Number(process.env["SEED"] ?? Date.now() % 1e6);

interface Setting {
  w: World;
  model: Uint8Array;
}

/** An image over a backing file, with data, zeros and compressed clusters. */
async function imageOver(options: Readonly<Record<string, unknown>>, workSeed: number): Promise<Setting> {
  const w = makeWorld({ mode: "sync", drivers: [raw, qcow2], seed: 3 });
  const chance = random(workSeed);
  await w.create("raw", "base", SIZE);
  const base = await w.open("raw", "base");
  const model = new Uint8Array(SIZE);
  for (let at = 0; at < SIZE; at += 64 * KiB) model.fill(1 + chance.int(255), at, at + 48 * KiB);
  await w.run(write(base, model, 0));
  await w.close(base);
  await w.create("qcow2", "image", SIZE, { backing_file: "base", backing_fmt: "raw", ...options });
  const node = await w.open("qcow2", "image");
  for (let i = 0; i < 40; i++) {
    const offset = 512 * chance.int(SIZE / 512 - 200);
    const length = 512 * (1 + chance.int(199));
    if (chance.chance(0.4)) {
      await w.run(writeZeroes(node, offset, length, { mayUnmap: chance.chance(0.5) }));
      model.fill(0, offset, offset + length);
    } else {
      const bytes = new Uint8Array(length).fill(1 + chance.int(255));
      await w.run(write(node, bytes, offset));
      model.set(bytes, offset);
    }
  }
  await w.close(node);
  return { w, model };
}

async function amend(w: World, options: string, progress?: (done: number, total: number) => void): Promise<void> {
  const node = await w.open("qcow2", "image");
  try {
    await w.run(amendImage(node, { options: parseOpts(options).opts, onProgress: ({ done, total }) => progress?.(done, total) }));
  } finally {
    await w.close(node);
  }
}

async function holds(w: World, model: Uint8Array, label: string): Promise<void> {
  const node = await w.open("qcow2", "image", { check: true });
  const result = await w.run(checkImage(node));
  assert.is((result.corruptions ?? 0) + (result.leaks ?? 0) + result["check-errors"], 0, `${label}: ${JSON.stringify(result)}`);
  await same(w, node, model, label);
  await w.close(node);
}
async function same(w: World, node: Node, model: Uint8Array, label: string): Promise<void> {
  const bytes = new Uint8Array(model.length);
  await w.run(read(node, bytes, 0));
  assert.is(Buffer.compare(bytes, model), 0, `content, ${label}`);
}
async function specific(w: World): Promise<Record<string, unknown>> {
  const node = await w.open("qcow2", "image", {});
  const info = await w.run(node.impl.specificInfo!());
  await w.close(node);
  return info!.data;
}
async function refused(w: World, options: string, message: RegExp): Promise<void> {
  let text = "";
  await amend(w, options).catch((error: Error) => (text = error.message));
  assert.match(text, message, options);
}

const amends = suite("qcow2 amend");

for (const cluster of [512, 4 * KiB, 64 * KiB]) {
  amends(`refcount widths there and back, ${cluster}-byte clusters`, async () => {
    const { w, model } = await imageOver({ cluster_size: cluster }, seed);
    for (const bits of [64, 1, 32, 2, 8, 4, 16]) {
      let last = 0;
      await amend(w, `refcount_bits=${bits}`, (done, total) => {
        assert.ok(done <= total, `progress ${done}/${total}`);
        last = done / total;
      });
      assert.is(last, 1, "progress ends at all of it");
      assert.is((await specific(w))["refcount-bits"], bits);
      await holds(w, model, `${bits} bits, seed ${seed}`);
    }
  });
  amends(`version 2 and back, ${cluster}-byte clusters`, async () => {
    const { w, model } = await imageOver({ cluster_size: cluster }, seed + 1);
    await amend(w, "compat=0.10");
    assert.is((await specific(w))["compat"], "0.10");
    await holds(w, model, `version 2, seed ${seed + 1}`);
    await amend(w, "compat=v3,lazy_refcounts=on");
    assert.is((await specific(w))["lazy-refcounts"], true);
    await holds(w, model, `version 3, seed ${seed + 1}`);
    await amend(w, "lazy_refcounts=off,size=3M");
    const grown = new Uint8Array(3 * MiB);
    grown.set(model);
    await holds(w, grown, "larger");
  });
}

amends("snapshots keep what they saw when zero clusters become data", async () => {
  const { w, model } = await imageOver({ cluster_size: 4 * KiB }, seed + 2);
  let node = await w.open("qcow2", "image");
  const impl = node.impl;
  if (impl.shape !== "mapped") throw new Error("not mapped");
  await w.run(impl.snapshots!.create("s", { vmStateSize: 0, dateSec: 1, dateNsec: 0, vmClockNsec: 0 }));
  // The snapshot holds the data, the active layer zeros in the same place.
  await w.run(writeZeroes(node, 0, MiB));
  await w.close(node);
  const now = model.slice();
  now.fill(0, 0, MiB);
  await amend(w, "compat=0.10");
  await holds(w, now, `active layer, seed ${seed + 2}`);
  node = await w.open("qcow2", "image");
  if (node.impl.shape === "mapped") await w.run(node.impl.snapshots!.apply(node.impl.snapshots!.list()[0]!));
  await w.close(node);
  await holds(w, model, `snapshot, seed ${seed + 2}`);
});

amends("what cannot be is refused, and nothing has changed", async () => {
  const { w, model } = await imageOver({ cluster_size: 64 * KiB }, seed + 3);
  const before = w.bytes("image");
  await refused(w, "compat=0.42", /^Unknown compatibility level 0.42$/);
  await refused(w, "refcount_bits=3", /power of two and may not exceed 64 bits/);
  await refused(w, "refcount_bits=0", /power of two and may not exceed 64 bits/);
  await refused(w, "data_file=x", /data-file can only be set for images that use an external data file/);
  await refused(w, "data_file_raw=on", /data-file-raw cannot be set on existing images/);
  await refused(w, "encrypt.state=active", /encryption not present/);
  await refused(w, "backing_file=other", /Cannot amend the backing file/);
  await refused(w, "compat=0.10,refcount_bits=1", /Refcount widths other than 16 bits require compatibility level 1.1/);
  await refused(w, "compat=0.10,lazy_refcounts=on", /Lazy refcounts only supported with compatibility level 1.1/);
  await refused(w, "cluster_size=4k", /^Invalid parameter 'cluster_size'$/);
  assert.is(Buffer.compare(w.bytes("image"), before), 0, "the file is as it was");
  await holds(w, model, "after refusals");
  const extended = await imageOver({ cluster_size: 64 * KiB, extended_l2: true }, seed + 4);
  await refused(extended.w, "compat=0.10", /Cannot downgrade an image with incompatible features 0x10 set/);
  await holds(extended.w, extended.model, `extended, seed ${seed + 4}`);
});

amends("a refcount that does not fit stops a narrower width", async () => {
  const { w, model } = await imageOver({ cluster_size: 4 * KiB }, seed + 5);
  const node = await w.open("qcow2", "image");
  if (node.impl.shape === "mapped")
    await w.run(node.impl.snapshots!.create("s", { vmStateSize: 0, dateSec: 1, dateNsec: 0, vmClockNsec: 0 }));
  await w.close(node);
  await refused(
    w,
    "refcount_bits=1",
    /Cannot decrease refcount entry width to 1 bits: Cluster at offset 0x[0-9a-f]+ has a refcount of 2/,
  );
  await holds(w, model, `after that, seed ${seed + 5}`);
  await amend(w, "refcount_bits=2");
  await holds(w, model, "2 bits");
});

amends("an emptied image shows its backing file and gives its space back", async () => {
  for (const options of [
    { cluster_size: 512, refcount_bits: 1 },
    { cluster_size: 64 * KiB },
    { compat: "0.10", cluster_size: 4 * KiB },
    { cluster_size: 16 * KiB, extended_l2: true },
  ]) {
    const { w } = await imageOver(options, seed + 6);
    const node = await w.open("qcow2", "image");
    const bytes = new Uint8Array(SIZE);
    if (node.impl.shape === "mapped") await w.run(node.impl.makeEmpty!());
    const below = new Uint8Array(SIZE);
    await w.run(read(node.backing!, below, 0));
    await w.run(read(node, bytes, 0));
    assert.is(Buffer.compare(bytes, below), 0);
    // It can be used as before.
    await w.run(write(node, new Uint8Array(700).fill(7), 12_345));
    below.fill(7, 12_345, 12_345 + 700);
    await w.close(node);
    await holds(w, below, `emptied, seed ${seed + 6}`);
    assert.ok(
      w.bytes("image").length <= 12 * options.cluster_size,
      `${w.bytes("image").length} bytes are left, ${JSON.stringify(options)}`,
    );
  }
});

amends.run();
