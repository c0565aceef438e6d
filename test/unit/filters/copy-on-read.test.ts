/** copy-on-read: what is read from below is found in the image afterwards, and nothing else changes. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { allFilters } from "../../../src/platform/all-filters.js";
import { read, write } from "../../../src/block/io.js";
import { blockStatus } from "../../../src/block/status.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { random } from "../../support/random.js";
import { makeWorld, MODES } from "../../support/world.js";

const SIZE = 1024 * 1024 + 512;
const CLUSTER = 65536;

for (const mode of MODES) {
  test(`reads are copied up (${mode})`, async () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const chance = random(seed);
    const on = makeWorld({ mode, drivers: [raw, qcow2, ...allFilters], seed });
    await on.create("qcow2", "base", SIZE);
    const model = new Uint8Array(SIZE);
    const base = await on.open("qcow2", "base");
    const part = new Uint8Array(600_000).map(() => chance.int(255));
    await on.run(write(base, part, 100_000));
    model.set(part, 100_000);
    await on.close(base);
    await on.create("qcow2", "top", SIZE, { backing_file: "base", backing_fmt: "qcow2" });
    const before = on.bytes("base");
    const node = await on.open("copy-on-read", "top");
    assert.is(node.driver.name, "copy-on-read");
    assert.is(node.child("file")!.driver.name, "qcow2", "the image is probed, as without the filter");
    for (let round = 0; round < 6; round++) {
      const buffers: { at: number; into: Uint8Array }[] = [];
      const ops = [];
      for (let i = 0; i < 3; i++) {
        const at = chance.int(SIZE - 1);
        const into = new Uint8Array(1 + chance.int(Math.min(200_000, SIZE - at - 1)));
        buffers.push({ at, into });
        ops.push(read(node, into, at));
      }
      const outcomes = await on.runAll(ops);
      for (const outcome of outcomes) assert.ok(outcome.ok, `seed ${seed}: ${String((outcome as { error?: unknown }).error)}`);
      for (const { at, into } of buffers) {
        assert.equal(into, model.slice(at, at + into.length), `seed ${seed}`);
        const status = await on.run(blockStatus(node.child("file")!, at, 1));
        assert.is(status.depth, 0, `seed ${seed}: not copied at ${at}`);
      }
      const at = chance.int(SIZE - 5000);
      const data = new Uint8Array(5000).fill(round + 1);
      await on.run(write(node, data, at));
      model.set(data, at);
    }
    const all = new Uint8Array(SIZE);
    await on.run(read(node, all, 0));
    assert.equal(all, model, `seed ${seed}`);
    await on.close(node);
    assert.equal(on.bytes("base"), before);
  });
}

test("only the clusters that are touched are copied", async () => {
  const on = makeWorld({ mode: "sync", drivers: [raw, qcow2, ...allFilters] });
  await on.create("qcow2", "base", SIZE);
  const base = await on.open("qcow2", "base");
  await on.run(write(base, new Uint8Array(SIZE).fill(1), 0));
  await on.run(write(base, new Uint8Array(CLUSTER), 6 * CLUSTER));
  await on.close(base);
  await on.create("qcow2", "top", SIZE, { backing_file: "base", backing_fmt: "qcow2" });
  const node = await on.open("copy-on-read", "top");
  await on.run(read(node, new Uint8Array(10), 3 * CLUSTER + 5));
  const status = await on.run(blockStatus(node.child("file")!, 3 * CLUSTER, CLUSTER * 2));
  assert.is(status.depth, 0);
  assert.is(status.length, CLUSTER);
  assert.is((await on.run(blockStatus(node.child("file")!, 2 * CLUSTER, CLUSTER))).depth, 1);
  const copied = new Uint8Array(CLUSTER);
  await on.run(read(node.child("file")!, copied, 3 * CLUSTER));
  assert.ok(copied.every((byte) => byte === 1));
  assert.not.ok((await on.run(blockStatus(node.child("file")!, 3 * CLUSTER, CLUSTER))).zero);
  // Zeros are copied as such: they take no cluster of data.
  await on.run(read(node, new Uint8Array(10), 6 * CLUSTER + 5));
  const zeros = await on.run(blockStatus(node.child("file")!, 6 * CLUSTER, CLUSTER));
  assert.equal([zeros.depth, zeros.zero, zeros.data], [0, true, false]);
  await on.close(node);
});

test("a read-only image is refused", async () => {
  const on = makeWorld({ mode: "sync", drivers: [raw, qcow2, ...allFilters] });
  await on.create("qcow2", "top", SIZE);
  try {
    await on.open("copy-on-read", "top", { write: false });
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, "Block node is read-only");
  }
});

test.run();
