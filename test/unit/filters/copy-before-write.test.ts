/** copy-before-write and snapshot-access: the disk as it was stays readable while the guest goes on writing. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { allFilters } from "../../../src/platform/all-filters.js";
import type { BlockdevOptions } from "../../../src/block/context.js";
import { discard, read, write, writeZeroes } from "../../../src/block/io.js";
import type { Node } from "../../../src/block/node.js";
import { openNode } from "../../../src/block/open.js";
import type { Op } from "../../../src/block/op.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../src/storage/memory.js";
import { random } from "../../support/random.js";
import { makeWorld, MODES, type Mode, type World } from "../../support/world.js";

const SIZE = 1024 * 1024 + 3 * 512;

async function setUp(
  mode: Mode,
  seed: number,
  options: BlockdevOptions = {},
  targetFile: BlockdevOptions = {},
): Promise<{ on: World; guest: Node; snapshot: Node; before: Uint8Array }> {
  const on = makeWorld({ mode, drivers: [raw, qcow2, ...allFilters], seed });
  const before = random(seed).bytes(SIZE);
  on.files.set("disk", memoryStorage(before, { name: "disk" }));
  await on.create("qcow2", "target", SIZE);
  const open = (driver: string, given: BlockdevOptions, writing: boolean): Promise<Node> =>
    on.run(openNode(on.environment, { driver, options: given, flags: { write: writing, unmap: true } }));
  const file = { driver: "file", filename: "target" };
  const target = Object.keys(targetFile).length === 0 ? file : { ...targetFile, image: file };
  const guest = await open(
    "copy-before-write",
    {
      file: { driver: "raw", file: { driver: "file", filename: "disk" } },
      target: { driver: "qcow2", file: target },
      ...options,
    },
    true,
  );
  const snapshot = await open("snapshot-access", { file: guest }, false);
  return { on, guest, snapshot, before };
}

async function errnoOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "none",
    (error: unknown) => (error as { errno: string }).errno,
  );
}

for (const mode of MODES) {
  test(`the snapshot does not change (${mode})`, async () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const chance = random(seed);
    const { on, guest, snapshot, before } = await setUp(mode, seed);
    for (let round = 0; round < 12; round++) {
      const ops: Op<unknown>[] = [];
      const looks: { into: Uint8Array; at: number }[] = [];
      for (let i = 0; i < 3; i++) {
        const at = chance.int(SIZE - 100_000);
        const length = 1 + chance.int(100_000);
        ops.push(
          chance.chance(0.7)
            ? write(guest, chance.bytes(length), at)
            : chance.chance(0.5)
              ? writeZeroes(guest, at, length)
              : discard(guest, at, length),
        );
        const look = { into: new Uint8Array(1 + chance.int(200_000)), at: chance.int(SIZE - 200_001) };
        looks.push(look);
        ops.push(read(snapshot, look.into, look.at));
      }
      for (const outcome of await on.runAll(ops))
        assert.ok(outcome.ok, `seed ${seed}: ${String((outcome as { error?: unknown }).error)}`);
      for (const { into, at } of looks) assert.equal(into, before.slice(at, at + into.length), `seed ${seed}`);
    }
    const all = new Uint8Array(SIZE);
    await on.run(read(snapshot, all, 0));
    assert.equal(all, before, `seed ${seed}`);
    await on.close(snapshot);
    await on.close(guest);
    assert.not.equal(on.bytes("disk"), before);
  });
}

const FAILING: BlockdevOptions = { driver: "blkdebug", "inject-error": [{ event: "write_aio", errno: 28 }] };

test("a copy that fails breaks the guest's write, or the snapshot, as was asked for", async () => {
  const first = await setUp("sync", 1, {}, FAILING);
  assert.is(await errnoOf(first.on.run(write(first.guest, new Uint8Array(512), 0))), "ENOSPC");
  assert.equal(first.on.bytes("disk"), first.before);
  assert.is(await errnoOf(first.on.run(read(first.snapshot, new Uint8Array(512), 0))), "none");
  const second = await setUp("sync", 1, { "on-cbw-error": "break-snapshot" }, FAILING);
  assert.is(await errnoOf(second.on.run(write(second.guest, new Uint8Array(512), 0))), "none");
  assert.is(await errnoOf(second.on.run(read(second.snapshot, new Uint8Array(512), 0))), "EACCES");
});

test("what is given up costs no copies and cannot be read", async () => {
  const { on, guest, snapshot } = await setUp("sync", 1);
  const access = guest.impl.shape === "intercept" ? guest.impl.snapshot! : null;
  await on.run(access!.discardSnapshot(0, 131072));
  await on.run(write(guest, new Uint8Array(131072).fill(1), 0));
  assert.is(await errnoOf(on.run(read(snapshot, new Uint8Array(512), 0))), "EACCES");
  assert.is(await errnoOf(on.run(read(snapshot, new Uint8Array(512), 131072))), "none");
  assert.is(await errnoOf(on.run(write(snapshot, new Uint8Array(512), 131072))), "EPERM");
  assert.ok(on.bytes("target").length < 400_000);
});

test("without a snapshot below there is nothing to access", async () => {
  const { on, guest } = await setUp("sync", 1);
  assert.is(
    await errnoOf(on.run(openNode(on.environment, { driver: "snapshot-access", options: { file: guest.child("file")! } }))),
    "ENOTSUP",
  );
});

test.run();
