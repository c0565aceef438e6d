/** check and repair of qcow2 images: every kind of damage, the plan, crashes in the middle of a repair, several windows. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readU64BE, viewOf, writeU64BE } from "../../../../src/base/bytes.js";
import { BlockError } from "../../../../src/base/error.js";
import { read, write } from "../../../../src/block/io.js";
import { addBitmap, getBitmap } from "../../../../src/block/named-bitmap.js";
import type { SnapshotVerbs } from "../../../../src/block/driver.js";
import type { CheckProblem, ImageCheck, RepairStep } from "../../../../src/block/types.js";
import { qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { checkImage } from "../../../../src/image/check.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { makeWorld, type World } from "../../../support/world.js";

const SIZE = 4 << 20;

async function made(options: Record<string, unknown> = {}): Promise<World> {
  const world = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
  await world.create("qcow2", "image", SIZE, options);
  const node = await world.open("qcow2", "image");
  for (let i = 0; i < 6; i++) await world.run(write(node, new Uint8Array(100_000).fill(i + 1), i * 500_000));
  await world.close(node);
  return world;
}

async function content(world: World, options: { check?: boolean } = {}): Promise<Uint8Array> {
  const node = await world.open("qcow2", "image", options);
  const bytes = new Uint8Array(SIZE);
  await world.run(read(node, bytes, 0));
  await world.close(node);
  return bytes;
}

interface Checked {
  found: ImageCheck;
  texts: string[];
  plan: RepairStep[];
}

async function check(world: World, fix: "none" | "leaks" | "all" = "none", dryRun = false): Promise<Checked> {
  const problems: CheckProblem[] = [];
  const plan: RepairStep[] = [];
  const node = await world.open("qcow2", "image", { check: true, write: fix !== "none" && !dryRun });
  try {
    const impl = node.impl;
    if (impl.shape !== "mapped") throw new Error("no image");
    const found = await world.run(
      impl.check!({ fix, dryRun, report: (problem) => problems.push(problem), plan: (step) => plan.push(step) }),
    );
    return { found, texts: problems.map(({ text }) => text), plan };
  } finally {
    await world.close(node);
  }
}

/** Changes the file under the image. */
function patch(world: World, change: (bytes: Uint8Array, view: DataView) => void): void {
  const bytes = world.bytes("image");
  change(bytes, viewOf(bytes));
  world.files.set("image", memoryStorage(bytes, { name: "image" }));
}

const mask = (offset: number): number => offset % 2 ** 56;
const l1Of = (view: DataView): number => readU64BE(view, 40);
/** First L2 table of the image. */
const l2Of = (view: DataView): number =>
  mask((view.getUint32(l1Of(view)) & 0xffffff) * 2 ** 32 + (view.getUint32(l1Of(view) + 4) & ~511));
const entryOf = (view: DataView, i: number): number =>
  (view.getUint32(l2Of(view) + i * 8) & 0xffffff) * 2 ** 32 + ((view.getUint32(l2Of(view) + i * 8 + 4) & ~511) >>> 0);
const refAt = (view: DataView, cluster: number): number => readU64BE(view, readU64BE(view, 48)) + cluster * 2;

test("a sound image", async () => {
  const world = await made();
  const { found, texts } = await check(world);
  assert.equal(texts, []);
  assert.is(found["check-errors"], 0);
  assert.is(found.corruptions, undefined);
  assert.is(found["total-clusters"], 64);
  assert.ok(found["allocated-clusters"]! > 6);
});

test("leaks are given back, also by -r leaks", async () => {
  const world = await made();
  const before = await content(world);
  patch(world, (_bytes, view) => {
    view.setUint16(refAt(view, 6), 2);
    view.setUint16(refAt(view, 3), 4);
  });
  const seen = await check(world);
  assert.ok(
    seen.texts.some((text) => /^Leaked cluster 3 refcount=4 reference=1$/.test(text)),
    seen.texts.join("\n"),
  );
  const leaks = seen.found.leaks!;
  const mended = await check(world, "leaks");
  assert.is(mended.found["leaks-fixed"], leaks);
  assert.equal((await check(world)).texts, []);
  assert.equal(await content(world), before);
});

test("a refcount that is too low is raised, COPIED goes", async () => {
  const world = await made();
  patch(world, (_bytes, view) => {
    // Two guest clusters share a host cluster.
    const first = l2Of(view);
    view.setUint32(first + 8, view.getUint32(first));
    view.setUint32(first + 12, view.getUint32(first + 4));
  });
  const seen = await check(world);
  assert.ok(
    seen.texts.some((text) => /^ERROR cluster \d+ refcount=1 reference=2$/.test(text)),
    seen.texts.join("\n"),
  );
  const mended = await check(world, "all");
  assert.ok(
    mended.texts.some((text) => /^Repairing cluster \d+ refcount=1 reference=2$/.test(text)),
    mended.texts.join("\n"),
  );
  assert.ok(mended.texts.some((text) => /^Repairing OFLAG_COPIED data cluster: l2_entry=[0-9a-f]+ refcount=2$/.test(text)));
  assert.equal((await check(world)).texts, []);
});

test("a cluster in use that counts as free: the refcount structures are rebuilt", async () => {
  for (const options of [{}, { cluster_size: 512 }, { refcount_bits: 1 }, { refcount_bits: 64, cluster_size: 4096 }]) {
    const world = await made(options);
    const before = await content(world);
    patch(world, (bytes, view) => {
      const block = readU64BE(view, readU64BE(view, 48));
      bytes.fill(0, block, block + 64);
    });
    assert.ok(((await check(world)).found.corruptions ?? 0) > 0);
    const refused = await check(world, "leaks");
    assert.ok(refused.texts.includes("ERROR need to rebuild refcount structures"));
    const mended = await check(world, "all");
    assert.ok(mended.texts.includes("Rebuilding refcount structure"));
    const after = await check(world);
    assert.equal(after.texts, [], JSON.stringify(options));
    assert.equal(await content(world), before);
  }
});

test("without a refcount table at all", async () => {
  const world = await made();
  const before = await content(world);
  patch(world, (_bytes, view) => {
    writeU64BE(view, 48, 0x7000_0000);
    view.setUint32(76, view.getUint32(76) | 2);
  });
  await check(world, "all");
  assert.equal((await check(world)).texts, []);
  assert.equal(await content(world), before);
  assert.is(viewOf(world.bytes("image")).getUint32(76) & 3, 0, "the corrupt bit is gone");
  // The image can be written again.
  const node = await world.open("qcow2", "image");
  await world.run(write(node, new Uint8Array(300_000).fill(9), 3_000_000));
  await world.close(node);
  assert.equal((await check(world)).texts, []);
});

test("COPIED flags", async () => {
  const world = await made();
  patch(world, (_bytes, view) => {
    const l2 = l2Of(view);
    view.setUint32(l2, view.getUint32(l2) & 0x7fffffff);
    view.setUint32(l1Of(view), view.getUint32(l1Of(view)) & 0x7fffffff);
  });
  const seen = await check(world);
  assert.is(seen.found.corruptions, 2);
  assert.ok(seen.texts.some((text) => /^ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=[0-9a-f]+ refcount=1$/.test(text)));
  const mended = await check(world, "all");
  assert.is(mended.found["corruptions-fixed"], 2);
  assert.equal((await check(world)).texts, []);
});

test("a misplaced cluster that only stands for zeros becomes plain zeros", async () => {
  const world = await made();
  patch(world, (_bytes, view) => {
    // Guest cluster 60 was never written.
    writeU64BE(view, l2Of(view) + 60 * 8, entryOf(view, 0) + 512 + 1);
  });
  const mended = await check(world, "all");
  assert.ok(
    mended.texts.some((text) => /^Repairing offset=[0-9a-f]+: Preallocated cluster is not properly aligned/.test(text)),
    mended.texts.join("\n"),
  );
  assert.equal((await check(world)).texts, []);
});

test("references behind the end of the file stay corruptions", async () => {
  const world = await made();
  patch(world, (_bytes, view) => writeU64BE(view, l2Of(view) + 60 * 8, 2 ** 40));
  const { found, texts } = await check(world);
  assert.ok(
    texts.some((text) =>
      text.includes("exceeding the end of the file by one cluster or more: offset 0x10000000000 size 0x10000"),
    ),
    texts.join("\n"),
  );
  assert.is(found.corruptions, 1);
});

test("entries of bitmap tables that point to no bits: everything there counts as changed", async () => {
  for (const [entry, words] of [
    [2 ** 40, /exceeding the end of the file by one cluster or more: offset 0x10000000000 size 0x10000/],
    [0x10200, /bitmap table entry 0 is corrupted/],
    [3, /bitmap table entry 0 is corrupted/],
  ] as const) {
    const world = await made();
    let node = await world.open("qcow2", "image");
    addBitmap(node, { name: "changes", persistent: true });
    await world.run(write(node, new Uint8Array(1000), 0));
    await world.close(node);
    let tableEntry = 0;
    patch(world, (_bytes, view) => {
      let at = view.getUint32(100);
      while (view.getUint32(at) !== 0x23852875) at += 8 + view.getUint32(at + 4);
      tableEntry = readU64BE(view, readU64BE(view, at + 24));
      writeU64BE(view, tableEntry, entry);
    });
    const { texts } = await check(world);
    assert.ok(
      texts.some((text) => words.test(text)),
      texts.join("\n"),
    );
    const planned = await check(world, "all", true);
    assert.ok(planned.plan.some(({ action, count }) => action === "set-bitmap-entries" && count === 1));
    assert.is(readU64BE(viewOf(world.bytes("image")), tableEntry), entry, "a dry run writes nothing");
    const { found } = await check(world, "all");
    assert.is(found["corruptions-fixed"], 1);
    assert.is(found.corruptions, undefined);
    assert.equal((await check(world)).texts, []);
    node = await world.open("qcow2", "image");
    assert.equal([...(await world.run(getBitmap(node, "changes").load())).runs()], [{ offset: 0, length: SIZE }]);
    await world.close(node);
  }
});

test("a dry run plans and leaves the file alone", async () => {
  const world = await made();
  patch(world, (_bytes, view) => {
    view.setUint16(refAt(view, 1), 2);
    const l2 = l2Of(view);
    view.setUint32(l2, view.getUint32(l2) & 0x7fffffff);
    view.setUint32(76, view.getUint32(76) | 1);
  });
  const before = world.bytes("image");
  const { plan } = await check(world, "all", true);
  assert.equal(
    plan.map(({ action, count }) => [action, count]),
    [
      ["lower-refcounts", 1],
      ["correct-copied-flags", 1],
      ["clear-dirty-bit", 1],
    ],
  );
  assert.equal(world.bytes("image"), before);
  const applied = await check(world, "all");
  assert.equal(applied.plan, plan);
  assert.is(viewOf(world.bytes("image")).getUint32(76) & 1, 0);
});

test("several windows find and mend what one does", async () => {
  const world = await made({ cluster_size: 512 });
  const before = await content(world);
  // One cluster of guest data lies far out in a sparse file: more than 2^20 clusters away.
  const far = 700 << 20;
  const medium = world.files.get("image")!;
  const head = world.bytes("image");
  const view = viewOf(head);
  const l2 = l2Of(view);
  const data = head.slice(entryOf(view, 0), entryOf(view, 0) + 512);
  medium.sync.write(data, far);
  const entry = new Uint8Array(8);
  writeU64BE(viewOf(entry), 0, far);
  entry[0] = 0x80;
  medium.sync.write(entry, l2);
  const seen = await check(world);
  assert.ok(seen.texts.includes(`ERROR cluster ${far / 512} refcount=0 reference=1`), seen.texts.join("\n"));
  await check(world, "all");
  assert.equal((await check(world)).texts, []);
  assert.equal(await content(world), before);
});

/** Two snapshots, "first" and "second". */
async function withSnapshots(options: Record<string, unknown> = {}): Promise<World> {
  const world = await made(options);
  const node = await world.open("qcow2", "image");
  for (const [i, name] of ["first", "second"].entries()) {
    await world.run(snapshotsOf(node).create(name, { vmStateSize: 0, dateSec: 1, dateNsec: 2, vmClockNsec: 3 }));
    await world.run(write(node, new Uint8Array(70_000).fill(0x50 + i), i * 900_000));
  }
  await world.close(node);
  return world;
}

async function snapshotNames(world: World, check = false): Promise<string[]> {
  const node = await world.open("qcow2", "image", { check });
  const names = snapshotsOf(node)
    .list()
    .map(({ name }) => name);
  await world.close(node);
  return names;
}

function snapshotsOf(node: Awaited<ReturnType<World["open"]>>): SnapshotVerbs {
  if (node.impl.shape !== "mapped") throw new Error("no image");
  return node.impl.snapshots!;
}

/** Asks for `promise` to fail with these words. */
async function refused(promise: Promise<unknown>, words: RegExp, hint?: RegExp): Promise<void> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof BlockError, String(error));
    assert.match(error.message, words);
    if (hint !== undefined) assert.match(error.hint ?? "", hint);
    return;
  }
  assert.unreachable(`no ${words}`);
}

test("snapshot table: too much extra data is refused, and cut by a repair", async () => {
  const world = await withSnapshots();
  const before = await content(world);
  patch(world, (_bytes, view) => {
    const table = readU64BE(view, 64);
    const first = 40 + view.getUint32(table + 36) + view.getUint16(table + 12) + view.getUint16(table + 14);
    view.setUint32(table + Math.ceil(first / 8) * 8 + 36, 65536);
  });
  const words = /Too much extra metadata in snapshot table entry 1$/;
  const hint = /^You can force-remove this extra metadata with qemu-img check -r all$/;
  await refused(world.open("qcow2", "image"), words, hint);
  for (const fix of ["none", "leaks"] as const)
    await refused(check(world, fix), /^ERROR failed to read the snapshot table: Too much/, hint);
  const { texts, found, plan } = await check(world, "all");
  assert.is(texts[0], "Discarding too much extra metadata in snapshot table entry 1 (65536 > 1024)");
  assert.ok(plan.some(({ action, count }) => action === "rewrite-snapshot-table" && count === 1));
  assert.is(found.corruptions, undefined);
  assert.equal((await check(world)).texts, []);
  // What was read as its name lies behind the extra data: only the first is known for sure.
  assert.is((await snapshotNames(world))[0], "first");
  assert.equal(await content(world), before);
});

test("snapshot table: overhanging snapshots are refused, and dropped by a repair", async () => {
  const LIMIT = 65536;
  const world = await made({ compat: "0.10" });
  const before = await content(world);
  // Entries of zeros are snapshots, too; the first one that hangs over has an L1 table.
  const table = 8 << 20;
  patch(world, (_bytes, view) => {
    view.setUint32(60, LIMIT + 5);
    writeU64BE(view, 64, table);
  });
  const medium = world.files.get("image")!;
  const entry = new Uint8Array(40);
  writeU64BE(viewOf(entry), 0, 0x40000);
  viewOf(entry).setUint32(8, 1);
  medium.sync.write(entry, table + 40 * LIMIT);
  const hint = new RegExp(`^You can force-remove all 5 overhanging snapshots with qemu-img check -r all$`);
  await refused(world.open("qcow2", "image"), /Snapshot table too large$/);
  await refused(check(world), /^ERROR snapshot table too large$/, hint);
  const mended = await check(world, "all");
  assert.is(mended.texts[0], "Discarding 5 overhanging snapshots");
  assert.equal((await check(world)).texts, []);
  assert.is((await snapshotNames(world)).length, LIMIT);
  assert.equal(await content(world), before);
});

test("snapshot table: one that cannot be read is not replaced by a check's session", async () => {
  const world = await withSnapshots();
  patch(world, (_bytes, view) => view.setUint32(readU64BE(view, 64) + 36, 2000));
  assert.equal(await snapshotNames(world, true), []);
  const node = await world.open("qcow2", "image", { check: true, write: true });
  const state = { vmStateSize: 0, dateSec: 0, dateNsec: 0, vmClockNsec: 0 };
  await refused(world.run(snapshotsOf(node).create("third", state)), /Too much extra metadata/);
  await world.run(checkImage(node, { fix: "all" }));
  await world.run(snapshotsOf(node).create("third", state));
  await world.close(node);
  assert.is((await snapshotNames(world)).length, 3);
});

test("a repair that is cut off at any write can be done again", async () => {
  const original = await made({ cluster_size: 4096 });
  patch(original, (bytes, view) => {
    const block = readU64BE(view, readU64BE(view, 48));
    bytes.fill(0, block, block + 16);
    view.setUint16(refAt(view, 30), 7);
    const l2 = l2Of(view);
    view.setUint32(l2, view.getUint32(l2) & 0x7fffffff);
  });
  await cutAnywhere(original, { check: false });
});

test("a repair of the snapshot table that is cut off at any write can be done again", async () => {
  const original = await withSnapshots({ cluster_size: 4096 });
  patch(original, (_bytes, view) => {
    // The first entry gets more extra data than it may have, and all that follows shifts.
    view.setUint32(readU64BE(view, 64) + 36, 1048);
    view.setUint16(refAt(view, 30), 7);
  });
  await cutAnywhere(original, { check: true });
});

/** Power cuts at every write of a repair; then another repair. `openOptions`: for reading the damaged image. */
async function cutAnywhere(original: World, openOptions: { check: boolean }): Promise<void> {
  const before = await content(original, openOptions);
  const bytes = original.bytes("image");
  for (let cut = 0; ; cut++) {
    const world = makeWorld({ mode: "sync", drivers: [raw, qcow2] });
    const medium = memoryStorage(bytes, { name: "image" });
    world.files.set("image", medium);
    const { write: plain } = medium.sync;
    let left = cut;
    let stopped = false;
    (medium.sync as { write: typeof plain }).write = (from, offset) => {
      if (left-- <= 0) {
        stopped = true;
        throw new BlockError("ERR_IO", "power cut");
      }
      return plain.call(medium.sync, from, offset);
    };
    try {
      await check(world, "all");
    } catch (error) {
      assert.ok(error instanceof BlockError, String(error));
    }
    (medium.sync as { write: typeof plain }).write = plain;
    assert.ok(Buffer.compare(await content(world, openOptions), before) === 0, `content after a cut at write ${cut}`);
    await check(world, "all");
    assert.equal((await check(world)).texts, [], `after a cut at write ${cut}`);
    assert.ok(Buffer.compare(await content(world), before) === 0, `content after a cut at write ${cut} and a second repair`);
    if (!stopped) break;
  }
}

test("repairs need a writable image", async () => {
  const world = await made();
  const node = await world.open("qcow2", "image", { check: true });
  try {
    await world.run(checkImage(node, { fix: "all" }));
    assert.unreachable();
  } catch (error) {
    assert.ok(error instanceof BlockError);
  }
  await world.close(node);
});

test.run();
