/** Refcount structures that outgrow their table while space is being taken. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ExtentList } from "../../../../src/block/extent.js";
import { discard, read, truncate, write } from "../../../../src/block/io.js";
import { imageOf, qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { makeWorld } from "../../../support/world.js";

const MB = 1024 * 1024;

test("a refcount block that the larger table needed itself is not made a second time", async () => {
  // 64-bit refcounts in clusters of 512 bytes: one cluster of the table covers 2 MiB of the file.
  const world = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
  await world.create("qcow2", "image", 8 * MB, { cluster_size: 512, refcount_bits: 64 });
  const node = await world.open("qcow2", "image");
  // Cluster by cluster, so that the first one behind 2 MiB is asked for alone.
  const clusters = (3 * MB) / 512;
  for (let i = 0; i < clusters; i++) await world.run(write(node, new Uint8Array(512).fill(i), i * 512));
  const { impl } = node;
  assert.ok(impl.shape === "mapped");
  const problems: string[] = [];
  const found = await world.run(impl.check!({ fix: "none", report: (problem) => problems.push(problem.text) }));
  assert.equal(problems, []);
  assert.is(found["check-errors"], 0);
  const back = new Uint8Array(clusters * 512);
  await world.run(read(node, back, 0));
  for (let i = 0; i < clusters; i++) assert.is(back[i * 512 + 7], i & 255);
  await world.close(node);
});

test("a run of data clusters stays whole when it needs a new refcount block", async () => {
  const world = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
  await world.create("qcow2", "image", MB, { cluster_size: 1024, refcount_bits: 64 });
  const node = await world.open("qcow2", "image");
  await world.run(write(node, new Uint8Array(124 * 1024).fill(1), 0));
  const { impl } = node;
  assert.ok(impl.shape === "mapped");
  const list = new ExtentList();
  impl.map(0, 124 * 1024, list);
  assert.is(list.count, 1);
  // Header, refcount table, refcount block, L1, L2; the second refcount block comes behind the data.
  assert.is(list.at(0).host, 5 * 1024);
  await world.close(node);
});

test("discarding and writing without a flush does not make the file grow and grow", async () => {
  const world = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
  await world.create("qcow2", "image", 8 * MB, {});
  const node = await world.open("qcow2", "image", { write: true, unmap: true });
  for (let i = 0; i < 20; i++) {
    await world.run(write(node, new Uint8Array(4 * MB).fill(i + 1), 0));
    await world.run(discard(node, 0, 4 * MB));
  }
  const { size } = node.file;
  assert.ok(size < 26 * MB, `${size} bytes for 4 MiB`);
  await world.close(node);
});

test("a disk made smaller leaves no refcount blocks behind that count nothing", async () => {
  const KiB = 1024;
  for (const order of [
    [0, 1, 2, 3, 4, 5],
    [5, 4, 3, 2, 1, 0],
    [3, 5, 0, 4, 1, 2],
  ]) {
    const world = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
    await world.create("qcow2", "image", 3 * MB, { cluster_size: 512, refcount_bits: 64 });
    const node = await world.open("qcow2", "image");
    for (const i of order) await world.run(write(node, new Uint8Array(256 * KiB).fill(i + 1), i * 512 * KiB));
    await world.run(truncate(node, MB, { preallocation: "off" }));
    const { allocator } = imageOf(node.impl);
    const bytes = world.bytes("image");
    let blocks = 0;
    for (let i = 0; i < allocator.tableEntries; i++) {
      const at = allocator.blockOffset(i);
      if (at === 0) continue;
      blocks++;
      const only = (Math.floor(at / 512) % 64) * 8;
      assert.ok(
        bytes.subarray(at, at + 512).some((byte, n) => byte !== 0 && (Math.floor(at / 512 / 64) !== i || n - (n % 8) !== only)),
        `block ${i} is empty`,
      );
    }
    assert.ok(blocks > 0 && blocks < 3 * 16, `${blocks} blocks`);
    await world.run(write(node, new Uint8Array(MB).fill(9), 0));
    await world.close(node);
    const checked = await world.open("qcow2", "image", { check: true });
    const problems: string[] = [];
    assert.ok(checked.impl.shape === "mapped");
    await world.run(checked.impl.check!({ fix: "none", report: (problem) => problems.push(problem.text) }));
    assert.equal(problems, []);
    await world.close(checked);
  }
});

test.run();
