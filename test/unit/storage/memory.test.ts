import { test } from "uvu";
import * as assert from "uvu/assert";
import { GiB, KiB, MiB, TiB } from "../../../src/base/int.js";
import { memoryStorage, type MemoryStorage } from "../../../src/storage/memory.js";
import { storageSuite } from "../../conformance/storage-suite.js";

let made: MemoryStorage;
const readBack = (): Uint8Array => made.toBytes();
storageSuite("memory", ["sync"], {
  make: (content) => (made = memoryStorage(content)),
  readBack,
  writable: true,
  growable: true,
  holes: true,
});
storageSuite("memory, adopted bytes", ["sync"], {
  make: (content) => (made = memoryStorage(content, { adopt: true })),
  readBack,
  writable: true,
  growable: true,
  holes: true,
});
storageSuite("memory, fixed size", ["sync"], {
  make: (content) => (made = memoryStorage(content, { fixedSize: true })),
  readBack,
  writable: true,
  growable: false,
  holes: true,
});
storageSuite("memory, read-only", ["sync"], {
  make: (content) => memoryStorage(content, { readOnly: true }),
  writable: false,
  growable: true,
  holes: true,
});
storageSuite("memory, a snapshot", ["sync"], {
  make: (content) => (made = memoryStorage(content).snapshot()),
  readBack,
  writable: true,
  growable: true,
  holes: true,
});

test("a sparse terabyte costs what is in it", () => {
  const storage = memoryStorage(8000 * TiB);
  const started = performance.now();
  for (let i = 0; i < 100; i++) storage.sync.write(new Uint8Array([1]), i * 70 * TiB + 5);
  assert.is(storage.sync.allocatedSize!(), 100 * 64 * KiB);
  let data = 0;
  for (let at = 0; at < 8000 * TiB;) {
    for (const extent of storage.sync.extents!(at, 8000 * TiB - at)) {
      at += extent.length;
      if (extent.data) data++;
    }
  }
  assert.is(data, 100);
  storage.sync.writeZeroes!(0, 8000 * TiB, { mayUnmap: true });
  assert.is(storage.sync.allocatedSize!(), 0);
  assert.ok(performance.now() - started < 1000, "quick");
});

test("walking a well-filled storage does not scan for each extent", () => {
  const storage = memoryStorage(64 * GiB);
  for (let i = 0; i < 1000; i++) storage.sync.write(new Uint8Array([1]), i * 64 * MiB);
  const started = performance.now();
  let runs = 0;
  for (let at = 0; at < 64 * GiB;) {
    for (const extent of storage.sync.extents!(at, 64 * GiB - at)) {
      at += extent.length;
      runs++;
    }
  }
  assert.is(runs, 2000);
  assert.ok(performance.now() - started < 1000, "quick");
});

test("limit: ENOSPC, and what fitted stays", () => {
  const storage = memoryStorage(0, { limit: 128 * KiB });
  storage.sync.write(new Uint8Array(100 * KiB).fill(1), 0);
  assert.throws(
    () => storage.sync.write(new Uint8Array([1]), MiB),
    (error: { errno?: string }) => error.errno === "ENOSPC",
  );
  assert.is(storage.sync.size(), 100 * KiB);
  storage.sync.discard!(0, 64 * KiB);
  storage.sync.write(new Uint8Array([1]), MiB);
  assert.is(storage.sync.size(), MiB + 1);
});

test("a snapshot and its origin are independent", () => {
  const storage = memoryStorage(200 * KiB);
  storage.sync.write(new Uint8Array([1]), 0);
  const first = storage.snapshot();
  storage.sync.write(new Uint8Array([2]), 0);
  const second = storage.snapshot();
  first.sync.write(new Uint8Array([9]), 1);
  storage.sync.truncate(0);
  assert.equal([...first.toBytes(0, 2)], [1, 9]);
  assert.equal([...second.toBytes(0, 2)], [2, 0]);
  assert.is(storage.toBytes().length, 0);
});

test("alignment is demanded", () => {
  const storage = memoryStorage(8192, { alignment: 512 });
  assert.throws(
    () => storage.sync.read(new Uint8Array(10), 0),
    (error: { code?: string }) => error.code === "ERR_INVALID_ARGUMENT",
  );
  assert.throws(
    () => storage.sync.write(new Uint8Array(512), 5),
    (error: { code?: string }) => error.code === "ERR_INVALID_ARGUMENT",
  );
  assert.is(storage.sync.read(new Uint8Array(512), 512), 512);
});

test.run();
