import { test } from "uvu";
import * as assert from "uvu/assert";
import { newExtentRecord, readExtent } from "../../../src/kernel/extent.js";
import type { ExtentRecord } from "../../../src/kernel/extent.js";
import * as L from "../../../src/kernel/layout.js";
import type { Kernel } from "../../../src/kernel/types.js";
import { Random, bothKernels, memoryDifference, newSeed } from "./kernels.js";
import { oracleScan } from "./l2-oracle.js";

const TABLE = 4096;
const OUT = 65536 + 4096;
const kernels = bothKernels(196608);

function put(kernel: Kernel, index: number, value: bigint): void {
  kernel.view.setBigUint64(TABLE + index * 8, value, false);
}

function records(kernel: Kernel, n: number): ExtentRecord[] {
  return Array.from({ length: n }, (_, i) => readExtent(kernel.view, OUT, i, newExtentRecord()));
}

function short(kernel: Kernel, n: number): unknown[] {
  return records(kernel, n).map((r) => [r.kind, r.length, r.host, r.aux, r.copied]);
}

const COPIED = 1n << 63n;
const COMPRESSED = 1n << 62n;
const K64 = 16;

interface Vector {
  name: string;
  entries: bigint[];
  bits: number;
  flags: number;
  /** [kind, length, host, aux, copied] of each record. */
  want: [number, number, number, number, boolean][];
}

const V3 = L.L2_VERSION3;
const vectors: Vector[] = [
  { name: "all unallocated", entries: [0n, 0n, 0n], bits: K64, flags: V3, want: [[L.KIND_UNALLOCATED, 3, 0, 0, false]] },
  {
    name: "contiguous data, then a jump",
    entries: [COPIED | 0x50000n, COPIED | 0x60000n, COPIED | 0x90000n, COPIED | 0x80000n],
    bits: K64,
    flags: V3,
    want: [
      [L.KIND_DATA, 2, 0x50000, 0, false],
      [L.KIND_DATA, 1, 0x90000, 0, false],
      [L.KIND_DATA, 1, 0x80000, 0, false],
    ],
  },
  {
    name: "COPIED does not end a run unless it is minded",
    entries: [COPIED | 0x50000n, 0x60000n, COPIED | 0x70000n],
    bits: K64,
    flags: V3,
    want: [[L.KIND_DATA, 3, 0x50000, 0, false]],
  },
  {
    name: "COPIED ends a run when it is minded",
    entries: [COPIED | 0x50000n, 0x60000n, COPIED | 0x70000n],
    bits: K64,
    flags: V3 | L.L2_MIND_COPIED,
    want: [
      [L.KIND_DATA, 1, 0x50000, 0, true],
      [L.KIND_DATA, 1, 0x60000, 0, false],
      [L.KIND_DATA, 1, 0x70000, 0, true],
    ],
  },
  {
    name: "zero clusters with and without host cluster",
    entries: [1n, 1n, 0x50001n, 0x60001n, 0x60000n],
    bits: K64,
    flags: V3,
    want: [
      [L.KIND_ZERO_PLAIN, 2, 0, 0, false],
      [L.KIND_ZERO_ALLOC, 2, 0x50000, 0, false],
      [L.KIND_DATA, 1, 0x60000, 0, false],
    ],
  },
  {
    name: "zero flag in version 2",
    entries: [0x50001n],
    bits: K64,
    flags: 0,
    want: [[L.KIND_INVALID, 1, 0x50000, L.INVALID_ZERO_IN_V2, false]],
  },
  {
    // 64 KiB clusters: sector count in bits 54 to 61; two more sectors, starting 0x1234 into the file.
    name: "compressed",
    entries: [COMPRESSED | (2n << 54n) | 0x1234n, COMPRESSED | 0x1a00n],
    bits: K64,
    flags: V3,
    want: [
      [L.KIND_COMPRESSED, 1, 0x1234, 3 * 512 - 0x34, false],
      [L.KIND_COMPRESSED, 1, 0x1a00, 512, false],
    ],
  },
  {
    // 512-byte clusters: one bit of sector count (61). 2 MiB: thirteen bits from 49.
    name: "compressed, smallest cluster",
    entries: [COMPRESSED | (1n << 61n) | 0x201n],
    bits: 9,
    flags: V3,
    want: [[L.KIND_COMPRESSED, 1, 0x201, 1023, false]],
  },
  {
    name: "compressed, largest cluster",
    entries: [COMPRESSED | (0x1fffn << 49n) | ((1n << 49n) - 1n)],
    bits: 21,
    flags: V3,
    want: [[L.KIND_COMPRESSED, 1, 2 ** 49 - 1, 0x2000 * 512 - 511, false]],
  },
  {
    name: "compressed beyond 2^53",
    entries: [COMPRESSED | (1n << 53n)],
    bits: 9,
    flags: V3,
    want: [[L.KIND_INVALID, 1, 2 ** 53, L.INVALID_OFFSET_RANGE, false]],
  },
  {
    name: "unaligned",
    entries: [0x50200n],
    bits: K64,
    flags: V3,
    want: [[L.KIND_INVALID, 1, 0x50200, L.INVALID_UNALIGNED, false]],
  },
  {
    name: "beyond 2^53",
    entries: [1n << 54n],
    bits: K64,
    flags: V3,
    want: [[L.KIND_INVALID, 1, 2 ** 54, L.INVALID_OFFSET_RANGE, false]],
  },
  {
    name: "a run ends at 2^53",
    entries: [(1n << 53n) - 0x10000n, 1n << 53n],
    bits: K64,
    flags: V3,
    want: [
      [L.KIND_DATA, 1, 2 ** 53 - 65536, 0, false],
      [L.KIND_INVALID, 1, 2 ** 53, L.INVALID_OFFSET_RANGE, false],
    ],
  },
  {
    name: "reserved bits are read over",
    entries: [0x50000n | (1n << 57n), 0x60002n],
    bits: K64,
    flags: V3,
    want: [[L.KIND_DATA, 2, 0x50000, 0, false]],
  },
  {
    name: "reserved bits are refused when strict",
    entries: [0x50000n, 0x60002n, 1n << 56n],
    bits: K64,
    flags: V3 | L.L2_STRICT,
    want: [
      [L.KIND_DATA, 1, 0x50000, 0, false],
      [L.KIND_INVALID, 1, 0x60000, L.INVALID_RESERVED_BITS, false],
      [L.KIND_INVALID, 1, 0, L.INVALID_RESERVED_BITS, false],
    ],
  },
  {
    name: "offset 0 of an external data file",
    entries: [COPIED, COPIED | 0x10000n, 0n, 0n, COPIED],
    bits: K64,
    flags: V3 | L.L2_EXTERNAL_DATA,
    want: [
      [L.KIND_DATA, 2, 0, 0, false],
      [L.KIND_UNALLOCATED, 2, 0, 0, false],
      [L.KIND_DATA, 1, 0, 0, false],
    ],
  },
  {
    name: "COPIED without a host cluster says nothing",
    entries: [COPIED, 0n, COPIED | 1n, 1n],
    bits: K64,
    flags: V3 | L.L2_MIND_COPIED,
    want: [
      [L.KIND_UNALLOCATED, 2, 0, 0, false],
      [L.KIND_ZERO_PLAIN, 2, 0, 0, false],
    ],
  },
  {
    name: "compressed with an external data file",
    entries: [COMPRESSED | 0x1000n],
    bits: K64,
    flags: V3 | L.L2_EXTERNAL_DATA,
    want: [[L.KIND_INVALID, 1, 0x1000, L.INVALID_COMPRESSED_WITH_DATA_FILE, false]],
  },
];

for (const kernel of kernels) {
  for (const vector of vectors) {
    test(`${kernel.flavour}: scanL2: ${vector.name}`, () => {
      kernel.memory.fill(0xa5);
      vector.entries.forEach((entry, i) => put(kernel, i, entry));
      const n = kernel.scanL2(TABLE, 0, vector.entries.length, vector.bits, vector.flags, OUT, 100);
      assert.equal(short(kernel, n), vector.want);
      assert.is(kernel.memory[OUT + n * L.EXTENT_STRIDE], 0xa5, "nothing is written behind the records");
    });
  }

  test(`${kernel.flavour}: scanL2 goes on where maxOut stopped it`, () => {
    for (let i = 0; i < 10; i++) put(kernel, i, i % 2 === 0 ? 0n : 0x50000n);
    assert.is(kernel.scanL2(TABLE, 0, 10, K64, V3, OUT, 3), 3);
    assert.is(kernel.scanL2(TABLE, 3, 7, K64, V3, OUT, 100), 7);
    assert.is(kernel.scanL2(TABLE, 3, 0, K64, V3, OUT, 100), 0);
    assert.is(kernel.scanL2(TABLE, 3, 7, K64, V3, OUT, 0), 0);
  });

  test(`${kernel.flavour}: scanL2 finds a break at every place of a long run`, () => {
    for (const broken of Array.from({ length: 40 }, (_, i) => i)) {
      for (let i = 0; i < 40; i++) put(kernel, i, COPIED | BigInt((i + 5) * 65536));
      put(kernel, broken, COPIED | 0x7770000n);
      const n = kernel.scanL2(TABLE, 0, 40, K64, V3 | L.L2_MIND_COPIED, OUT, 100);
      assert.equal(
        records(kernel, n).map((r) => r.length),
        [broken, 1, 39 - broken].filter((length) => length > 0),
      );
    }
  });

  test(`${kernel.flavour}: a run ends with the count, whatever follows`, () => {
    for (let i = 0; i < 80; i++) put(kernel, i, COPIED | BigInt((i + 5) * 65536));
    for (let count = 1; count < 70; count++) {
      kernel.memory.fill(0xa5, OUT, OUT + 100);
      assert.is(kernel.scanL2(TABLE, 3, count, K64, V3, OUT, 3), 1);
      assert.is(records(kernel, 1)[0]!.length, count);
    }
  });

  test(`${kernel.flavour}: an extended run ends with the count, whatever follows`, () => {
    for (let i = 0; i < 20; i++) {
      put(kernel, i * 2, COPIED | BigInt((i + 5) * 65536));
      put(kernel, i * 2 + 1, 0xffffffffn);
    }
    for (let count = 1; count < 300; count++) {
      assert.is(kernel.scanL2Extended(TABLE, 37, count, K64, V3, OUT, 3), 1);
      assert.is(records(kernel, 1)[0]!.length, count);
    }
  });

  const extended: {
    name: string;
    words: bigint[];
    first: number;
    count: number;
    flags?: number;
    want: [number, number, number, number, boolean][];
  }[] = [
    {
      name: "whole clusters join",
      words: [0x50000n, 0xffffffffn, 0x60000n, 0xffffffffn],
      first: 0,
      count: 64,
      want: [[L.KIND_DATA, 64, 0x50000, 0, false]],
    },
    {
      name: "subclusters of every kind",
      words: [0x50000n, (0b1100n << 32n) | 0b0011n],
      first: 1,
      count: 6,
      want: [
        [L.KIND_DATA, 1, 0x50800, 0, false],
        [L.KIND_ZERO_ALLOC, 2, 0x51000, 0, false],
        [L.KIND_UNALLOCATED_ALLOC, 3, 0x52000, 0, false],
      ],
    },
    {
      name: "without a host cluster",
      words: [0n, 0xfn << 32n, 0n, 0n],
      first: 0,
      count: 64,
      want: [
        [L.KIND_ZERO_PLAIN, 4, 0, 0, false],
        [L.KIND_UNALLOCATED, 60, 0, 0, false],
      ],
    },
    {
      name: "both bits set",
      words: [0x50000n, (1n << 32n) | 1n],
      first: 8,
      count: 56,
      want: [
        [L.KIND_INVALID, 24, 0x50000, L.INVALID_BITMAP_CONFLICT, false],
        [L.KIND_UNALLOCATED, 32, 0, 0, false],
      ],
    },
    {
      name: "allocated without a host cluster",
      words: [0n, 2n],
      first: 0,
      count: 32,
      want: [[L.KIND_INVALID, 32, 0, L.INVALID_ALLOC_WITHOUT_OFFSET, false]],
    },
    {
      name: "compressed",
      words: [COMPRESSED | 0x1234n, 0n, COMPRESSED | 0x1234n, 1n],
      first: 30,
      count: 34,
      want: [
        [L.KIND_COMPRESSED, 2, 0x1234, 512 - 0x34, false],
        [L.KIND_INVALID, 32, 0x1234, L.INVALID_COMPRESSED_WITH_BITMAP, false],
      ],
    },
    {
      name: "unaligned",
      words: [0x50200n, 1n],
      first: 0,
      count: 32,
      want: [[L.KIND_INVALID, 32, 0x50200, L.INVALID_UNALIGNED, false]],
    },
    {
      name: "bit 0 says nothing",
      words: [0x50000n, 0xffffffffn, 0x60001n, 0xffffffffn],
      first: 0,
      count: 64,
      flags: V3 | L.L2_STRICT,
      want: [[L.KIND_DATA, 64, 0x50000, 0, false]],
    },
    {
      name: "a run ends at 2^53",
      words: [(1n << 53n) - 0x20000n, 0xffffffffn, (1n << 53n) - 0x10000n, 0xffffffffn, 1n << 53n, 0xffffffffn],
      first: 0,
      count: 96,
      want: [
        [L.KIND_DATA, 64, 2 ** 53 - 131072, 0, false],
        [L.KIND_INVALID, 32, 2 ** 53, L.INVALID_OFFSET_RANGE, false],
      ],
    },
    {
      name: "ends inside of a cluster",
      words: [0x50000n, 0xffffffffn, 0x60000n, 0xffffffffn, 0x70000n, 0xffffffffn],
      first: 31,
      count: 40,
      want: [[L.KIND_DATA, 40, 0x50000 + 31 * 2048, 0, false]],
    },
  ];
  for (const vector of extended) {
    test(`${kernel.flavour}: scanL2Extended: ${vector.name}`, () => {
      kernel.memory.fill(0, TABLE, TABLE + 4096);
      vector.words.forEach((word, i) => put(kernel, i, word));
      const n = kernel.scanL2Extended(TABLE, vector.first, vector.count, K64, vector.flags ?? V3, OUT, 100);
      assert.equal(short(kernel, n), vector.want);
    });
  }
}

/** Fills a table with what images hold: runs of one kind, with breaks, and now and then nonsense. */
function randomTable(random: Random, words: number, clusterBits: number, extended: boolean): BigUint64Array {
  const table = new BigUint64Array(words);
  const size = 1n << BigInt(clusterBits);
  let host = size * BigInt(1 + random.below(1000));
  if (random.chance(0.05)) host = (1n << 53n) - size * BigInt(random.below(40));
  let kind = random.below(8);
  let bitmap = 0n;
  for (let i = 0; i < words; i += extended ? 2 : 1) {
    if (random.chance(0.15)) {
      kind = random.below(8);
      bitmap = random.chance(0.3) ? 0xffffffffn : random.chance(0.3) ? 0xffffffffn << 32n : BigInt(random.u32());
      if (random.chance(0.2)) bitmap |= BigInt(random.u32()) << 32n;
      if (random.chance(0.5)) bitmap &= ~((bitmap & 0xffffffffn) << 32n);
    }
    if (random.chance(0.1)) host += size * BigInt(random.below(5));
    if (random.chance(0.02)) host = 0n;
    let entry =
      kind < 4
        ? host
        : kind === 4
          ? host | 1n
          : kind === 5
            ? 1n
            : kind === 6
              ? 0n
              : COMPRESSED | ((BigInt(random.u32()) << 30n) ^ BigInt(random.u32()));
    if (extended && kind !== 7) entry &= ~1n;
    if (kind < 5) host += size;
    if (random.chance(0.9)) entry |= COPIED;
    if (random.chance(0.01)) entry ^= 1n << BigInt(random.below(64));
    table[i] = BigInt.asUintN(64, entry);
    if (extended)
      table[i + 1] = kind === 7 && random.chance(0.8) ? 0n : kind === 6 && random.chance(0.8) ? bitmap & ~0xffffffffn : bitmap;
  }
  return table;
}

for (const extended of [false, true]) {
  test(`random ${extended ? "extended" : "standard"} tables: WebAssembly, twin and oracle agree`, () => {
    const seed = newSeed(`l2 ${extended ? "extended" : "standard"}`);
    const random = new Random(seed);
    for (let round = 0; round < 600; round++) {
      const clusterBits = extended ? 14 + random.below(8) : 9 + random.below(13);
      const entries = 1 + random.below(120);
      const units = extended ? entries * 32 : entries;
      const flags = random.below(16);
      const table = randomTable(random, extended ? entries * 2 : entries, clusterBits, extended);
      const first = random.below(units);
      const count = random.chance(0.5) ? units - first : random.below(units - first + 1);
      const maxOut = random.chance(0.7) ? 5000 : random.below(5);
      const results = kernels.map((kernel) => {
        table.forEach((word, i) => put(kernel, i, word));
        kernel.memory.fill(0, OUT);
        const scan = extended ? kernel.scanL2Extended : kernel.scanL2;
        const n = scan(TABLE, first, count, clusterBits, flags, OUT, maxOut);
        return records(kernel, n);
      });
      const bytes = kernels[0]!.memory.subarray(TABLE, TABLE + table.length * 8);
      const want = oracleScan(bytes, extended, first, count, clusterBits, flags, maxOut);
      const where = `SEED=${seed} round ${round}`;
      assert.equal(results[1], want, `twin, ${where}`);
      assert.equal(results[0], want, `wasm, ${where}`);
      assert.equal(memoryDifference(kernels[0]!.memory, kernels[1]!.memory), -1, `memories differ, ${where}`);
    }
  });
}

test.run();
