import { test } from "uvu";
import * as assert from "uvu/assert";
import { objectSink, objectStorage } from "../../../src/storage/object.js";
import { rejects, storageSuite } from "../../conformance/storage-suite.js";
import { FakeBucket } from "../../support/object-store.js";

const bucketWith = (content: Uint8Array): FakeBucket => {
  const bucket = new FakeBucket();
  bucket.put("image", content);
  return bucket;
};

storageSuite("object", ["async"], {
  make: (content) => objectStorage(bucketWith(content), "image"),
  writable: false,
  growable: false,
});

const content = Uint8Array.from({ length: 500000 }, (_, i) => (i * 7 + (i >> 9)) & 255);
const quick = { retryDelay: 1, readAhead: 0 };

test("missing, changed and deleted objects", async () => {
  const bucket = bucketWith(content);
  await rejects(objectStorage(bucket, "other", quick), "ERR_NOT_FOUND");
  const storage = await objectStorage(bucket, "image", quick);
  bucket.put("image", content.slice());
  await rejects(storage.async!.read(new Uint8Array(10), 0), "ERR_CHANGED");
  bucket.objects.delete("image");
  await rejects(storage.async!.read(new Uint8Array(10), 0), "ERR_NOT_FOUND");
});

test("a store that does not know conditions is seen through", async () => {
  const bucket = bucketWith(content);
  const { get } = bucket;
  bucket.get = (key, options) => get.call(bucket, key, { ...options, onlyIf: { etagMatches: bucket.objects.get(key)!.etag } });
  const storage = await objectStorage(bucket, "image", quick);
  bucket.put("image", content.slice());
  await rejects(storage.async!.read(new Uint8Array(10), 0), "ERR_CHANGED");
});

test("failed and cut requests are repeated, a limited number of times", async () => {
  const bucket = bucketWith(content);
  bucket.failures = 2;
  const storage = await objectStorage(bucket, "image", quick);
  bucket.failures = 3;
  const into = new Uint8Array(1000);
  await storage.async!.read(into, 100000);
  assert.equal(into, content.slice(100000, 101000));
  bucket.cutAfter = 200000;
  const all = new Uint8Array(500000);
  await storage.async!.read(all, 0);
  assert.ok(Buffer.compare(all, content) === 0);
  const fresh = await objectStorage(bucket, "image", quick);
  bucket.failures = 100;
  await rejects(fresh.async!.read(into, 300000), "ERR_IO");
  assert.is(bucket.failures, 96);
});

const PART = 5 << 20;

test("a sink uploads equal parts, in any order of completion, and appears when finished", async () => {
  const bucket = new FakeBucket();
  bucket.uploadDelay = 20;
  const sink = await objectSink(bucket, "out", { partSize: PART, parallel: 3, retryDelay: 1 });
  const bytes = Uint8Array.from({ length: 1 << 20 }, (_, i) => (i % 251) + 1);
  for (let i = 0; i < 13; i++) await sink.async.write(bytes, i << 20);
  await sink.async.write(bytes.subarray(0, 100), (15 << 20) + 7);
  await sink.async.truncate((16 << 20) + 5);
  assert.is(await sink.async.size(), (16 << 20) + 5);
  assert.not(bucket.objects.has("out"));
  await sink.finish();
  await sink.async.close();
  assert.is(bucket.aborted, 0);
  assert.ok(bucket.mostActive > 1 && bucket.mostActive <= 3, `${bucket.mostActive} at a time`);
  const want = new Uint8Array((16 << 20) + 5);
  for (let i = 0; i < 13; i++) want.set(bytes, i << 20);
  want.set(bytes.subarray(0, 100), (15 << 20) + 7);
  assert.ok(Buffer.compare(bucket.objects.get("out")!.bytes, want) === 0);
});

test("exactly full parts, and no bytes at all", async () => {
  for (const parts of [0, 1, 2]) {
    const bucket = new FakeBucket();
    const sink = await objectSink(bucket, "out", { partSize: PART });
    await sink.async.truncate(parts * PART);
    await sink.finish();
    assert.is(bucket.objects.get("out")!.bytes.length, parts * PART);
  }
});

test("closing without finish gives the upload up", async () => {
  const bucket = new FakeBucket();
  const sink = await objectSink(bucket, "out", { partSize: PART });
  await sink.async.write(new Uint8Array(10), 0);
  await sink.async.close();
  assert.is(bucket.aborted, 1);
  assert.not(bucket.objects.has("out"));
  await rejects(sink.async.write(new Uint8Array(10), 10), "ERR_CLOSED");
});

test("a part that can not be uploaded fails the writer, and stays failed", async () => {
  const bucket = new FakeBucket();
  const sink = await objectSink(bucket, "out", { partSize: PART, retryDelay: 1 });
  bucket.failures = 1000;
  await sink.async.write(new Uint8Array(PART), 0);
  await sink.async.write(new Uint8Array(PART), PART);
  await rejects(sink.async.flush(), "ERR_IO");
  await rejects(sink.async.write(new Uint8Array(1), 2 * PART), "ERR_IO");
  await rejects(sink.finish(), "ERR_IO");
  await sink.async.close();
  assert.is(bucket.aborted, 1);
});

test("a passing failure of a part is repeated", async () => {
  const bucket = new FakeBucket();
  const sink = await objectSink(bucket, "out", { partSize: PART, retryDelay: 1 });
  await sink.async.write(new Uint8Array(PART + 1).fill(3), 0);
  bucket.failures = 2;
  await sink.finish();
  assert.is(bucket.objects.get("out")!.bytes.length, PART + 1);
});

test("bad part sizes", async () => {
  for (const partSize of [0, 1000, PART - 1, 1.5, 6 * 2 ** 30])
    await rejects(objectSink(new FakeBucket(), "x", { partSize }), "ERR_INVALID_ARGUMENT");
});

test.run();
