/** Jobs over one chain that end at about the same time: what one changes of the graph the other must not trip over. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { equalBytes } from "../../../src/base/bytes.js";
import { KiB } from "../../../src/base/int.js";
import { BlockCore, create, memoryStorage, open, type JobHandle, type MemoryStorage } from "../../../src/edge.js";
import type { Storage } from "../../../src/storage/storage.js";
import { delayed } from "../../support/delayed.js";
import { chooseSeed, random, type Random } from "../../support/random.js";

const SIZE = 256 * KiB;
const LAYERS = 8;
const ROUNDS = 24;
const layer = (i: number): string => `n${i}`;

/** n0 ← … ← n7, each with some data of its own, in storages that answer after seeded delays. */
async function setUp(chance: Random): Promise<{ core: BlockCore; model: Uint8Array }> {
  const media: Record<string, MemoryStorage> = {};
  const model = new Uint8Array(SIZE);
  for (let i = 0; i < LAYERS; i++) {
    const medium = memoryStorage(0, { name: layer(i) });
    media[layer(i)] = medium;
    const backed = i === 0 ? {} : { backing: layer(i - 1), backingFormat: "qcow2" };
    await create(medium, { format: "qcow2", size: SIZE, cluster_size: 4 * KiB, ...backed });
    const image = await open(medium, { format: "qcow2", writable: true, references: ({ filename }) => media[filename]! });
    for (let n = 0; n < 3; n++) {
      const bytes = chance.bytes(1 + chance.int(20 * KiB));
      const at = chance.int(SIZE - bytes.length);
      await image.write(bytes, at);
      model.set(bytes, at);
    }
    await image.close();
  }
  const slow = (medium: MemoryStorage): Storage => ({
    kind: "memory",
    name: medium.name,
    readOnly: false,
    alignment: 1,
    fixedSize: false,
    sync: null,
    async: delayed(medium.sync, chance),
    reopen: () => slow(medium),
  });
  const core = new BlockCore({ files: Object.fromEntries(Object.entries(media).map(([name, medium]) => [name, slow(medium)])) });
  // Only the last layer is the user's: those that a job drops are closed.
  let chain: object | null = null;
  for (let i = 0; i < LAYERS; i++) {
    const file = { driver: "file", filename: layer(i) } as const;
    chain = { driver: "qcow2", "node-name": layer(i), file, backing: chain };
  }
  await core.execute("blockdev-add", chain as never);
  return { core, model };
}

/** Streams what lies between two layers into the upper one. */
const stream = (core: BlockCore, base: number | "filter", into: number): Promise<JobHandle> =>
  core.start("block-stream", {
    "job-id": "stream",
    device: layer(into),
    "base-node": base === "filter" ? base : layer(base),
    "auto-finalize": false,
  });
/** Commits down to `base`, from the layer `top`: the active one if that is the last. */
const commit = (core: BlockCore, base: number, top: number): Promise<JobHandle> =>
  core.start("block-commit", {
    "job-id": "commit",
    device: layer(LAYERS - 1),
    "base-node": layer(base),
    "filter-node-name": "filter",
    "auto-finalize": false,
    ...(top === LAYERS - 1 ? {} : { "top-node": layer(top) }),
  });

// The pairs that QEMU's own tests have (iotest 030), and their neighbours; then the layer that reads as the disk, and how many below it.
for (const [name, begin, disk, depth] of [
  ["a stream below an active commit", [(c) => stream(c, 0, 2), (c) => commit(c, 3, 7)], 3, 2],
  ["a stream up to the base of an active commit", [(c) => stream(c, 0, 4), (c) => commit(c, 5, 7)], 5, 2],
  ["a commit below a stream", [(c) => commit(c, 0, 2), (c) => stream(c, 4, 6)], 7, 4],
  ["a stream down to a commit", [(c) => commit(c, 0, 1), (c) => stream(c, "filter", 4)], 7, 4],
  ["a stream below a commit", [(c) => stream(c, 0, 2), (c) => commit(c, 3, 5)], 7, 4],
] as [string, ((core: BlockCore) => Promise<JobHandle>)[], number, number][]) {
  test(`${name}: both end well, in every order`, async () => {
    const first = chooseSeed();
    console.log(`${name}: SEED=${first}`);
    for (let round = 0; round < ROUNDS; round++) {
      const seed = (first + round) >>> 0;
      const chance = random(seed);
      const { core, model } = await setUp(chance);
      try {
        const jobs: JobHandle[] = [];
        for (const start of begin) jobs.push(await start(core));
        const active = jobs.find((job) => job.id === "commit" && disk < LAYERS - 1);
        void active?.ready.then(() => active.complete()).catch(() => {});
        await Promise.all(jobs.map((job) => job.pending));
        if (chance.chance(0.5)) jobs.reverse();
        await Promise.all(jobs.map((job) => job.finalize()));
        const guest = core.disk(layer(disk));
        assert.ok(equalBytes(await guest.read(0, SIZE), model), "content");
        await guest.close();
        const nodes = await core.execute("query-named-block-nodes");
        assert.is(nodes.find((node) => node["node-name"] === layer(disk))!.backing_file_depth, depth);
        assert.equal(await core.execute("query-block-jobs"), []);
        await core.close();
      } catch (error) {
        assert.unreachable(`seed ${seed}: ${(error as Error).stack}`);
      }
    }
  });
}

test.run();
