/** Persistent dirty bitmaps: what is kept, what is believed, and what is refused. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readU64BE, viewOf } from "../../../../src/base/bytes.js";
import { read, truncate, write, writeZeroes } from "../../../../src/block/io.js";
import {
  addBitmap,
  clearBitmap,
  enableBitmap,
  getBitmap,
  mergeBitmaps,
  removeBitmap,
  renameBitmap,
} from "../../../../src/block/named-bitmap.js";
import type { Node } from "../../../../src/block/node.js";
import { setWritable } from "../../../../src/block/reopen.js";
import type { BitmapInfo } from "../../../../src/block/types.js";
import { qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { checkImage } from "../../../../src/image/check.js";
import { makeWorld, MODES, type World } from "../../../support/world.js";

const MiB = 1048576;
const world = (mode: World["mode"] = "sync"): World => makeWorld({ mode, drivers: [raw, qcow2], seed: 5 });

function stored(node: Node): BitmapInfo[] {
  const impl = node.impl;
  return impl.shape === "mapped" ? impl.bitmaps!.list() : [];
}
async function runs(w: World, node: Node, name: string): Promise<[number, number][]> {
  return [...(await w.run(getBitmap(node, name).load())).runs()].map(({ offset, length }) => [offset, length]);
}
async function clean(w: World): Promise<void> {
  const node = await w.open("qcow2", "image", { check: true });
  const result = await w.run(checkImage(node));
  await w.close(node);
  assert.is((result.corruptions ?? 0) + (result.leaks ?? 0) + result["check-errors"], 0, JSON.stringify(result));
}

for (const mode of MODES) {
  const bitmaps = suite(`qcow2 bitmaps, ${mode}`);
  bitmaps("follow writes over several sessions", async () => {
    const w = world(mode);
    await w.create("qcow2", "image", 64 * MiB);
    let node = await w.open("qcow2", "image");
    addBitmap(node, { name: "b0", persistent: true });
    addBitmap(node, { name: "off", granularity: 512, persistent: true, disabled: true });
    await w.run(write(node, new Uint8Array(100).fill(1), 5 * MiB));
    await w.close(node);
    await clean(w);
    node = await w.open("qcow2", "image");
    await w.run(writeZeroes(node, 40 * MiB, 3 * MiB));
    await w.close(node);
    await clean(w);
    node = await w.open("qcow2", "image", {});
    assert.equal(
      stored(node)
        .map(({ name, flags }) => [name, ...flags])
        .sort(),
      [["b0", "auto"], ["off"]],
    );
    assert.equal(await runs(w, node, "b0"), [
      [5 * MiB, 65536],
      [40 * MiB, 3 * MiB],
    ]);
    assert.equal(await runs(w, node, "off"), []);
    assert.throws(() => clearBitmap(node, "b0"), /readonly/);
    await w.close(node);
  });
  bitmaps.run();
}

const rules = suite("qcow2 bitmaps: rules");

rules("one that was in use when the session died is not believed", async () => {
  const w = world();
  await w.create("qcow2", "image", 8 * MiB);
  let node = await w.open("qcow2", "image");
  addBitmap(node, { name: "b", persistent: true });
  await w.close(node);
  node = await w.open("qcow2", "image");
  await w.run(write(node, new Uint8Array(512).fill(1), 0));
  // The process dies here: the medium stays as it is.
  const medium = w.bytes("image");
  await w.close(node);
  const after = world();
  await after.create("raw", "image", 0);
  after.files.get("image")!.sync.write(medium, 0);
  node = await after.open("qcow2", "image");
  assert.equal(stored(node), [{ name: "b", granularity: 65536, flags: ["in-use", "auto"] }]);
  assert.throws(() => clearBitmap(node, "b"), /Bitmap 'b' is inconsistent and cannot be used/);
  assert.throws(() => enableBitmap(node, "b", false), /inconsistent/);
  assert.throws(() => after.environment && renameBitmap(node, "b", "c"), /inconsistent/);
  let message = "";
  await after.run(truncate(node, 16 * MiB, { preallocation: "off" })).catch((error: Error) => (message = error.message));
  assert.match(message, /inconsistent/);
  await after.run(removeBitmap(node, "b"));
  assert.equal(stored(node), []);
  await after.close(node);
  await clean(after);
});

rules("a writer that does not know bitmaps makes all of them worthless", async () => {
  const w = world();
  await w.create("qcow2", "image", 8 * MiB);
  let node = await w.open("qcow2", "image");
  addBitmap(node, { name: "b", persistent: true });
  await w.close(node);
  w.files.get("image")!.sync.write(new Uint8Array(8), 88); // autoclear bits
  node = await w.open("qcow2", "image");
  assert.equal(stored(node), []);
  assert.ok(
    w.warnings.some((text) => text.startsWith("a program lacking bitmap support modified this file")),
    w.warnings.join(),
  );
  await w.close(node);
});

rules("resize takes them along", async () => {
  const w = world();
  await w.create("qcow2", "image", 64 * MiB, { cluster_size: 512 });
  let node = await w.open("qcow2", "image");
  addBitmap(node, { name: "b", granularity: 512, persistent: true });
  await w.run(write(node, new Uint8Array(MiB).fill(1), 63 * MiB));
  await w.run(write(node, new Uint8Array(512).fill(1), 1024));
  await w.close(node);
  for (const size of [80 * MiB, 8 * MiB]) {
    node = await w.open("qcow2", "image");
    await w.run(truncate(node, size, { preallocation: "off" }));
    await w.close(node);
    await clean(w);
  }
  node = await w.open("qcow2", "image");
  assert.is(getBitmap(node, "b").bits.size, 8 * MiB);
  assert.equal(await runs(w, node, "b"), [[1024, 512]]);
  await w.close(node);
});

rules("rename, merge, remove and other granularities", async () => {
  const w = world();
  await w.create("qcow2", "image", 8 * MiB);
  let node = await w.open("qcow2", "image");
  addBitmap(node, { name: "a", granularity: 512, persistent: true });
  await w.run(write(node, new Uint8Array(512).fill(1), MiB + 512));
  await w.close(node);
  node = await w.open("qcow2", "image");
  renameBitmap(node, "a", "a much longer name than before");
  addBitmap(node, { name: "m", granularity: MiB, persistent: true, disabled: true });
  await w.run(mergeBitmaps(node, "m", [{ node, name: "a much longer name than before" }]));
  await w.close(node);
  await clean(w);
  node = await w.open("qcow2", "image");
  assert.equal(await runs(w, node, "a much longer name than before"), [[MiB + 512, 512]]);
  assert.equal(await runs(w, node, "m"), [[MiB, MiB]]);
  await w.run(removeBitmap(node, "a much longer name than before"));
  await w.close(node);
  await clean(w);
  node = await w.open("qcow2", "image", {});
  assert.equal(
    stored(node).map(({ name }) => name),
    ["m"],
  );
  await w.close(node);
});

rules("becoming read-only stores them, becoming writable marks them", async () => {
  const w = world();
  await w.create("qcow2", "image", 8 * MiB);
  const node = await w.open("qcow2", "image");
  addBitmap(node, { name: "b", persistent: true });
  await w.run(write(node, new Uint8Array(512).fill(1), 0));
  await w.run(setWritable(node, false));
  assert.equal(stored(node)[0]!.flags, ["auto"]);
  await w.run(setWritable(node, true));
  assert.equal(stored(node)[0]!.flags, ["in-use", "auto"]);
  await w.run(write(node, new Uint8Array(512).fill(1), MiB));
  await w.close(node);
  await clean(w);
  const again = await w.open("qcow2", "image", {});
  assert.equal(await runs(w, again, "b"), [
    [0, 65536],
    [MiB, 65536],
  ]);
  await w.close(again);
});

rules("what a format cannot hold is refused", async () => {
  const w = world();
  await w.create("qcow2", "old", MiB, { compat: "0.10" });
  let node = await w.open("qcow2", "old");
  assert.throws(() => addBitmap(node, { name: "b", persistent: true }), /Cannot store dirty bitmaps in qcow2 v2 files/);
  addBitmap(node, { name: "b" });
  await w.close(node);
  await w.create("qcow2", "image", MiB);
  node = await w.open("qcow2", "image");
  assert.throws(() => addBitmap(node, { name: "b", granularity: 2 ** 32, persistent: true }), /Granularity exceeds maximum/);
  assert.throws(() => addBitmap(node, { name: "b", granularity: 256, persistent: true }), /at least 512/);
  assert.throws(() => addBitmap(node, { name: "x".repeat(1024), persistent: true }), /Name length exceeds maximum/);
  assert.throws(() => addBitmap(node, { name: "", persistent: true }), /cannot be empty/);
  await w.close(node);
});

rules("a write that fails leaves its mark, and content is what was written", async () => {
  const w = world();
  await w.create("qcow2", "image", MiB);
  const node = await w.open("qcow2", "image");
  const bitmap = addBitmap(node, { name: "b" });
  enableBitmap(node, "b", false);
  await w.run(write(node, new Uint8Array(512).fill(7), 0));
  assert.is(bitmap.bits.count, 0);
  bitmap.freeze === undefined || enableBitmap(node, "b", true);
  await w.run(write(node, new Uint8Array(512).fill(8), 512));
  bitmap.freeze("job");
  await w.run(write(node, new Uint8Array(512).fill(9), 512 * 1024));
  assert.is(bitmap.bits.count, 65536, "writes go elsewhere while a job has the bitmap");
  assert.throws(() => clearBitmap(node, "b"), /currently in use by another operation/);
  bitmap.abdicate();
  assert.equal([...bitmap.bits.runs()], [{ offset: 512 * 1024, length: 65536 }]);
  const back = new Uint8Array(512);
  await w.run(read(node, back, 512));
  assert.is(back[0], 8);
  await w.close(node);
});

rules("tables lie in the file in the order of the directory", async () => {
  const w = world();
  await w.create("qcow2", "image", 8 * MiB);
  for (const name of ["b1", "b2", "b3", null]) {
    const node = await w.open("qcow2", "image");
    if (name !== null) addBitmap(node, { name, persistent: true });
    await w.run(write(node, new Uint8Array(512).fill(1), MiB));
    await w.close(node);
  }
  const view = viewOf(w.bytes("image"));
  let at = view.getUint32(100);
  while (view.getUint32(at) !== 0x23852875) at += 8 + view.getUint32(at + 4);
  const directory = readU64BE(view, at + 24);
  // Entries of 24 bytes and a name of two, to the next multiple of 8.
  const tables = [0, 1, 2].map((i) => readU64BE(view, directory + i * 32));
  assert.equal(
    tables,
    [...tables].sort((a, b) => a - b),
  );
  await clean(w);
});

rules.run();
