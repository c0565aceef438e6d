import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  BlockError,
  compare,
  convert,
  create,
  KiB,
  measure,
  memoryStorage,
  MiB,
  open,
  openSync,
  planConvert,
  qcow2,
  raw,
  type MapEntry,
} from "../../../src/index.js";

const formats = [qcow2, raw];

const fails = async (work: () => Promise<unknown>, code: string, pattern: RegExp): Promise<void> => {
  try {
    await work();
  } catch (error) {
    assert.instance(error, BlockError);
    assert.is((error as BlockError).code, code);
    assert.match((error as BlockError).message, pattern);
    return;
  }
  assert.unreachable("it should have failed");
};

async function sample(): Promise<ReturnType<typeof memoryStorage>> {
  const storage = memoryStorage();
  await create(storage, { formats, format: "qcow2", size: 8 * MiB, clusterSize: 64 * KiB, lazyRefcounts: false });
  return storage;
}

test("progress ends at its total, and goes no further", async () => {
  const storage = await sample();
  const image = await open(storage, { formats, writable: true });
  await image.write(new Uint8Array(MiB), 0);
  for (const repair of [false, true]) {
    const seen: { done: number; total: number }[] = [];
    await image.check({ repair, onProgress: ({ done, total }) => seen.push({ done, total }) });
    assert.ok(seen.length > 0);
    for (const { done, total } of seen) assert.ok(done <= total, `${done} of ${total}`);
    assert.is(seen.at(-1)!.done, seen.at(-1)!.total);
  }
  await image.close();
});

test("snapshots are told in camelCase, as all that info() tells", async () => {
  const image = await open(await sample(), { formats, writable: true });
  await image.createSnapshot("one");
  assert.equal(image.snapshots, (await image.info()).snapshots);
  assert.is(image.snapshots[0]!.vmStateSize, 0);
  assert.ok(image.snapshots[0]!.dateSec > 1.6e9);
  await image.close();
});

test("create, write, read, info, extents, check", async () => {
  const storage = await sample();
  const image = await open(storage, { formats, writable: true });
  assert.is(image.format, "qcow2");
  assert.is(image.size, 8 * MiB);
  await image.write(new Uint8Array(100 * KiB).fill(7), 1 * MiB + 5);
  await image.writeZeroes(4 * MiB, 1 * MiB);
  const bytes = await image.read(1 * MiB, 100 * KiB + 10);
  assert.equal([...bytes.subarray(0, 6)], [0, 0, 0, 0, 0, 7]);
  assert.equal([...bytes.subarray(-5)], [0, 0, 0, 0, 0]);
  const info = await image.info();
  assert.is(info.virtualSize, 8 * MiB);
  assert.is(info.clusterSize, 65536);
  assert.is((info.formatSpecific as unknown as { data: { refcountBits: number } }).data.refcountBits, 16);
  const entries: MapEntry[] = [];
  for await (const entry of image.extents()) entries.push(entry);
  assert.is(
    entries.reduce((sum, entry) => sum + entry.length, 0),
    8 * MiB,
  );
  assert.ok(entries.some((entry) => entry.start === 1 * MiB && entry.data && entry.length === 128 * KiB));
  const report = await image.check();
  assert.is(report.checkErrors, 0);
  assert.equal(report.problems, []);
  await image.close();
  await image.close();
});

test("a range outside the image is refused", async () => {
  const image = await open(await sample(), { formats });
  await fails(() => image.read(8 * MiB - 1, 2), "ERR_OUT_OF_RANGE", /outside/);
  await fails(() => image.read(0, Infinity), "ERR_OUT_OF_RANGE", /outside/);
  await image.close();
});

test("convert keeps the content and leaves zeros out", async () => {
  const plain = new Uint8Array(3 * MiB + 512);
  plain.fill(1, 0, 70 * KiB);
  plain.fill(2, 2 * MiB + 4096, 2 * MiB + 8192);
  plain[plain.length - 1] = 9;
  for (const compress of [false, true]) {
    const target = memoryStorage();
    const seen: number[] = [];
    await convert(plain, target, { formats, format: "qcow2", compress, onProgress: ({ done, total }) => seen.push(done, total) });
    assert.ok(seen.length > 0 && seen.at(-2) === seen.at(-1), `progress ends at the total: ${seen.slice(-2)}`);
    const image = await open(target, { formats });
    assert.is(image.size, plain.length);
    assert.equal(await image.read(0, plain.length), plain);
    const entries: MapEntry[] = [];
    for await (const entry of image.extents()) entries.push(entry);
    assert.ok(
      entries.some((entry) => !entry.data && entry.length > 1 * MiB),
      "there is a hole",
    );
    const other = await open(plain, { formats, format: "raw" });
    assert.equal(await compare(image, other), { identical: true });
    await image.close();
    await other.close();
  }
});

test("compare finds the first difference", async () => {
  const a = await open(new Uint8Array(1 * MiB), { formats, format: "raw" });
  const changed = new Uint8Array(1 * MiB);
  changed[700_000] = 1;
  const b = await open(changed, { formats, format: "raw" });
  assert.equal(await compare(a, b), { identical: false, reason: "content", offset: 700_000 - (700_000 % 512) });
  const longer = await open(new Uint8Array(2 * MiB), { formats, format: "raw" });
  assert.equal(await compare(a, longer), { identical: true });
  assert.equal(await compare(a, longer, { strict: true }), { identical: false, reason: "size" });
});

test("an aborted convert stops with ERR_ABORTED", async () => {
  const controller = new AbortController();
  controller.abort();
  await fails(
    () => convert(new Uint8Array(1 * MiB).fill(1), memoryStorage(), { formats, format: "raw", signal: controller.signal }),
    "ERR_ABORTED",
    /aborted/,
  );
});

test("what an image names is not opened unless the gate gives it", async () => {
  const base = await sample();
  const top = memoryStorage();
  const baseImage = await open(base, { formats, writable: true });
  await baseImage.write(new Uint8Array(512).fill(5), 0);
  await baseImage.flush();
  await create(top, { formats, format: "qcow2", size: 8 * MiB, backing: "base.qcow2", backingFormat: "qcow2" });
  await fails(() => open(top, { formats }), "ERR_DENIED", /base\.qcow2/);
  const asked: string[] = [];
  const image = await open(top, {
    formats,
    references: (reference) => {
      asked.push(`${reference.kind} ${reference.filename} ${reference.format}`);
      return base;
    },
  });
  assert.equal(asked, ["backing base.qcow2 qcow2"]);
  assert.is((await image.read(0, 1))[0], 5);
});

test("measure and plan", async () => {
  assert.equal(await measure(1024 * MiB, { format: "qcow2", formats }), { required: 393216, fullyAllocated: 1074135040 });
  const image = await open(await sample(), { formats });
  const plan = await planConvert(image, { format: "raw" });
  assert.equal(plan.lost, []);
  assert.is(plan.size, 8 * MiB);
  await image.close();
});

test("internal snapshots", async () => {
  const storage = await sample();
  const image = await open(storage, { formats, writable: true });
  await image.write(new Uint8Array(1000).fill(1), 0);
  await image.createSnapshot("first");
  await image.write(new Uint8Array(1000).fill(2), 0);
  assert.equal(
    image.snapshots.map(({ id, name }) => [id, name]),
    [["1", "first"]],
  );
  await image.applySnapshot("first");
  assert.is((await image.read(0, 1))[0], 1);
  await image.deleteSnapshot("first");
  assert.equal(image.snapshots, []);
  await fails(() => image.deleteSnapshot("first"), "ERR_NOT_FOUND", /snapshot not found/);
  assert.is((await image.check()).corruptions, undefined);
  await image.close();
});

test("the synchronous face", () => {
  const image = openSync(memoryStorage(new Uint8Array(64 * KiB).fill(3)), { formats, format: "raw" });
  assert.is(image.read(100, 1)[0], 3);
  assert.is(image.info().format, "raw");
  image.close();
  image.close();
});

test("sources that are none, and no formats, are refused with a hint", async () => {
  await fails(() => open(12 as unknown as Uint8Array, { formats }), "ERR_INVALID_ARGUMENT", /cannot be opened/);
  await fails(() => open(new Uint8Array(512)), "ERR_INVALID_ARGUMENT", /No formats/);
  await fails(() => open(new Uint8Array(512), { formats, format: "vmdk" }), "ERR_UNSUPPORTED", /Unknown driver 'vmdk'/);
});

test("a stream delivers all bytes", async () => {
  const plain = new Uint8Array(2 * MiB + 512).map((_, i) => i * 7);
  const image = await open(plain, { formats, format: "raw" });
  const got = new Uint8Array(await new Response(image.stream({ start: 512 })).arrayBuffer());
  assert.equal(got, plain.subarray(512));
});

test.run();
