/**
 * What every writable format owes its callers, as tests: create, open, read, write, zeros, discard, flush, resize, backing files,
 * errors, closing. Imports nothing of a platform, so that it runs in a browser worker as well; where the images live is up to the
 * caller (`World`).
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BlockError, type ErrorCode } from "../../src/base/error.js";
import { discard, flush, read, truncate, write, writeZeroes } from "../../src/block/io.js";
import type { Node } from "../../src/block/node.js";
import { blockStatus } from "../../src/block/status.js";
import type { Op } from "../../src/block/op.js";
import type { World } from "../support/world.js";

export interface DriverVariant {
  name: string;
  options: Readonly<Record<string, unknown>>;
  /** What the variant cannot do although the format can. */
  backing?: boolean;
  compress?: boolean;
  resize?: boolean;
  /** What probing makes of it, where that is not the driver (fixed VHDs carry their mark at the end only). */
  probedAs?: string;
}

export interface DriverSuiteOptions {
  driver: string;
  /** A fresh place for images; `dispose` is called after each test. */
  world: () => World | Promise<World>;
  dispose?: (world: World) => void | Promise<void>;
  variants: readonly DriverVariant[];
  /** The format does these at all. */
  backing: boolean;
  compress: boolean;
  resize: boolean;
  /** Images of another size than asked for: what the format makes of it (VHD rounds to its geometry). */
  roundSize?: (size: number) => number;
  /** Bytes of the images used; 6 MiB + 512 when absent. */
  size?: number;
  /** Where a file of the world is, when that is not its name. */
  path?: (world: World, name: string) => string;
  /** Removes a file that is not open, where that is not a matter of `world.files`. */
  remove?: (world: World, path: string) => void | Promise<void>;
}

const MiB = 1024 * 1024;

/** Registers one uvu suite for each variant and runs it. */
export function driverSuite(title: string, given: DriverSuiteOptions): void {
  for (const variant of given.variants) {
    const tests = suite(`${title}: ${variant.name}`);
    for (const { name, run } of cases(given, variant)) {
      tests(name, async () => {
        const world = await given.world();
        try {
          await run(world);
        } finally {
          await given.dispose?.(world);
        }
      });
    }
    tests.run();
  }
}

interface Case {
  name: string;
  run(world: World): Promise<void>;
}

function cases(given: DriverSuiteOptions, variant: DriverVariant): Case[] {
  const { driver } = given;
  const round = given.roundSize ?? ((size: number) => size);
  const size = round(given.size ?? 6 * MiB + 512);
  const pathOf = (world: World, name: string): string => given.path?.(world, name) ?? name;
  const can = (what: "backing" | "compress" | "resize"): boolean => given[what] && variant[what] !== false;
  const list: Case[] = [];
  const add = (name: string, run: (world: World) => Promise<void>): void => void list.push({ name, run });

  async function made(
    world: World,
    name = "image",
    bytes: number = size,
    options: Readonly<Record<string, unknown>> = {},
  ): Promise<string> {
    const path = pathOf(world, name);
    await world.create(driver, path, bytes, { ...variant.options, ...options });
    return path;
  }
  /** A fresh image, open; `body` gets it, and it is closed whatever happens. */
  async function fresh(world: World, body: (node: Node, path: string) => Promise<void>, bytes: number = size): Promise<void> {
    const path = await made(world, "image", bytes);
    await opened(world, path, (node) => body(node, path));
  }
  async function opened(world: World, path: string, body: (node: Node) => Promise<void>, write = true): Promise<void> {
    const node = await world.open(driver, path, { write, unmap: write });
    let failed = true;
    try {
      await body(node);
      failed = false;
    } finally {
      // A failure inside is what the reader needs to see, not one of the close behind it.
      await world.close(node).catch((error: unknown) => {
        if (!failed) throw error;
      });
    }
  }

  add("a new image has its size and reads as zeros", async (world) => {
    await fresh(world, async (node) => {
      assert.is(node.size, size);
      assertBytes(await content(world, node), new Uint8Array(size), "a new image");
    });
  });

  add("what was written is read, at every kind of place", async (world) => {
    await fresh(world, async (node) => {
      const model = new Uint8Array(size);
      const places: [number, number][] = [
        [0, 1],
        [0, 512],
        [511, 2],
        [4095, 4098],
        [65535, 2],
        [65536, 65536],
        [131072 - 7, 70000],
        [MiB - 1, 2],
        [2 * MiB - 3, MiB + 5],
        [size - 1, 1],
        [size - 513, 513],
        [3 * MiB + 100, 0],
      ];
      let value = 1;
      for (const [offset, length] of places) {
        const bytes = pattern(length, value++);
        model.set(bytes, offset);
        await world.run(write(node, bytes, offset));
        assertBytes(await range(world, node, offset, length), bytes, `[${offset}, +${length})`);
      }
      assertBytes(await content(world, node), model, "after all writes");
    });
  });

  add("the caller's buffer is its own: unchanged by a write, free after it", async (world) => {
    await fresh(world, async (node) => {
      const bytes = pattern(70001, 3);
      const copy = bytes.slice();
      await world.run(write(node, bytes, 1000));
      assertBytes(bytes, copy, "the buffer");
      bytes.fill(0xee);
      assertBytes(await range(world, node, 1000, 70001), copy, "what was written");
    });
  });

  add("everything is there after closing and opening again", async (world) => {
    const path = await made(world);
    const model = new Uint8Array(size);
    await opened(world, path, async (node) => {
      for (let i = 0; i < 24; i++) {
        const offset = (i * 266_891) % (size - 40_000);
        const bytes = pattern(1 + ((i * 7919) % 40_000), i + 1);
        model.set(bytes, offset);
        await world.run(write(node, bytes, offset));
      }
    });
    await opened(
      world,
      path,
      async (node) => {
        assert.is(node.size, size);
        assertBytes(await content(world, node), model, "after reopening");
      },
      false,
    );
    await isClean(world, driver, path);
  });

  add("the format is recognised by its content", async (world) => {
    const path = await made(world);
    const node = await world.open(null, path, { write: false });
    try {
      assert.is(node.driver.name, variant.probedAs ?? driver);
    } finally {
      await world.close(node);
    }
  });

  add("flush makes the image complete for another reader", async (world) => {
    await fresh(world, async (node, path) => {
      const bytes = pattern(100_000, 9);
      await world.run(write(node, bytes, 123_456));
      await world.run(flush(node));
      const other = await world.open(driver, path, { write: false, forceShare: true });
      try {
        assertBytes(await range(world, other, 123_456, 100_000), bytes, "read by another");
      } finally {
        await world.close(other);
      }
    });
  });

  add("write-zeroes reads as zeros, with and without unmap, aligned or not", async (world) => {
    for (const mayUnmap of [false, true]) {
      const path = await made(world);
      const model = pattern(size, 0x5a);
      await opened(world, path, async (node) => {
        await world.run(write(node, model, 0));
        const places: [number, number][] = [
          [0, 65536],
          [100, 50],
          [65536 - 1, 2],
          [MiB + 1, 2 * MiB],
          [size - 512, 512],
          [4 * MiB, MiB],
        ];
        for (const [offset, length] of places) {
          model.fill(0, offset, offset + length);
          await world.run(writeZeroes(node, offset, length, { mayUnmap }));
        }
        assertBytes(await content(world, node), model, "after write-zeroes");
        const again = pattern(3000, 8);
        model.set(again, MiB + 777);
        await world.run(write(node, again, MiB + 777));
        assertBytes(await content(world, node), model, "written over zeros");
      });
      await opened(world, path, async (node) => assertBytes(await content(world, node), model, "after reopening"), false);
      await isClean(world, driver, path);
    }
  });

  add("the status covers everything and zeros are zeros", async (world) => {
    await fresh(world, async (node) => {
      const model = new Uint8Array(size);
      for (const [offset, length] of [
        [0, 1000],
        [MiB, 300_000],
        [5 * MiB, 65536],
      ] as const) {
        const bytes = pattern(length, 7);
        model.set(bytes, offset);
        await world.run(write(node, bytes, offset));
      }
      await world.run(writeZeroes(node, MiB + 65536, 65536));
      model.fill(0, MiB + 65536, MiB + 131072);
      for (let at = 0; at < size;) {
        const status = await world.run(blockStatus(node, at, size - at));
        assert.is(status.start, at);
        assert.ok(status.length >= 1 && status.length <= size - at, `length ${status.length} at ${at}`);
        if (status.zero)
          assert.ok(
            model.subarray(at, at + status.length).every((byte) => byte === 0),
            `[${at}, +${status.length}) is said to be zero`,
          );
        at += status.length;
      }
    });
  });

  add("discard leaves old bytes or zeros, and nothing else changes", async (world) => {
    const path = await made(world);
    const model = pattern(size, 0x33);
    await opened(world, path, async (node) => {
      await world.run(write(node, model, 0));
      const [offset, length] = [MiB + 3, 2 * MiB + 70_000];
      await world.run(discard(node, offset, length));
      const seen = await content(world, node);
      assertBytes(seen.subarray(0, offset), model.subarray(0, offset), "before the discarded range");
      assertBytes(seen.subarray(offset + length), model.subarray(offset + length), "behind the discarded range");
      for (let i = offset; i < offset + length; i++) {
        if (seen[i] !== 0 && seen[i] !== model[i]) assert.unreachable(`byte ${i} is neither old nor zero`);
      }
      model.set(seen);
      await world.run(write(node, pattern(5000, 4), offset + 10));
      model.set(pattern(5000, 4), offset + 10);
      assertBytes(await content(world, node), model, "written after discard");
    });
    await opened(world, path, async (node) => assertBytes(await content(world, node), model, "after reopening"), false);
    await isClean(world, driver, path);
  });

  add("requests at the same time, in the same clusters, do not disturb each other", async (world) => {
    await fresh(world, async (node) => {
      const model = new Uint8Array(size);
      const ops: Op<void>[] = [];
      for (let i = 0; i < 40; i++) {
        const bytes = pattern(3000, i + 1);
        const offset = 60_000 + i * 3000;
        model.set(bytes, offset);
        ops.push(write(node, bytes, offset));
      }
      for (const outcome of await world.runAll(ops)) if (!outcome.ok) throw outcome.error;
      assertBytes(await content(world, node), model, "after writes at once");
      await world.run(flush(node));
    });
  });

  add("outside the image is refused, at its end is not", async (world) => {
    await fresh(world, async (node) => {
      const byte = new Uint8Array(1);
      for (const offset of [size, size + 1, Number.MAX_SAFE_INTEGER, -1, 0.5, NaN]) {
        await fails(world, read(node, byte, offset), "ERR_OUT_OF_RANGE");
        await fails(world, write(node, byte, offset), "ERR_OUT_OF_RANGE");
        await fails(world, writeZeroes(node, offset, 1), "ERR_OUT_OF_RANGE");
        await fails(world, discard(node, offset, 1), "ERR_OUT_OF_RANGE");
      }
      await fails(world, read(node, new Uint8Array(2), size - 1), "ERR_OUT_OF_RANGE");
      await fails(world, write(node, new Uint8Array(2), size - 1), "ERR_OUT_OF_RANGE");
      const nothing = new Uint8Array(0);
      await world.run(read(node, nothing, size));
      await world.run(write(node, nothing, size));
      await world.run(writeZeroes(node, size, 0));
      await world.run(discard(node, size, 0));
      assertBytes(await content(world, node), new Uint8Array(size), "after refused requests");
    });
  });

  add("a read-only image refuses every change and is not touched", async (world) => {
    const path = await made(world);
    await opened(world, path, (node) => world.run(write(node, pattern(1000, 1), 5000)));
    const before = world.bytes(path).slice();
    await opened(
      world,
      path,
      async (node) => {
        assert.is(node.readOnly, true);
        await fails(world, write(node, new Uint8Array(512), 0), "ERR_READ_ONLY");
        await fails(world, writeZeroes(node, 0, 512), "ERR_READ_ONLY");
        await fails(world, discard(node, 0, 512), "ERR_READ_ONLY");
        await fails(world, truncate(node, size * 2, { preallocation: "off" }), "ERR_READ_ONLY");
        await world.run(flush(node));
        assertBytes(await range(world, node, 5000, 1000), pattern(1000, 1), "the content");
      },
      false,
    );
    assertBytes(world.bytes(path), before, "the file");
  });

  add("a closed image says so", async (world) => {
    const path = await made(world);
    const node = await world.open(driver, path);
    await world.close(node);
    assert.is(node.isOpen, false);
    await fails(world, read(node, new Uint8Array(1), 0), "ERR_CLOSED");
    await fails(world, write(node, new Uint8Array(1), 0), "ERR_CLOSED");
  });

  add("options nobody knows and files that are not there are refused", async (world) => {
    const path = await made(world);
    await rejects(world.open(driver, path, { write: false }, { "no-such-option": 1 }), "ERR_INVALID_ARGUMENT");
    await rejects(world.open(driver, pathOf(world, "missing"), { write: false }), "ERR_NOT_FOUND");
  });

  if (driver !== "raw") {
    add("bytes of another format are refused, whatever their length", async (world) => {
      const path = pathOf(world, "other");
      for (const length of [0, 1, 511, 512, 4096, 70_000]) {
        await world.create("raw", path, length);
        await rejects(world.open(driver, path, { write: false }), null);
      }
    });
  }

  if (can("resize")) {
    add("growing adds zeros, shrinking cuts, growing again does not bring old bytes back", async (world) => {
      const path = await made(world);
      const model = pattern(size, 0x66);
      await opened(world, path, async (node) => {
        await world.run(write(node, model, 0));
        const larger = round(size + 3 * MiB);
        await world.run(truncate(node, larger, { preallocation: "off" }));
        assert.is(node.size, larger);
        assertBytes(await range(world, node, 0, size), model, "the old part");
        assertBytes(await range(world, node, size, larger - size), new Uint8Array(larger - size), "the new part");
        await world.run(write(node, pattern(100, 1), larger - 100));
        const smaller = round(MiB + 512);
        await world.run(truncate(node, smaller, { preallocation: "off" }));
        assert.is(node.size, smaller);
        await fails(world, read(node, new Uint8Array(1), smaller), "ERR_OUT_OF_RANGE");
        await world.run(truncate(node, size, { preallocation: "off" }));
        assertBytes(await range(world, node, 0, smaller), model.subarray(0, smaller), "what was kept");
        assertBytes(await range(world, node, smaller, size - smaller), new Uint8Array(size - smaller), "what came after");
        model.fill(0, smaller);
      });
      await opened(
        world,
        path,
        async (node) => {
          assert.is(node.size, size);
          assertBytes(await content(world, node), model, "after reopening");
        },
        false,
      );
      await isClean(world, driver, path);
    });
    add("sizes that cannot be are refused and change nothing", async (world) => {
      await fresh(world, async (node) => {
        for (const bad of [-1, 0.5, NaN, Infinity, 2 ** 53])
          await fails(world, truncate(node, bad, { preallocation: "off" }), null);
        assert.is(node.size, size);
        await world.run(write(node, pattern(100, 1), 0));
        assertBytes(await range(world, node, 0, 100), pattern(100, 1), "still works");
      });
    });
  }

  if (can("backing")) {
    for (const below of ["raw", driver]) {
      add(`an overlay over ${below} shows it, hides it where written, and never changes it`, async (world) => {
        const basePath = pathOf(world, "base");
        const baseSize = round(4 * MiB);
        const base = pattern(baseSize, 0x11);
        await world.create(below, basePath, baseSize, below === driver ? variant.options : {});
        const node = await world.open(below, basePath);
        await world.run(write(node, base, 0));
        await world.close(node);
        const path = await made(world, "overlay", size, { backing_file: basePath, backing_fmt: below });
        const model = new Uint8Array(size);
        model.set(base);
        await opened(world, path, async (top) => {
          assertBytes(await content(world, top), model, "the new overlay");
          for (const [offset, length] of [
            [10, 20],
            [MiB - 5, 70_000],
            [4 * MiB - 100, 200],
            [5 * MiB, 1],
          ] as const) {
            const bytes = pattern(length, 0x77);
            model.set(bytes, offset);
            await world.run(write(top, bytes, offset));
          }
          await world.run(writeZeroes(top, 2 * MiB + 1, 200_000));
          model.fill(0, 2 * MiB + 1, 2 * MiB + 1 + 200_000);
          assertBytes(await content(world, top), model, "after writes");
        });
        await opened(world, path, async (top) => assertBytes(await content(world, top), model, "after reopening"), false);
        await opened2(world, below, basePath, async (bottom) =>
          assertBytes(await range(world, bottom, 0, baseSize), base, "the backing file"),
        );
        await isClean(world, driver, path);
      });
    }
    add("a missing backing file is named in the error", async (world) => {
      const basePath = pathOf(world, "base");
      await world.create("raw", basePath, MiB);
      const path = await made(world, "overlay", MiB, { backing_file: basePath, backing_fmt: "raw" });
      if (given.remove === undefined) world.files.delete(basePath);
      else await given.remove(world, basePath);
      const error = await rejects(world.open(driver, path, { write: false }), "ERR_NOT_FOUND");
      assert.match(error.message, "Could not open backing file: ");
      const alone = await world.open(driver, path, { write: false, noBacking: true });
      await world.close(alone);
    });
  }

  if (can("compress")) {
    add("compressed clusters read back, can be overwritten, and close clean", async (world) => {
      const path = await made(world);
      const model = new Uint8Array(size);
      await opened(world, path, async (node) => {
        const unit = node.impl.shape === "mapped" ? node.impl.allocationUnit : 65536;
        const length = Math.min(unit * 5, size - (size % unit));
        const bytes = new Uint8Array(length);
        for (let i = 0; i < length; i++) bytes[i] = (i >> 7) & 255;
        for (let at = 0; at < length; at += unit)
          await world.run(write(node, bytes.subarray(at, at + unit), at, { compressed: true }));
        model.set(bytes);
        assertBytes(await content(world, node), model, "compressed");
        const small = pattern(100, 0x42);
        model.set(small, unit + 50);
        await world.run(write(node, small, unit + 50));
        assertBytes(await content(world, node), model, "partly overwritten");
      });
      await opened(world, path, async (node) => assertBytes(await content(world, node), model, "after reopening"), false);
      await isClean(world, driver, path);
    });
  }
  return list;
}

async function opened2(world: World, driver: string, path: string, body: (node: Node) => Promise<void>): Promise<void> {
  const node = await world.open(driver, path, { write: false });
  try {
    await body(node);
  } finally {
    await world.close(node);
  }
}

/** Bytes that differ from place to place and from one `value` to another; never zero. */
export function pattern(length: number, value: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = 1 + ((i * 31 + (i >> 8) * 7 + value * 101) % 255);
  return bytes;
}

export async function range(world: World, node: Node, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length).fill(0xaa);
  await world.run(read(node, bytes, offset));
  return bytes;
}
export function content(world: World, node: Node): Promise<Uint8Array> {
  return range(world, node, 0, node.size);
}

/** Compares big buffers and says where they differ. */
export function assertBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  if (actual.length !== expected.length) assert.unreachable(`${what}: ${actual.length} bytes instead of ${expected.length}`);
  for (let i = 0; i < actual.length; i++) {
    if (actual[i] === expected[i]) continue;
    let wrong = 0;
    for (let j = i; j < actual.length; j++) if (actual[j] !== expected[j]) wrong++;
    assert.unreachable(
      `${what}: byte ${i} (0x${i.toString(16)}) is ${actual[i]} instead of ${expected[i]}; ${wrong} bytes differ`,
    );
  }
}

async function fails(world: World, op: Op<unknown>, code: ErrorCode | null): Promise<BlockError> {
  return await rejects(world.run(op), code);
}
async function rejects(promise: Promise<unknown>, code: ErrorCode | null): Promise<BlockError> {
  let error: unknown;
  try {
    await promise;
  } catch (thrown) {
    error = thrown;
  }
  if (error === undefined) assert.unreachable(`should have failed${code === null ? "" : ` with ${code}`}`);
  if (!(error instanceof BlockError)) throw error;
  if (code !== null) assert.is(error.code, code, `${error.code} (${error.message}) instead of ${code}`);
  return error;
}

/** A check finds nothing wrong, where the format can check. */
export async function isClean(world: World, driver: string, path: string): Promise<void> {
  const node = await world.open(driver, path, { write: false, check: true });
  try {
    const impl = node.impl;
    if (impl.shape !== "mapped" || impl.check === undefined) return;
    const problems: string[] = [];
    const result = await world.run(
      impl.check({ fix: "none", report: (problem) => void problems.push(`${problem.severity}: ${problem.text}`) }),
    );
    assert.equal(
      { problems, errors: result["check-errors"], corruptions: result.corruptions ?? 0, leaks: result.leaks ?? 0 },
      { problems: [], errors: 0, corruptions: 0, leaks: 0 },
    );
  } finally {
    await world.close(node);
  }
}
