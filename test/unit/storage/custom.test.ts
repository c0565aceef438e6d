import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BlockError } from "../../../src/base/error.js";
import { customStorage, type CustomSource } from "../../../src/storage/custom.js";
import { rejects, storageSuite } from "../../conformance/storage-suite.js";

let bytes: Uint8Array;

/** An array as a source; `give` wraps what it returns, `most` is what one call moves. */
function source<T extends boolean>(content: Uint8Array, later: T, most = Infinity): CustomSource {
  bytes = content;
  const give = <V>(value: V): V | Promise<V> => (later ? Promise.resolve(value) : value);
  return {
    size: () => give(bytes.length),
    read: (into, at) => {
      const part = bytes.subarray(at, at + Math.min(into.length, most));
      into.set(part);
      return give(part.length);
    },
    write: (from, at) => {
      const count = Math.min(from.length, most);
      if (at + count > bytes.length) {
        const grown = new Uint8Array(at + count);
        grown.set(bytes);
        bytes = grown;
      }
      bytes.set(from.subarray(0, count), at);
      return give(count);
    },
    truncate: (size) => {
      const resized = new Uint8Array(size);
      resized.set(bytes.subarray(0, size));
      bytes = resized;
      return give(undefined);
    },
  };
}
const readBack = (): Uint8Array => bytes;

storageSuite("custom", ["async"], {
  make: (content) => customStorage(source(content, true)),
  readBack,
  writable: true,
  growable: true,
});
storageSuite("custom, values", ["async"], {
  make: (content) => customStorage(source(content, false)),
  readBack,
  writable: true,
  growable: true,
});
storageSuite("custom, sync", ["sync"], {
  make: (content) => customStorage(source(content, false), { sync: true }),
  readBack,
  writable: true,
  growable: true,
});
storageSuite("custom, short calls", ["sync"], {
  make: (content) => customStorage(source(content, false, 997), { sync: true }),
  readBack,
  writable: true,
  growable: true,
});
storageSuite("custom, only read", ["async"], {
  make: (content) => customStorage({ size: content.length, read: source(content, true).read }),
  writable: false,
  growable: false,
});
storageSuite("custom, fixed number as size", ["sync"], {
  make: (content) => {
    const { read, write } = source(content, false);
    return customStorage({ size: content.length, read, write: write! }, { sync: true });
  },
  readBack,
  writable: true,
  growable: false,
});

test("what a source may not return", async () => {
  const read = (value: unknown): Promise<unknown> =>
    customStorage({ size: 100, read: () => value as number }).async!.read(new Uint8Array(10), 0);
  for (const value of [-1, 11, 1.5, NaN, undefined, null, "5", new Uint8Array(10)]) {
    const error = await rejects(read(value), "ERR_IO");
    assert.match(error.message, "read must return a number of bytes between 0 and 10");
  }
  assert.is(await read(0), 0);
  for (const size of [-1, 1.5, NaN, "7"])
    await rejects(customStorage({ size: () => size as number, read: () => 0 }).async!.size(), "ERR_IO");
  const extents = (list: unknown): Promise<unknown> =>
    customStorage({ size: 100, read: () => 0, extents: () => list as [] }).async!.extents!(0, 100);
  for (const list of [
    [],
    null,
    [{ offset: 5, length: 5, data: true }],
    [{ offset: 0, length: 0, data: true }],
    [{ offset: 0, length: 101, data: true }],
    [{ offset: 0, length: 1 }],
    [null],
  ]) {
    await rejects(extents(list), "ERR_IO");
  }
});

test("a promise from a synchronous source is an error", () => {
  const storage = customStorage({ size: 100, read: async () => 5 }, { sync: true });
  assert.throws(
    () => storage.sync!.read(new Uint8Array(5), 0),
    (error: BlockError) => error.code === "ERR_IO" && /synchronous/.test(error.message),
  );
});

test("a gap is made by growing first, for sources that do not care", () => {
  const calls: string[] = [];
  const storage = customStorage(
    {
      size: 100,
      read: () => 0,
      write: (from, at) => void calls.push(`write ${at}+${from.length}`),
      truncate: (size) => void calls.push(`truncate ${size}`),
    },
    { sync: true },
  );
  storage.sync!.write(new Uint8Array(10), 100);
  storage.sync!.write(new Uint8Array(10), 200);
  assert.equal(calls, ["write 100+10", "truncate 200", "write 200+10"]);
  assert.is(storage.sync!.size(), 210);
});

test("failures keep their errno", async () => {
  const storage = customStorage({ size: 100, read: () => Promise.reject(Object.assign(new Error("x"), { code: "ENOSPC" })) });
  assert.is((await rejects(storage.async!.read(new Uint8Array(5), 0), "ERR_NO_SPACE")).errno, "ENOSPC");
});

test("an object that is no source", () => {
  for (const bad of [null, {}, { size: 5 }, { read: () => 0 }])
    assert.throws(
      () => customStorage(bad as unknown as CustomSource),
      (error: BlockError) => error.code === "ERR_INVALID_ARGUMENT",
    );
  assert.throws(
    () => customStorage({ size: 5, read: () => 0 }, { readOnly: false }),
    (error: BlockError) => error.code === "ERR_INVALID_ARGUMENT",
  );
});

test.run();
