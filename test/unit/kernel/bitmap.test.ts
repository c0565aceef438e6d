import { test } from "uvu";
import * as assert from "uvu/assert";
import { Random, bothKernels, memoryDifference, newSeed } from "./kernels.js";

const BITMAP = 1001;
const OTHER = 4003;
const kernels = bothKernels(65536);

for (const kernel of kernels) {
  test(`${kernel.flavour}: bit i is bit (i & 7) of byte i >> 3`, () => {
    kernel.memory.fill(0);
    assert.is(kernel.bitSetRange(BITMAP, 3, 1), 1);
    assert.is(kernel.memory[BITMAP], 8);
    assert.is(kernel.bitSetRange(BITMAP, 0, 20), 19);
    assert.equal([...kernel.memory.subarray(BITMAP, BITMAP + 4)], [255, 255, 15, 0]);
    assert.is(kernel.bitClearRange(BITMAP, 9, 2), 2);
    assert.is(kernel.memory[BITMAP + 1], 0b11111001);
    assert.is(kernel.bitFindClear(BITMAP, 0, 20), 9);
    assert.is(kernel.bitFindSet(BITMAP, 9, 20), 11);
    assert.is(kernel.bitFindSet(BITMAP, 20, 5), -1);
    assert.is(kernel.bitFindClear(BITMAP, 11, 9), -1);
    assert.is(kernel.bitCount(BITMAP, 0, 20), 18);
    assert.is(kernel.bitSetRange(BITMAP, 5, 0), 0);
  });
}

for (const kernel of kernels) {
  test(`${kernel.flavour}: bit numbers up to 2^32`, () => {
    // The pointer is moved down so that the last bits of a bitmap of 512 MiB land inside of a small memory.
    kernel.memory.fill(0);
    const bitmap = 32768 - 2 ** 29;
    assert.is(kernel.bitSetRange(bitmap, 2 ** 32 - 20, 20), 20);
    assert.is(kernel.bitFindSet(bitmap, 2 ** 32 - 30, 30), 2 ** 32 - 20);
    assert.is(kernel.bitFindClear(bitmap, 2 ** 32 - 20, 20), -1);
    assert.is(kernel.bitCount(bitmap, 2 ** 32 - 30, 30), 20);
    assert.is(kernel.bitClearRange(bitmap, 2 ** 32 - 1, 1), 1);
    assert.is(kernel.memory[32767], 0x7f);
  });
}

test("random operations: WebAssembly, twin and oracle agree", () => {
  const seed = newSeed("bitmap");
  const random = new Random(seed);
  const bits = 5000;
  let model = new Uint8Array(bits);
  for (const kernel of kernels) kernel.memory.fill(0);
  for (let round = 0; round < 4000; round++) {
    const first = random.below(bits);
    const count = random.below(random.chance(0.5) ? 20 : bits - first + 1) % (bits - first + 1);
    const range = model.subarray(first, first + count);
    const set = range.reduce((sum, bit) => sum + bit, 0);
    const at = (index: number): number => (index < 0 ? -1 : first + index);
    const wantSet = at(range.indexOf(1));
    const wantClear = at(range.indexOf(0));
    const action = random.below(20);
    for (const kernel of kernels) {
      const where = `${kernel.flavour}, SEED=${seed} round ${round} [${first}+${count})`;
      assert.is(kernel.bitCount(BITMAP, first, count), set, where);
      assert.is(kernel.bitFindSet(BITMAP, first, count), wantSet, where);
      assert.is(kernel.bitFindClear(BITMAP, first, count), wantClear, where);
      if (action < 8) assert.is(kernel.bitSetRange(BITMAP, first, count), count - set, where);
      else if (action < 16) assert.is(kernel.bitClearRange(BITMAP, first, count), set, where);
    }
    if (action < 8) range.fill(1);
    else if (action < 16) range.fill(0);
    else {
      const bytes = random.below(bits / 8);
      const source = Uint8Array.from({ length: bytes }, () => random.below(256));
      const bit = (i: number): number => (source[i >> 3]! >> (i & 7)) & 1;
      const name = (["bitOr", "bitAnd", "bitAndNot"] as const)[action % 3]!;
      for (const kernel of kernels) {
        kernel.memory.set(source, OTHER);
        kernel[name](BITMAP, OTHER, bytes);
      }
      model = model.map((old, i) =>
        i >= bytes * 8 ? old : name === "bitOr" ? old | bit(i) : name === "bitAnd" ? old & bit(i) : old & (1 - bit(i)),
      );
    }
    assert.equal(memoryDifference(kernels[0]!.memory, kernels[1]!.memory), -1, `memories differ, SEED=${seed} round ${round}`);
  }
});

test.run();
