/** Tables larger than the memory for them: pages come and go, and nothing set is lost. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { errnoError } from "../../../../src/base/error.js";
import { flush, read, write } from "../../../../src/block/io.js";
import { openNode } from "../../../../src/block/open.js";
import { StorageRequest } from "../../../../src/block/op.js";
import { storageNode } from "../../../../src/block/storage-node.js";
import { BlockTable } from "../../../../src/formats/shared/block-table.js";
import { parallels } from "../../../../src/formats/parallels/parallels.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { chooseSeed, random } from "../../../support/random.js";
import { makeWorld, MODES } from "../../../support/world.js";

const SECTOR = 512;
const SIZE = 150 * 1024 * 1024;

for (const mode of MODES) {
  test(`an image with 300 000 clusters and memory for 65 536 (${mode})`, async () => {
    const seed = chooseSeed();
    console.log(`SEED=${seed}`);
    const chance = random(seed);
    const world = makeWorld({ mode, drivers: [raw, parallels], seed });
    await world.create("parallels", "image", SIZE, { cluster_size: SECTOR });
    const environment = { ...world.environment, memoryBudget: 1 };
    const open = () => world.run(openNode(environment, { driver: "parallels", filename: "image", flags: { write: true } }));
    let node = await open();
    const model = new Map<number, number>();
    for (let round = 0; round < 60; round++) {
      const writes = Array.from({ length: 8 }, () => ({ sector: chance.int(SIZE / SECTOR), fill: 1 + chance.int(255) }));
      const distinct = writes.filter(({ sector }, i) => writes.findIndex((other) => other.sector === sector) === i);
      const ops = distinct.map(({ sector, fill }) => write(node, new Uint8Array(SECTOR).fill(fill), sector * SECTOR));
      if (chance.chance(0.3)) ops.push(flush(node));
      for (const outcome of await world.runAll(ops)) if (!outcome.ok) throw outcome.error;
      for (const { sector, fill } of distinct) model.set(sector, fill);
      if (chance.chance(0.05)) {
        await world.close(node);
        node = await open();
      }
    }
    const checkAll = async (): Promise<void> => {
      for (const [sector, fill] of model) {
        const bytes = new Uint8Array(SECTOR * 3);
        const from = Math.min(Math.max(0, sector - 1), SIZE / SECTOR - 3);
        await world.run(read(node, bytes, from * SECTOR));
        for (let i = 0; i < 3; i++)
          assert.is(bytes[i * SECTOR], model.get(from + i) ?? 0, `sector ${from + i}, beside ${sector} (${fill})`);
      }
    };
    await checkAll();
    await world.close(node);
    node = await open();
    await checkAll();
    await world.close(node);
  });
}

test("what could not be written back is written the next time", async () => {
  let failing = false;
  const world = makeWorld({
    mode: "seeded",
    drivers: [raw],
    before: (request) => {
      if (failing && request instanceof StorageRequest && request.verb === "write") throw errnoError("EIO");
    },
  });
  const storage = memoryStorage(1024);
  const file = await world.run(storageNode(world.environment, storage));
  const table = new BlockTable({ file, offset: 512, count: 10, bigEndian: true, budget: 1 });
  await world.run(table.ensure(3));
  table.set(3, 0x01020304);
  table.set(9, 0xfffffffe);
  let runs = table.takeDirty();
  failing = true;
  try {
    await world.run(table.writeBack(runs));
    assert.unreachable();
  } catch {
    table.settle(runs, false);
  }
  failing = false;
  runs = table.takeDirty();
  assert.is(runs.length, 1);
  await world.run(table.writeBack(runs));
  table.settle(runs, true);
  assert.equal(table.takeDirty(), []);
  assert.equal([...storage.toBytes(512 + 12, 4)], [1, 2, 3, 4]);
  assert.equal([...storage.toBytes(512 + 36, 8)], [255, 255, 255, 254, 0, 0, 0, 0]);
});

test("entries behind the end of the file are zeros until they are set", async () => {
  const world = makeWorld({ mode: "sync", drivers: [raw] });
  const file = await world.run(storageNode(world.environment, memoryStorage(100)));
  const table = new BlockTable({ file, offset: 64, count: 1 << 28, bigEndian: false, budget: 1 });
  assert.is(table.storedCount, 9);
  const entries = await world.run(table.ensure(200_000_000));
  assert.ok(entries.every((entry) => entry === 0));
  table.set(200_000_000, 5);
  assert.is(table.storedCount, 200_000_001);
});

test.run();
