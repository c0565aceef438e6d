import { Blob, File } from "node:buffer";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { blobStorage, type BlobLike } from "../../../src/storage/blob.js";
import { rejects, storageSuite } from "../../conformance/storage-suite.js";

const blobOf = (bytes: Uint8Array): BlobLike => new Blob([bytes]) as BlobLike;

storageSuite("blob", ["async"], { make: (content) => blobStorage(blobOf(content)), writable: false, growable: false });
storageSuite("blob, tiny cache", ["async"], {
  make: (content) => blobStorage(blobOf(content), { blockSize: 512, cacheSize: 2048 }),
  writable: false,
  growable: false,
});
storageSuite("blob, no cache", ["async"], {
  make: (content) => blobStorage(blobOf(content), { cacheSize: 0, readAhead: 0 }),
  writable: false,
  growable: false,
});

/** A blob that counts its slices. */
function counted(size: number): { blob: BlobLike; slices: [number, number][] } {
  const slices: [number, number][] = [];
  return {
    slices,
    blob: {
      size,
      slice: (start, end) => {
        slices.push([start, end]);
        return { arrayBuffer: async () => Uint8Array.from({ length: end - start }, (_, i) => (start + i) >> 12).buffer };
      },
    },
  };
}

test("small reads of a table cost one slice", async () => {
  const { blob, slices } = counted(1 << 24);
  const storage = blobStorage(blob, { readAhead: 0 });
  for (let i = 0; i < 16; i++) await storage.async!.read(new Uint8Array(4096), i * 4096);
  assert.equal(slices, [[0, 65536]]);
});

test("concurrent misses of neighbours become one request, in any order", async () => {
  const { blob, slices } = counted(1 << 24);
  const storage = blobStorage(blob, { readAhead: 0 });
  await Promise.all([3, 1, 2, 7, 1].map((i) => storage.async!.read(new Uint8Array(100), i * 65536)));
  assert.equal(slices, [
    [65536, 4 * 65536],
    [7 * 65536, 8 * 65536],
  ]);
});

test("sequential reading reads ahead, with a growing window", async () => {
  const { blob, slices } = counted(1 << 24);
  const storage = blobStorage(blob);
  for (let i = 0; i < 256; i++) await storage.async!.read(new Uint8Array(65536), i * 65536);
  assert.ok(slices.length < 60, `${slices.length} slices for 256 blocks`);
  const total = slices.reduce((sum, [start, end]) => sum + end - start, 0);
  assert.is(total, 1 << 24, "nothing twice");
});

test("jumping about does not read ahead", async () => {
  const { blob, slices } = counted(1 << 24);
  const storage = blobStorage(blob);
  for (let i = 0; i < 50; i++) await storage.async!.read(new Uint8Array(512), ((i * 97) % 250) * 65536);
  assert.ok(slices.every(([start, end]) => end - start === 65536));
});

test("a large read is one request into place and spares the cache", async () => {
  const { blob, slices } = counted(1 << 24);
  const storage = blobStorage(blob, { readAhead: 0 });
  await storage.async!.read(new Uint8Array(100), 0);
  const into = new Uint8Array(4 << 20);
  assert.is(await storage.async!.read(into, 10), 4 << 20);
  assert.equal(slices, [
    [0, 65536],
    [65536, 10 + (4 << 20)],
  ]);
  assert.is(into[0], 0);
  assert.is(into[70000], (70010 >> 12) & 255);
});

test("a modified file is ERR_CHANGED, and asked again next time", async () => {
  let broken = true;
  const blob: BlobLike = {
    size: 100000,
    slice: (start, end) => ({
      arrayBuffer: async () => {
        if (broken) throw Object.assign(new Error("could not be read"), { name: "NotReadableError" });
        return new ArrayBuffer(end - start);
      },
    }),
  };
  const storage = blobStorage(blob, { name: "picked.img" });
  await rejects(storage.async!.read(new Uint8Array(10), 0), "ERR_CHANGED");
  await rejects(storage.async!.read(new Uint8Array(100000), 0), "ERR_CHANGED");
  broken = false;
  assert.is(await storage.async!.read(new Uint8Array(10), 0), 10);
});

test("the name is the file's", () => {
  assert.is(blobStorage(new File([], "disk.qcow2") as unknown as BlobLike).name, "disk.qcow2");
  assert.is(blobStorage(blobOf(new Uint8Array(1))).name, "blob");
});

test.run();
