/**
 * The rules of src/storage/storage.ts as tests, for any storage and each of its faces. Imports nothing of a platform, so
 * that it runs in a browser worker as well.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BlockError, type ErrorCode } from "../../src/base/error.js";
import type { AsyncStorageFace, Storage } from "../../src/storage/storage.js";
import { chooseSeed, random } from "../support/random.js";

export interface StorageSuiteOptions {
  /** A storage over a medium that holds exactly `content`; read-only media get it from elsewhere. */
  make(content: Uint8Array): Storage | Promise<Storage>;
  /** Undoes `make` after `close`: removes files, stops servers. */
  dispose?(): void | Promise<void>;
  /** What the medium holds, read past the storage after flush; absent where there is no other way to look. */
  readBack?(): Uint8Array | Promise<Uint8Array>;
  writable: boolean;
  /** Grows by writes and truncate. */
  growable: boolean;
  /** `discard`, `writeZeroes` and `extents` must be there and work (otherwise they may be absent or ERR_UNSUPPORTED). */
  holes?: boolean;
  /** Smallest hole the medium can keep, for the hole tests; 65536 when absent. */
  holeUnit?: number;
  /** Bytes of the larger contents used; 300000 when absent. */
  size?: number;
}

export interface StorageCase {
  name: string;
  run(): Promise<void>;
}

type FaceName = "sync" | "async";

/** One face, seen through promises; what a synchronous face throws becomes a rejection. */
function faceOf(storage: Storage, face: FaceName): AsyncStorageFace {
  if (face === "async") {
    assert.ok(storage.async, "has an asynchronous face");
    return storage.async;
  }
  const sync = storage.sync;
  assert.ok(sync, "has a synchronous face");
  const plain = <T>(value: T): T => {
    assert.not.instance(value, Promise, "a synchronous face returns values");
    return value;
  };
  const wrapped: AsyncStorageFace = {
    read: async (into, offset) => plain(sync.read(into, offset)),
    write: async (from, offset) => plain(sync.write(from, offset)),
    flush: async () => plain(sync.flush()),
    size: async () => plain(sync.size()),
    truncate: async (size) => plain(sync.truncate(size)),
    close: async () => plain(sync.close()),
  };
  if (sync.writeZeroes) wrapped.writeZeroes = async (offset, length, flags) => plain(sync.writeZeroes!(offset, length, flags));
  if (sync.discard) wrapped.discard = async (offset, length) => plain(sync.discard!(offset, length));
  if (sync.allocate) wrapped.allocate = async (offset, length) => plain(sync.allocate!(offset, length));
  if (sync.extents) wrapped.extents = async (offset, length) => plain(sync.extents!(offset, length));
  if (sync.allocatedSize) wrapped.allocatedSize = async () => plain(sync.allocatedSize!());
  return wrapped;
}

export async function rejects(promise: Promise<unknown>, ...codes: ErrorCode[]): Promise<BlockError> {
  let error: unknown;
  try {
    await promise;
  } catch (thrown) {
    error = thrown;
  }
  assert.instance(error, BlockError, `expected ${codes.join(" or ")}, got ${String(error)}`);
  const failure = error as BlockError;
  assert.ok(codes.includes(failure.code), `expected ${codes.join(" or ")}, got ${failure.code}: ${failure.message}`);
  assert.ok(failure.message.length > 0);
  return failure;
}

const pattern = (length: number, seed: number): Uint8Array => {
  const out = new Uint8Array(length);
  let state = seed >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    // Never zero: a byte that went missing must show.
    out[i] = (state >>> 24) | 1;
  }
  return out;
};

async function expectBytes(face: AsyncStorageFace, offset: number, want: Uint8Array, what: string): Promise<void> {
  const into = new Uint8Array(want.length).fill(0xa5);
  assert.is(await face.read(into, offset), want.length, `${what}: count`);
  same(into, want, what);
}

function same(got: Uint8Array, want: Uint8Array, what: string): void {
  assert.is(got.length, want.length, `${what}: length`);
  for (let i = 0; i < want.length; i++)
    if (got[i] !== want[i]) assert.unreachable(`${what}: byte ${i} is ${got[i]}, not ${want[i]}`);
}

/** Covers [offset, offset+length) by asking until the end, checking order and gaplessness. */
async function allExtents(
  face: AsyncStorageFace,
  offset: number,
  length: number,
): Promise<{ offset: number; length: number; data: boolean }[]> {
  const out = [];
  const end = offset + length;
  for (let at = offset; at < end;) {
    const part = await face.extents!(at, end - at);
    assert.ok(part.length > 0, "extents are never empty");
    for (const extent of part) {
      assert.is(extent.offset, at, "extents come in order without gaps");
      assert.ok(extent.length > 0, "an extent has a length");
      out.push(extent);
      at += extent.length;
    }
    assert.ok(at <= end, "extents stay in the range");
  }
  return out;
}

/** The tests of one face as plain functions, for runners other than uvu. */
export function storageCases(face: FaceName, options: StorageSuiteOptions): StorageCase[] {
  const cases: StorageCase[] = [];
  const big = options.size ?? 300000;
  const hole = options.holeUnit ?? 65536;

  const add = (
    name: string,
    content: () => Uint8Array,
    run: (face: AsyncStorageFace, storage: Storage, content: Uint8Array) => Promise<void>,
  ): void => {
    cases.push({
      name,
      run: async () => {
        const bytes = content();
        const storage = await options.make(bytes.slice());
        try {
          await run(faceOf(storage, face), storage, bytes);
        } finally {
          await faceOf(storage, face).close();
          await options.dispose?.();
        }
      },
    });
  };
  const checkMedium = async (face: AsyncStorageFace, want: Uint8Array, what: string): Promise<void> => {
    await face.flush();
    if (options.readBack) same(await options.readBack(), want, `${what}: on the medium`);
  };

  add(
    "declares itself",
    () => pattern(1000, 1),
    async (io, storage) => {
      assert.ok(storage.name.length > 0);
      assert.is(storage.readOnly, !options.writable);
      assert.is(storage.fixedSize, !options.growable);
      assert.ok(Number.isSafeInteger(storage.alignment) && storage.alignment >= 1);
      assert.is(await io.size(), 1000);
    },
  );

  add(
    "reads what is there",
    () => pattern(big, 2),
    async (io, _storage, content) => {
      await expectBytes(io, 0, content, "all");
      for (const [offset, length] of [
        [0, 1],
        [1, 1],
        [511, 2],
        [4095, 4098],
        [65535, 2],
        [65536, 65536],
        [big - 1, 1],
        [12345, 100001],
        [0, 0],
        [big, 0],
      ] as const) {
        await expectBytes(io, offset, content.subarray(offset, offset + length), `${offset}+${length}`);
      }
    },
  );

  add(
    "reads into the middle of a larger buffer",
    () => pattern(10000, 3),
    async (io, _storage, content) => {
      const buffer = new Uint8Array(5000).fill(0xee);
      assert.is(await io.read(buffer.subarray(100, 4100), 77), 4000);
      same(buffer.subarray(100, 4100), content.subarray(77, 4077), "window");
      assert.ok(
        buffer.subarray(0, 100).every((byte) => byte === 0xee),
        "bytes before are untouched",
      );
      assert.ok(
        buffer.subarray(4100).every((byte) => byte === 0xee),
        "bytes after are untouched",
      );
    },
  );

  add(
    "is short only at the end, and leaves the rest alone",
    () => pattern(70000, 4),
    async (io, _storage, content) => {
      const into = new Uint8Array(1000).fill(0xee);
      assert.is(await io.read(into, 70000 - 300), 300);
      same(into.subarray(0, 300), content.subarray(70000 - 300), "the part inside");
      assert.ok(
        into.subarray(300).every((byte) => byte === 0xee),
        "bytes past the count are untouched",
      );
      assert.is(await io.read(into, 70000), 0, "at the end");
      assert.is(await io.read(into, 2 ** 40), 0, "far past the end");
      assert.ok(into.subarray(300).every((byte) => byte === 0xee));
    },
  );

  add(
    "an empty medium",
    () => new Uint8Array(0),
    async (io) => {
      assert.is(await io.size(), 0);
      assert.is(await io.read(new Uint8Array(10), 0), 0);
    },
  );

  add(
    "concurrent reads",
    () => pattern(big, 5),
    async (io, _storage, content) => {
      const jobs = [];
      for (let i = 0; i < 40; i++) {
        const offset = (i * 7919) % (big - 5000);
        jobs.push(expectBytes(io, offset, content.subarray(offset, offset + 5000), `read ${i}`));
      }
      await Promise.all(jobs);
    },
  );

  add(
    "refuses nonsense",
    () => pattern(1000, 6),
    async (io) => {
      const bytes = new Uint8Array(10);
      for (const offset of [-1, 0.5, NaN, Infinity, 2 ** 53, Number.MAX_SAFE_INTEGER - 5]) {
        await rejects(io.read(bytes, offset), "ERR_INVALID_ARGUMENT", "ERR_OUT_OF_RANGE");
        if (options.writable) await rejects(io.write(bytes, offset), "ERR_INVALID_ARGUMENT", "ERR_OUT_OF_RANGE", "ERR_TOO_LARGE");
      }
      if (options.writable)
        for (const size of [-1, 0.5, NaN, 2 ** 53]) await rejects(io.truncate(size), "ERR_INVALID_ARGUMENT", "ERR_UNSUPPORTED");
      assert.is(await io.size(), 1000);
    },
  );

  add(
    "after close everything is ERR_CLOSED",
    () => pattern(1000, 7),
    async (io) => {
      await io.close();
      await io.close();
      await rejects(io.read(new Uint8Array(1), 0), "ERR_CLOSED");
      await rejects(io.size(), "ERR_CLOSED");
      await rejects(io.write(new Uint8Array(1), 0), "ERR_CLOSED");
      await rejects(io.truncate(0), "ERR_CLOSED");
      await rejects(io.flush(), "ERR_CLOSED");
      if (io.extents) await rejects(io.extents(0, 1), "ERR_CLOSED");
      if (io.discard) await rejects(io.discard(0, 1), "ERR_CLOSED");
      if (io.writeZeroes) await rejects(io.writeZeroes(0, 1, {}), "ERR_CLOSED");
      if (io.allocate) await rejects(io.allocate(0, 1), "ERR_CLOSED");
      if (io.allocatedSize) await rejects(io.allocatedSize(), "ERR_CLOSED");
    },
  );

  add(
    "extents cover the range",
    () => pattern(big, 8),
    async (io) => {
      if (!io.extents) return assert.not(options.holes, "must have extents");
      for (const extent of await allExtents(io, 0, big)) assert.ok(extent.data, "non-zero bytes are data");
      await allExtents(io, 4097, 100000);
      assert.equal(await io.extents(big, 0), []);
    },
  );

  if (!options.writable) {
    add(
      "refuses to change",
      () => pattern(1000, 9),
      async (io, _storage, content) => {
        await rejects(io.write(new Uint8Array(1), 0), "ERR_READ_ONLY");
        await rejects(io.truncate(0), "ERR_READ_ONLY");
        if (io.discard) await rejects(io.discard(0, 10), "ERR_READ_ONLY");
        if (io.writeZeroes) await rejects(io.writeZeroes(0, 10, {}), "ERR_READ_ONLY");
        if (io.allocate) await rejects(io.allocate(0, 10), "ERR_READ_ONLY");
        await io.flush();
        await expectBytes(io, 0, content, "unchanged");
      },
    );
    return cases;
  }

  add(
    "writes what was given",
    () => pattern(big, 10),
    async (io, _storage, content) => {
      for (const [offset, length] of [
        [0, 1],
        [511, 2],
        [4096, 4096],
        [65535, 70000],
        [big - 1, 1],
        [100, 0],
      ] as const) {
        const bytes = pattern(length, offset + 99);
        await io.write(bytes, offset);
        content.set(bytes, offset);
        bytes.fill(0xdd); // buffers must not be kept
      }
      await expectBytes(io, 0, content, "all");
      await checkMedium(io, content, "all");
    },
  );

  add(
    "writes from the middle of a larger buffer",
    () => pattern(5000, 11),
    async (io, _storage, content) => {
      const bytes = pattern(3000, 12);
      await io.write(bytes.subarray(500, 1500), 2000);
      content.set(bytes.subarray(500, 1500), 2000);
      await checkMedium(io, content, "window");
      await expectBytes(io, 0, content, "window");
    },
  );

  add(
    "concurrent writes",
    () => pattern(big, 13),
    async (io, _storage, content) => {
      const jobs = [];
      for (let i = 0; i < 50; i++) {
        const bytes = pattern(3001, i);
        jobs.push(io.write(bytes, i * 4000 + 13));
        content.set(bytes, i * 4000 + 13);
      }
      await Promise.all(jobs);
      await expectBytes(io, 0, content, "all");
      await checkMedium(io, content, "all");
    },
  );

  if (options.growable) {
    add(
      "grows by writing past the end; the gap reads as zeros",
      () => pattern(1000, 14),
      async (io, _storage, content) => {
        const bytes = pattern(500, 15);
        await io.write(bytes, 200000);
        assert.is(await io.size(), 200500);
        const want = new Uint8Array(200500);
        want.set(content);
        want.set(bytes, 200000);
        await expectBytes(io, 0, want, "all");
        await checkMedium(io, want, "all");
        await io.write(new Uint8Array(0), 500000);
        assert.is(await io.size(), 200500, "an empty write does not grow");
      },
    );

    add(
      "truncates",
      () => pattern(big, 16),
      async (io, _storage, content) => {
        await io.truncate(100001);
        assert.is(await io.size(), 100001);
        await io.truncate(150000);
        assert.is(await io.size(), 150000);
        const want = new Uint8Array(150000);
        want.set(content.subarray(0, 100001));
        await expectBytes(io, 0, want, "shrunk and grown");
        await checkMedium(io, want, "shrunk and grown");
        await io.truncate(0);
        assert.is(await io.size(), 0);
        await io.truncate(10);
        await expectBytes(io, 0, new Uint8Array(10), "from nothing");
      },
    );
  } else {
    add(
      "does not grow",
      () => pattern(1000, 17),
      async (io, _storage, content) => {
        await rejects(io.write(new Uint8Array(10), 1000), "ERR_NO_SPACE");
        await rejects(io.write(new Uint8Array(10), 995), "ERR_NO_SPACE");
        await rejects(io.truncate(2000), "ERR_UNSUPPORTED");
        await io.truncate(1000);
        assert.is(await io.size(), 1000);
        await expectBytes(io, 0, content, "unchanged");
      },
    );
  }

  /** undefined when the storage said it cannot, which only those without holes may. */
  const optional = async (work: Promise<void> | undefined): Promise<boolean> => {
    if (work === undefined) {
      assert.not(options.holes, "must have the call");
      return false;
    }
    try {
      await work;
      return true;
    } catch (error) {
      if (!options.holes && error instanceof BlockError && error.code === "ERR_UNSUPPORTED") return false;
      throw error;
    }
  };

  for (const mayUnmap of [false, true]) {
    add(
      `writes zeroes${mayUnmap ? " (may unmap)" : ""}`,
      () => pattern(big, 18),
      async (io, _storage, content) => {
        for (const [offset, length] of [
          [100, 50],
          [65536, 65536],
          [130000, 70001],
          [big - 10, 10],
          [5, 0],
        ] as const) {
          if (!(await optional(io.writeZeroes?.(offset, length, { mayUnmap })))) return;
          content.fill(0, offset, offset + length);
        }
        assert.is(await io.size(), big, "the size stays");
        await expectBytes(io, 0, content, "all");
        await checkMedium(io, content, "all");
        await rejects(io.writeZeroes!(big - 5, 10, { mayUnmap }), "ERR_OUT_OF_RANGE");
      },
    );
  }

  add(
    "discards",
    () => pattern(big, 19),
    async (io, _storage, content) => {
      for (const [offset, length] of [
        [100, 50],
        [65536, 65536],
        [130000, 70001],
        [5, 0],
      ] as const) {
        if (!(await optional(io.discard?.(offset, length)))) return;
        content.fill(0, offset, offset + length);
      }
      assert.is(await io.size(), big, "the size stays");
      await expectBytes(io, 0, content, "all");
      await checkMedium(io, content, "all");
      await rejects(io.discard!(big, 1), "ERR_OUT_OF_RANGE");
    },
  );

  add(
    "allocates",
    () => pattern(1000, 20),
    async (io, _storage, content) => {
      if (!io.allocate) return;
      try {
        await io.allocate(500, 500);
      } catch (error) {
        assert.ok(error instanceof BlockError && error.code === "ERR_UNSUPPORTED", String(error));
        return;
      }
      await expectBytes(io, 0, content, "unchanged");
      if (!options.growable) return;
      await io.allocate(1000, 99000);
      assert.is(await io.size(), 100000);
      const want = new Uint8Array(100000);
      want.set(content);
      await expectBytes(io, 0, want, "grown");
    },
  );

  if (options.holes && options.growable) {
    add(
      "reports holes",
      () => new Uint8Array(0),
      async (io) => {
        const unit = hole;
        await io.truncate(unit * 16);
        for (const index of [2, 3, 9]) await io.write(pattern(unit, index), unit * index);
        await io.flush();
        const map = (await allExtents(io, 0, unit * 16)).map((extent) => [
          extent.offset / unit,
          extent.length / unit,
          extent.data,
        ]);
        assert.equal(map, [
          [0, 2, false],
          [2, 2, true],
          [4, 5, false],
          [9, 1, true],
          [10, 6, false],
        ]);
        await io.discard!(unit * 3, unit);
        const after = (await allExtents(io, 0, unit * 16)).filter((extent) => extent.data).map((extent) => extent.offset / unit);
        assert.equal(after, [2, 9], "a discarded run is a hole");
        const before = await io.allocatedSize!();
        assert.ok(before !== null && before >= unit * 2 && before < unit * 8, `occupies ${before}`);
        assert.equal(
          await allExtents(io, unit * 2 + 10, 20),
          [{ offset: unit * 2 + 10, length: 20, data: true }],
          "inside a run",
        );
      },
    );
  }

  add(
    "random operations agree with a plain array",
    () => pattern(big, 21),
    async (io, _storage, content) => {
      const { seed, int, chance, bytes, pick } = random(chooseSeed());
      let model = content;
      const limit = big * 2;
      try {
        for (let step = 0; step < 300; step++) {
          const kind = pick(["read", "read", "write", "write", "zero", "discard", "truncate", "flush", "extents"]);
          const offset = int(model.length + 1);
          const length = chance(0.2) ? int(100000) : int(5000);
          const inside = Math.min(length, model.length - offset);
          if (kind === "read") {
            const into = new Uint8Array(length);
            const count = await io.read(into, offset);
            assert.is(count, inside, `step ${step}: count`);
            same(into.subarray(0, count), model.subarray(offset, offset + inside), `step ${step}: read ${offset}+${length}`);
          } else if (kind === "write") {
            const start = options.growable && chance(0.1) ? offset + int(70000) : offset;
            const room = options.growable ? limit - start : model.length - start;
            const data = bytes(Math.max(0, Math.min(length, room)));
            await io.write(data, start);
            if (data.length > 0 && start + data.length > model.length) {
              const grown = new Uint8Array(start + data.length);
              grown.set(model);
              model = grown;
            }
            model.set(data, data.length > 0 ? start : 0);
          } else if (kind === "zero") {
            if (await optional(io.writeZeroes?.(offset, inside, { mayUnmap: chance(0.5) })))
              model.fill(0, offset, offset + inside);
          } else if (kind === "discard") {
            if (await optional(io.discard?.(offset, inside))) model.fill(0, offset, offset + inside);
          } else if (kind === "truncate") {
            if (!options.growable || !chance(0.3)) continue;
            const resized = new Uint8Array(int(limit));
            resized.set(model.subarray(0, resized.length));
            model = resized;
            await io.truncate(model.length);
          } else if (kind === "flush") {
            if (chance(0.2)) await io.flush();
          } else if (io.extents) {
            for (const extent of await allExtents(io, offset, inside)) {
              if (!extent.data)
                assert.ok(
                  model.subarray(extent.offset, extent.offset + extent.length).every((byte) => byte === 0),
                  `step ${step}: a hole is zeros`,
                );
            }
          }
          assert.is(await io.size(), model.length, `step ${step}: size after ${kind}`);
        }
        await expectBytes(io, 0, model, "at the end");
        await checkMedium(io, model, "at the end");
      } catch (error) {
        if (error instanceof Error) error.message += ` (SEED=${seed})`;
        throw error;
      }
    },
  );

  return cases;
}

/** Registers and runs the tests of every face the storage has, with uvu. */
export function storageSuite(name: string, faces: readonly FaceName[], options: StorageSuiteOptions): void {
  for (const face of faces) {
    const test = suite(`${name} (${face})`);
    for (const { name: what, run } of storageCases(face, options)) {
      test(what, async () => {
        try {
          await run();
        } catch (error) {
          // uvu's report leaves out the suite's name.
          if (error instanceof Error) error.message = `${name} (${face}): ${error.message}`;
          throw error;
        }
      });
    }
    test.run();
  }
}
