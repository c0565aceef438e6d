import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BlockError } from "../../../src/base/error.js";
import { blobStorage, type BlobLike } from "../../../src/storage/blob.js";
import { memoryStorage, type MemoryStorage } from "../../../src/storage/memory.js";
import { sliceStorage } from "../../../src/storage/slice.js";
import type { Storage } from "../../../src/storage/storage.js";
import { storageSuite } from "../../conformance/storage-suite.js";

let base: MemoryStorage;
let length: number;
const OFFSET = 12345;

function surrounded(content: Uint8Array, after: number): Uint8Array {
  const all = new Uint8Array(OFFSET + content.length + after).fill(0xbb);
  all.set(content, OFFSET);
  return all;
}
const inWindow = (content: Uint8Array): Storage => {
  base = memoryStorage(surrounded(content, 9999));
  length = content.length;
  return sliceStorage(base, OFFSET, content.length, { keepOpen: true });
};
const toTheEnd = (content: Uint8Array): Storage => {
  base = memoryStorage(surrounded(content, 0));
  return sliceStorage(base, OFFSET, null, { keepOpen: true });
};
const untouched = (): void => {
  const all = base.toBytes();
  assert.ok(
    all.subarray(0, OFFSET).every((byte) => byte === 0xbb),
    "bytes before the window are untouched",
  );
  if (length > 0)
    assert.ok(
      all.subarray(OFFSET + length).every((byte) => byte === 0xbb),
      "bytes after the window are untouched",
    );
};

storageSuite("slice", ["sync"], {
  make: inWindow,
  dispose: untouched,
  readBack: () => base.toBytes(OFFSET, length),
  writable: true,
  growable: false,
});
storageSuite("slice to the end", ["sync"], {
  make: (content) => ((length = 0), toTheEnd(content)),
  dispose: untouched,
  readBack: () => base.toBytes(OFFSET),
  writable: true,
  growable: true,
});
storageSuite("slice of a blob", ["async"], {
  make: (content) =>
    sliceStorage(
      blobStorage(new Blob([surrounded(content, 500) as Uint8Array<ArrayBuffer>]) as BlobLike),
      OFFSET,
      content.length,
    ),
  writable: false,
  growable: false,
});
storageSuite("slice, read-only", ["sync"], {
  make: (content) => sliceStorage(memoryStorage(content), 0, content.length, { readOnly: true }),
  writable: false,
  growable: false,
});

test("a window larger than its base is as large as what is there", () => {
  const slice = sliceStorage(memoryStorage(1000), 600, 1000);
  assert.is(slice.sync!.size(), 400);
  assert.is(slice.sync!.read(new Uint8Array(500), 0), 400);
  assert.is(sliceStorage(memoryStorage(100), 600).sync!.size(), 0);
});

test("closing closes the base", () => {
  const memory = memoryStorage(10);
  sliceStorage(memory, 0, 10).sync!.close();
  assert.throws(
    () => memory.sync.size(),
    (error: BlockError) => error.code === "ERR_CLOSED",
  );
});

test("bad windows", () => {
  const memory = memoryStorage(4096, { alignment: 512 });
  for (const [offset, size] of [
    [-1, 1],
    [1.5, 1],
    [0, -1],
    [2 ** 53 - 512, 1024],
    [100, 512],
    [512, 100],
  ] as const) {
    assert.throws(
      () => sliceStorage(memory, offset, size),
      (error: BlockError) => error.code === "ERR_INVALID_ARGUMENT",
      `${offset}+${size}`,
    );
  }
});

test.run();
