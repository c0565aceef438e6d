import { test } from "uvu";
import * as assert from "uvu/assert";
import { readCensus } from "../../../src/kernel/extent.js";
import * as L from "../../../src/kernel/layout.js";
import type { Kernel } from "../../../src/kernel/types.js";
import { Random, bothKernels, memoryDifference, newSeed } from "./kernels.js";

const TABLE = 4096;
const STATS = 1024;
const COUNTERS = 65536;
const kernels = bothKernels(131072);
const COPIED = 1n << 63n;
const COMPRESSED = 1n << 62n;

function census(kernel: Kernel, words: bigint[], bits: number, flags: number, base: number, n: number): void {
  words.forEach((word, i) => kernel.view.setBigUint64(TABLE + i * 8, BigInt.asUintN(64, word), false));
  kernel.censusL2(TABLE, flags & L.L2_EXTENDED ? words.length / 2 : words.length, bits, flags, COUNTERS, base, n, STATS);
}

function counters(kernel: Kernel, n: number): number[] {
  return Array.from({ length: n }, (_, i) => kernel.view.getUint32(COUNTERS + i * 4, true));
}

for (const kernel of kernels) {
  test.before.each(() => void kernel.memory.fill(0));

  test(`${kernel.flavour}: censusAdd clips and saturates`, () => {
    assert.is(kernel.censusAdd(COUNTERS, 4, 1, 2, 3), 2);
    assert.is(kernel.censusAdd(COUNTERS, 4, -2, 3, 1), 1);
    assert.is(kernel.censusAdd(COUNTERS, 4, 3, 2 ** 40, 1), 1);
    assert.is(kernel.censusAdd(COUNTERS, 4, 2 ** 50, 1, 1), 0);
    assert.is(kernel.censusAdd(COUNTERS, 4, -5, 5, 1), 0);
    assert.equal(counters(kernel, 5), [1, 3, 3, 1, 0]);
    kernel.censusAdd(COUNTERS, 4, 0, 1, 0xfffffffe);
    kernel.censusAdd(COUNTERS, 4, 0, 1, 1);
    assert.equal(counters(kernel, 2), [0xffffffff, 3]);
  });

  test(`${kernel.flavour}: censusL2 of a mixed table`, () => {
    // 64 KiB clusters: data at 2, 3 (contiguous) and 7, a zero cluster kept at 8, two compressed areas of which one crosses 4|5.
    census(
      kernel,
      [
        COPIED | 0x20000n,
        COPIED | 0x30000n,
        COPIED | 0x70000n,
        COPIED | 0x80001n,
        1n,
        0n,
        COMPRESSED | 0x4ff00n | (1n << 54n),
        COMPRESSED | 0x50300n,
      ],
      16,
      L.L2_VERSION3,
      0,
      10,
    );
    assert.equal(counters(kernel, 10), [0, 0, 1, 1, 1, 2, 0, 1, 1, 0]);
    assert.equal(readCensus(kernel.view, STATS), {
      allocated: 6,
      compressed: 2,
      fragmented: 3,
      zeroPlain: 1,
      zeroAllocated: 1,
      unallocated: 1,
      corrupt: 0,
      reserved: 0,
      outside: 0,
      zeroInV2: 0,
      hostEnd: 0x90000,
    });
  });

  test(`${kernel.flavour}: a table can come in slices`, () => {
    census(kernel, [COPIED | 0x20000n], 16, L.L2_VERSION3, 0, 10);
    census(kernel, [COPIED | 0x30000n, COPIED | 0x50000n], 16, L.L2_VERSION3 | L.CENSUS_CONTINUE, 0, 10);
    assert.is(readCensus(kernel.view, STATS).fragmented, 1);
    census(kernel, [COPIED | 0x20000n], 16, L.L2_VERSION3, 0, 10);
    assert.is(readCensus(kernel.view, STATS).fragmented, 1, "another table starts afresh");
    assert.is(readCensus(kernel.view, STATS).allocated, 4);
  });

  test(`${kernel.flavour}: references outside of the window`, () => {
    census(kernel, [0x20000n, 0x90000n, 1n << 55n, COMPRESSED | (1n << 53n)], 16, L.L2_VERSION3, 3, 4);
    assert.equal(counters(kernel, 4), [0, 0, 0, 0]);
    assert.is(readCensus(kernel.view, STATS).outside, 4);
    assert.is(readCensus(kernel.view, STATS).hostEnd, Infinity);
  });

  test(`${kernel.flavour}: corruption is counted as check counts it`, () => {
    census(
      kernel,
      [
        COPIED | COMPRESSED | 0x20000n, // COPIED on a compressed cluster, still counted as a reference
        0x30200n, // unaligned: touches two clusters
        0x60000n | 2n, // reserved bit
        0x80001n, // zero in version 2
      ],
      16,
      0,
      0,
      10,
    );
    assert.equal(counters(kernel, 10), [0, 0, 1, 1, 1, 0, 1, 0, 1, 0]);
    const stats = readCensus(kernel.view, STATS);
    assert.equal([stats.corrupt, stats.reserved, stats.zeroInV2], [3, 1, 1]);
  });

  test(`${kernel.flavour}: external data files are not counted, compressed clusters there are corrupt`, () => {
    census(kernel, [COPIED, COPIED | 0x10000n, COMPRESSED | 0x20000n], 16, L.L2_VERSION3 | L.L2_EXTERNAL_DATA, 0, 10);
    assert.equal(counters(kernel, 10), Array(10).fill(0));
    const stats = readCensus(kernel.view, STATS);
    assert.equal([stats.allocated, stats.corrupt], [2, 1]);
  });

  test(`${kernel.flavour}: extended entries`, () => {
    census(
      kernel,
      [
        0x20000n,
        0xffn, // data
        0x30000n,
        0xffn << 32n, // only zeros: kept
        0x50000n,
        (1n << 32n) | 1n, // conflict, still a reference
        0n,
        1n, // allocated without a host cluster
        0n,
        0xffffffffn << 32n, // zero
        COMPRESSED | 0x60000n,
        0n,
        COMPRESSED | 0x60000n,
        1n, // corrupt
      ],
      16,
      L.L2_VERSION3 | L.L2_EXTENDED,
      0,
      10,
    );
    assert.equal(counters(kernel, 10), [0, 0, 1, 1, 0, 1, 1, 0, 0, 0]);
    const stats = readCensus(kernel.view, STATS);
    assert.equal(
      [stats.allocated, stats.compressed, stats.zeroAllocated, stats.zeroPlain, stats.unallocated, stats.corrupt],
      [4, 1, 1, 1, 1, 3],
    );
  });
}

test("random tables: WebAssembly and twin leave the same memory", () => {
  const seed = newSeed("census");
  const random = new Random(seed);
  for (let round = 0; round < 800; round++) {
    const extended = random.chance(0.4);
    const bits = extended ? 14 + random.below(8) : 9 + random.below(13);
    const flags = random.below(8) | (extended ? L.L2_EXTENDED : 0) | (random.chance(0.3) ? L.CENSUS_CONTINUE : 0);
    const base = random.below(30);
    const n = 1 + random.below(100);
    const words = Array.from({ length: 2 * (1 + random.below(60)) }, (_, i) => {
      if (extended && i % 2 === 1) return random.chance(0.5) ? BigInt(random.u32()) : BigInt(random.u32()) << 32n;
      const host = BigInt(random.below(150)) << BigInt(bits);
      const kind = random.below(6);
      let word =
        kind < 3
          ? host | COPIED
          : kind === 3
            ? host | 1n
            : kind === 4
              ? 0n
              : COMPRESSED | (host + BigInt(random.below(5000))) | (BigInt(random.below(2)) << BigInt(70 - bits));
      if (random.chance(0.03)) word ^= 1n << BigInt(random.below(64));
      return word;
    });
    const nextContiguous = random.chance(0.5) ? 0 : random.below(100) * 2 ** bits;
    for (const kernel of kernels) {
      kernel.memory.fill(0);
      kernel.view.setFloat64(STATS + L.CENSUS_NEXT_CONTIGUOUS, nextContiguous, true);
      census(kernel, words, bits, flags, base, n);
    }
    assert.equal(memoryDifference(kernels[0]!.memory, kernels[1]!.memory), -1, `SEED=${seed} round ${round}`);
  }
});

test.run();
