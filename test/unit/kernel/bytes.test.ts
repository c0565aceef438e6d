import { test } from "uvu";
import * as assert from "uvu/assert";
import { Random, bothKernels, newSeed } from "./kernels.js";

const kernels = bothKernels(65536);

for (const kernel of kernels) {
  test.before.each(() => void kernel.memory.fill(0));

  test(`${kernel.flavour}: one byte is found at every place and alignment`, () => {
    for (const at of [100, 101, 102, 103, 128]) {
      for (const length of [0, 1, 7, 8, 63, 64, 65, 200]) {
        assert.ok(kernel.isZero(at, length));
        kernel.memory[at - 1] = 1;
        kernel.memory[at + length] = 1;
        assert.ok(kernel.isZero(at, length), "neighbours do not matter");
        for (let i = 0; i < length; i++) {
          kernel.memory[at + i] = 0x80;
          assert.is(kernel.findNonZero(at, length), i);
          assert.not.ok(kernel.isZero(at, length));
          kernel.memory[at + i] = 0;
        }
        kernel.memory[at - 1] = 0;
        kernel.memory[at + length] = 0;
      }
    }
  });

  test(`${kernel.flavour}: zero and data runs come in whole pieces, the last one may be short`, () => {
    kernel.memory[1000 + 1300] = 1;
    assert.is(kernel.zeroRun(1000, 4096, 512), 1024);
    assert.is(kernel.zeroRun(1000, 1300, 512), 1300);
    assert.is(kernel.dataRun(1000, 4096, 512), 0);
    assert.is(kernel.dataRun(1000 + 1024, 4096 - 1024, 512), 512);
    assert.is(kernel.dataRun(1000 + 1024, 300, 512), 300);
    assert.is(kernel.zeroRun(1000, 0, 512), 0);
    assert.is(kernel.dataRun(1000, 0, 512), 0);
  });

  test(`${kernel.flavour}: swap64`, () => {
    for (let count = 0; count < 20; count++) {
      kernel.memory.fill(0);
      for (let i = 0; i < count; i++) kernel.view.setBigUint64(9 + i * 8, 0x0102030405060708n + BigInt(i), false);
      kernel.swap64(9, count);
      for (let i = 0; i < count; i++) assert.is(kernel.view.getBigUint64(9 + i * 8, true), 0x0102030405060708n + BigInt(i));
      assert.is(kernel.memory[9 + count * 8], 0);
    }
  });
}

test("random runs and differences: WebAssembly, twin and oracle agree", () => {
  const seed = newSeed("bytes");
  const random = new Random(seed);
  for (let round = 0; round < 3000; round++) {
    const a = 64 + random.below(16);
    const b = 8192 + random.below(16);
    const length = random.below(random.chance(0.5) ? 40 : 3000);
    const granularity = random.pick([1, 7, 16, 512, 4096]);
    const content = new Uint8Array(length);
    let fill = 0;
    for (let i = 0; i < length; i++) {
      if (random.chance(0.01)) fill = random.below(3);
      content[i] = fill === 0 ? 0 : fill === 1 ? random.below(256) : random.below(40) === 0 ? 1 : 0;
    }
    const other = content.slice();
    if (length > 0 && random.chance(0.8)) other[random.below(length)]! ^= 1 << random.below(8);
    const zeroPiece = (from: number): boolean => content.subarray(from, from + granularity).every((byte) => byte === 0);
    let zeros = 0;
    while (zeros < length && zeroPiece(zeros)) zeros += granularity;
    let data = 0;
    while (data < length && !zeroPiece(data)) data += granularity;
    const difference = content.findIndex((byte, i) => byte !== other[i]);
    for (const kernel of kernels) {
      kernel.memory.fill(0xee);
      kernel.memory.set(content, a);
      kernel.memory.set(other, b);
      const where = `${kernel.flavour}, SEED=${seed} round ${round}`;
      assert.is(kernel.zeroRun(a, length, granularity), Math.min(zeros, length), where);
      assert.is(kernel.dataRun(a, length, granularity), Math.min(data, length), where);
      assert.is(kernel.firstDifference(a, b, length), difference < 0 ? length : difference, where);
    }
  }
});

test.run();
