import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Kernel } from "../../../src/kernel/types.js";
import { Random, bothKernels, memoryDifference, newSeed } from "./kernels.js";

const BLOCK = 1000; // not aligned to anything wide on purpose
const COUNTERS = 16384;
const OUT = 32768;
const kernels = bothKernels(65536);

/** Values as BigInt, straight from the description of refcount blocks. */
function oracleRead(bytes: Uint8Array, entries: number, order: number): bigint[] {
  const width = 1 << order;
  return Array.from({ length: entries }, (_, i) => {
    if (width < 8) return BigInt((bytes[BLOCK + Math.floor((i * width) / 8)]! >> ((i * width) % 8)) & ((1 << width) - 1));
    let value = 0n;
    for (let b = 0; b < width / 8; b++) value = (value << 8n) | BigInt(bytes[BLOCK + (i * width) / 8 + b]!);
    return value;
  });
}

for (const kernel of kernels) {
  test(`${kernel.flavour}: refGet and refSet in every width`, () => {
    for (let order = 0; order <= 6; order++) {
      const max = order === 6 ? Number.MAX_SAFE_INTEGER : 2 ** (1 << order) - 1;
      kernel.memory.fill(0);
      for (const index of [0, 1, 7, 9, 30]) {
        kernel.refSet(BLOCK, index, order, max);
        assert.is(kernel.refGet(BLOCK, index, order), max);
      }
      const want = Array.from({ length: 32 }, (_, i) => ([0, 1, 7, 9, 30].includes(i) ? BigInt(max) : 0n));
      assert.equal(oracleRead(kernel.memory, 32, order), want, `order ${order}`);
      kernel.refSet(BLOCK, 7, order, 0);
      assert.is(kernel.refGet(BLOCK, 7, order), 0);
      assert.is(kernel.refGet(BLOCK, 9, order), max);
    }
  });

  test(`${kernel.flavour}: 64-bit values that are no safe integers come as Infinity`, () => {
    kernel.view.setBigUint64(BLOCK, 1n << 53n, false);
    assert.is(kernel.refGet(BLOCK, 0, 6), Infinity);
    kernel.view.setBigUint64(BLOCK, (1n << 53n) - 1n, false);
    assert.is(kernel.refGet(BLOCK, 0, 6), 2 ** 53 - 1);
  });

  test(`${kernel.flavour}: sub-byte entries start at the least significant bit`, () => {
    kernel.memory.fill(0);
    kernel.memory[BLOCK] = 0b10_01_11_00;
    assert.equal(
      [0, 1, 2, 3].map((i) => kernel.refGet(BLOCK, i, 1)),
      [0, 3, 1, 2],
    );
  });

  test(`${kernel.flavour}: refAddRange changes nothing when one entry cannot`, () => {
    for (let order = 0; order <= 6; order++) {
      for (const delta of [1, -1]) {
        for (const bad of [3, 4, 130, 299]) {
          kernel.memory.fill(0x11, 0, OUT);
          for (let i = 0; i < 310; i++) kernel.refSet(BLOCK, i, order, order === 0 ? (delta > 0 ? 0 : 1) : 1);
          const at = BLOCK + (bad * (1 << order)) / 8;
          if (order === 6) kernel.view.setBigUint64(at, delta > 0 ? (1n << 64n) - 1n : 0n);
          else kernel.refSet(BLOCK, bad, order, delta > 0 ? 2 ** (1 << order) - 1 : 0);
          const before = kernel.memory.slice();
          assert.is(kernel.refAddRange(BLOCK, 3, 297, order, delta), bad, `order ${order} delta ${delta}`);
          assert.equal(memoryDifference(kernel.memory, before), -1);
          assert.is(kernel.refAddRange(BLOCK, bad + 1, 5, order, delta), -1);
        }
      }
    }
  });

  test(`${kernel.flavour}: free runs and tails`, () => {
    kernel.memory.fill(0);
    for (const used of [0, 1, 5, 6, 7, 40]) kernel.refSet(BLOCK, used, 4, 2);
    assert.is(kernel.refFindFree(BLOCK, 0, 64, 4), 2);
    assert.is(kernel.refFindFree(BLOCK, 5, 3, 4), -1);
    assert.is(kernel.refFindFreeRun(BLOCK, 0, 64, 4, 3), 2);
    assert.is(kernel.refFindFreeRun(BLOCK, 0, 64, 4, 4), 8);
    assert.is(kernel.refFindFreeRun(BLOCK, 0, 64, 4, 32), 8);
    assert.is(kernel.refFindFreeRun(BLOCK, 0, 64, 4, 33), -1);
    assert.is(kernel.refFreeTail(BLOCK, 0, 64, 4), 23);
    assert.is(kernel.refFreeTail(BLOCK, 41, 23, 4), 23);
    assert.is(kernel.refFreeTail(BLOCK, 0, 8, 4), 0);
    assert.is(kernel.refLastUsed(BLOCK, 0, 64, 4), 40);
    assert.is(kernel.refLastUsed(BLOCK, 41, 23, 4), -1);
    assert.is(kernel.refFindUsed(BLOCK, 8, 56, 4), 40);
    assert.is(kernel.refCountUsed(BLOCK, 0, 64, 4), 6);
    assert.is(kernel.refFindFree(BLOCK, 10, 0, 4), -1);
  });
}

test("random blocks: WebAssembly, twin and oracle agree in every width", () => {
  const seed = newSeed("refcount");
  const random = new Random(seed);
  for (let round = 0; round < 1500; round++) {
    const order = random.below(7);
    const entries = 1 + random.below(600);
    const bytes = Math.ceil((entries * (1 << order)) / 8) + 16;
    const content = new Uint8Array(bytes);
    const style = random.below(4);
    for (let i = 0; i < bytes; i++)
      content[i] = style === 0 ? 0 : style === 1 ? 0xff : random.chance(style === 2 ? 0.02 : 0.9) ? random.below(256) : 0;
    for (let i = random.below(3); i > 0; i--) content[random.below(bytes)] = random.below(256);
    const first = random.below(entries);
    const count = random.below(entries - first + 1);
    const want = 1 + random.below(30);
    const delta = random.chance(0.5) ? 1 : -1;
    for (const kernel of kernels) {
      kernel.memory.fill(0);
      kernel.memory.set(content, BLOCK);
    }
    const before = oracleRead(kernels[0]!.memory, entries, order);
    const range = before.slice(first, first + count);
    const max = (1n << BigInt(1 << order)) - 1n;
    const where = (name: string, kernel: Kernel): string =>
      `${name}, ${kernel.flavour}, SEED=${seed} round ${round} order ${order} [${first}+${count})`;
    const at = (index: number): number => (index < 0 ? -1 : first + index);
    let freeRun = -1;
    let lastUsed = count - 1;
    while (lastUsed >= 0 && range[lastUsed] === 0n) lastUsed--;
    for (let i = 0; i + want <= count && freeRun < 0; i++)
      if (range.slice(i, i + want).every((value) => value === 0n)) freeRun = i;
    const bad = range.findIndex((value) => value === (delta > 0 ? max : 0n));
    for (const kernel of kernels) {
      assert.is(kernel.refFindFree(BLOCK, first, count, order), at(range.indexOf(0n)), where("find free", kernel));
      assert.is(
        kernel.refFindUsed(BLOCK, first, count, order),
        at(range.findIndex((value) => value !== 0n)),
        where("find used", kernel),
      );
      assert.is(kernel.refLastUsed(BLOCK, first, count, order), at(lastUsed), where("last used", kernel));
      assert.is(
        kernel.refCountUsed(BLOCK, first, count, order),
        range.filter((value) => value !== 0n).length,
        where("count", kernel),
      );
      assert.is(kernel.refFindFreeRun(BLOCK, first, count, order, want), at(freeRun), where("free run", kernel));
      assert.is(kernel.refAddRange(BLOCK, first, count, order, delta), at(bad), where("add", kernel));
      const after = before.map((value, i) => (bad < 0 && i >= first && i < first + count ? value + BigInt(delta) : value));
      assert.equal(oracleRead(kernel.memory, entries, order), after, where("after add", kernel));
    }
    assert.equal(memoryDifference(kernels[0]!.memory, kernels[1]!.memory), -1, `memories differ, SEED=${seed} round ${round}`);
  }
});

test("random compare: WebAssembly, twin and oracle agree", () => {
  const seed = newSeed("refCompare");
  const random = new Random(seed);
  for (let round = 0; round < 600; round++) {
    const order = random.chance(0.4) ? 4 : random.below(7);
    const first = random.below(20);
    const count = random.below(200);
    const maxOut = random.chance(0.7) ? 1000 : random.below(10);
    const refs = Array.from({ length: first + count }, () =>
      random.chance(0.05) ? random.below(Math.min(2 ** (1 << order), 2 ** 32)) : 1,
    );
    const counters = refs.slice(first).map((value) => (random.chance(0.03) ? random.pick([0, 1, random.u32()]) : value));
    const want = counters.flatMap((value, i) => (value === refs[first + i] ? [] : [first + i])).slice(0, maxOut);
    for (const kernel of kernels) {
      kernel.memory.fill(0);
      refs.forEach((value, i) => kernel.refSet(BLOCK, i, order, value));
      counters.forEach((value, i) => kernel.view.setUint32(COUNTERS + i * 4, value, true));
      const n = kernel.refCompare(BLOCK, first, count, order, COUNTERS, OUT, maxOut);
      const got = Array.from({ length: n }, (_, i) => kernel.view.getUint32(OUT + i * 4, true));
      assert.equal(got, want, `${kernel.flavour}, SEED=${seed} round ${round}`);
      assert.is(kernel.view.getUint32(OUT + n * 4, true), 0);
    }
  }
});

test.run();
