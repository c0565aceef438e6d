/** Compressed clusters that are read and decompressed together: neighbours in the file, out of order, in part, damaged. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../../src/base/error.js";
import { ExtentList } from "../../../../src/block/extent.js";
import { readBytes, write } from "../../../../src/block/io.js";
import type { Node } from "../../../../src/block/node.js";
import type { Codecs } from "../../../../src/codec/codec.js";
import { nodeCodecs } from "../../../../src/codec/node-codecs.js";
import { portableCodecs } from "../../../../src/codec/portable.js";
import { qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { random, same, sample } from "../../codec/sample.js";
import { makeWorld, MODES, type World } from "../../../support/world.js";

const SEED = Number(process.env["SEED"] ?? 20261121);
console.log(`read-compressed.test seed ${SEED}`);
const KiB = 1024;
await portableCodecs.load("zstd");
await nodeCodecs.load("zstd");

/** With Node's codecs, which take many clusters at a time, or the portable ones, which do not. */
function worldWith(mode: World["mode"], codecs: Codecs): World {
  const world = makeWorld({ mode, drivers: [qcow2], seed: SEED });
  (world.environment as { codecs: Codecs }).codecs = codecs;
  return world;
}
const compressed = suite("reading compressed clusters");

/** Every kind of cluster, compressed ones rewritten so that they lie out of order; what the image holds. */
async function fill(world: World, node: Node, size: number, cluster: number): Promise<Uint8Array> {
  const next = random(SEED);
  const model = new Uint8Array(size);
  for (let i = 0; i < (3 * size) / cluster; i++) {
    const at = Math.floor(next() * (size / cluster)) * cluster;
    const bytes = sample(Math.min(cluster, size - at), SEED + i);
    await world.run(write(node, bytes, at, { compressed: next() < 0.8 }));
    model.set(bytes, at);
  }
  return model;
}

for (const mode of MODES)
  for (const [what, options] of [
    ["zlib, clusters of 64 KiB", { cluster_size: 64 * KiB }],
    ["zstd, clusters of 4 KiB", { cluster_size: 4 * KiB, compression_type: "zstd" }],
    ["clusters of 1 MiB", { cluster_size: 1024 * KiB }],
    ["subclusters", { cluster_size: 64 * KiB, extended_l2: true }],
  ] as const)
    compressed(`${mode}, ${what}: any range reads as it was written`, async () => {
      const cluster = options.cluster_size;
      const size = 40 * cluster + 512;
      const world = worldWith(mode, mode === "async" ? portableCodecs : nodeCodecs);
      await world.create("qcow2", "a", size, options);
      let node = await world.open("qcow2", "a");
      const model = await fill(world, node, size, cluster);
      await world.close(node);
      node = await world.open("qcow2", "a");
      same(await world.run(readBytes(node, 0, size)), model, "all");
      const next = random(SEED);
      for (let i = 0; i < 30; i++) {
        const at = Math.floor(next() * size);
        const length = Math.floor(next() * Math.min(size - at, 6 * cluster));
        same(await world.run(readBytes(node, at, length)), model.subarray(at, at + length), `${length} bytes at ${at}`);
      }
      await world.close(node);
    });

for (const [who, codecs] of [
  ["node", nodeCodecs],
  ["portable", portableCodecs],
] as const)
  compressed(`${who}: a damaged cluster among sound ones is named by its place in the file`, async () => {
    const world = worldWith("sync", codecs);
    await world.create("qcow2", "a", 640 * KiB, {});
    let node = await world.open("qcow2", "a");
    const plain = sample(640 * KiB, SEED);
    await world.run(write(node, plain, 0, { compressed: true }));
    const list = new ExtentList();
    assert.is(node.impl.shape, "mapped");
    if (node.impl.shape === "mapped") assert.is(node.impl.map(0, node.size, list), null);
    const { host, start } = list.at(5);
    await world.run(write(node.file, new Uint8Array(2000).fill(255), host));
    await world.close(node);
    node = await world.open("qcow2", "a");
    try {
      await world.run(readBytes(node, 0, node.size));
      assert.unreachable("read");
    } catch (error) {
      assert.instance(error, BlockError);
      assert.is((error as BlockError).code, "ERR_CORRUPT");
      assert.is((error as BlockError).offset, host);
    }
    same(await world.run(readBytes(node, 0, start)), plain.subarray(0, start), "what is before it");
    await world.close(node);
  });

compressed.run();
