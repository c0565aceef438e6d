/// <reference path="../../node_modules/@as-pect/assembly/types/as-pect.d.ts" />
import * as L from "../layout";
import { refAddRange, refCountUsed, refFindFree, refFindFreeRun, refFindUsed, refLastUsed } from "../refcount/block";
import { censusAdd, censusL2 } from "../refcount/census";
import { refCompare } from "../refcount/compare";
import { getEntry, maxEntry, setEntry } from "../refcount/entry";

const BLOCK = memory.data(4096, 16);
const COUNTERS = memory.data(4096, 16);
const OUT = memory.data(1024, 16);

describe("refcount entries", () => {
  it("hold their full width in every order", () => {
    for (let order: u32 = 0; order <= 6; order++) {
      memory.fill(BLOCK, 0, 4096);
      setEntry(BLOCK, 9, order, maxEntry(order));
      expect<u64>(getEntry(BLOCK, 9, order)).toBe(maxEntry(order));
      expect<u64>(getEntry(BLOCK, 8, order)).toBe(0);
      expect<u64>(getEntry(BLOCK, 10, order)).toBe(0);
    }
    expect<u64>(maxEntry(6)).toBe(u64.MAX_VALUE);
    expect<u64>(maxEntry(0)).toBe(1);
  });
});

describe("refcount ranges", () => {
  beforeEach(() => {
    memory.fill(BLOCK, 0, 4096);
  });

  it("add and subtract in every order, and touch no neighbour", () => {
    for (let order: u32 = 0; order <= 6; order++) {
      memory.fill(BLOCK, 0, 4096);
      expect<i32>(refAddRange(BLOCK, 3, 300, order, 1)).toBe(-1);
      expect<i32>(refFindUsed(BLOCK, 0, 310, order)).toBe(3);
      expect<i32>(refLastUsed(BLOCK, 0, 310, order)).toBe(302);
      expect<u32>(refCountUsed(BLOCK, 0, 310, order)).toBe(300);
      expect<i32>(refAddRange(BLOCK, 3, 300, order, -1)).toBe(-1);
      expect<i32>(refFindUsed(BLOCK, 0, 310, order)).toBe(-1);
    }
  });

  it("change nothing when one entry cannot", () => {
    for (let order: u32 = 0; order <= 6; order++) {
      memory.fill(BLOCK, 0, 4096);
      setEntry(BLOCK, 200, order, maxEntry(order));
      expect<i32>(refAddRange(BLOCK, 0, 300, order, 1)).toBe(200);
      expect<u32>(refCountUsed(BLOCK, 0, 310, order)).toBe(1);
      expect<i32>(refAddRange(BLOCK, 200, 2, order, -1)).toBe(201);
      expect<u64>(getEntry(BLOCK, 200, order)).toBe(maxEntry(order));
    }
  });

  it("find free entries and runs", () => {
    for (let i = 0; i < 100; i++) setEntry(BLOCK, i, 4, 1);
    setEntry(BLOCK, 40, 4, 0);
    setEntry(BLOCK, 50, 4, 0);
    setEntry(BLOCK, 51, 4, 0);
    expect<i32>(refFindFree(BLOCK, 0, 100, 4)).toBe(40);
    expect<i32>(refFindFree(BLOCK, 52, 48, 4)).toBe(-1);
    expect<i32>(refFindFreeRun(BLOCK, 0, 100, 4, 2)).toBe(50);
    expect<i32>(refFindFreeRun(BLOCK, 0, 100, 4, 3)).toBe(-1);
  });
});

describe("census", () => {
  beforeEach(() => {
    memory.fill(BLOCK, 0, 4096);
    memory.fill(COUNTERS, 0, 4096);
    memory.fill(OUT, 0, 1024);
  });

  it("clips and saturates", () => {
    expect<u32>(censusAdd(COUNTERS, 4, -1, 3, 7)).toBe(2);
    expect<u32>(load<u32>(COUNTERS)).toBe(7);
    expect<u32>(load<u32>(COUNTERS, 8)).toBe(0);
    expect<u32>(censusAdd(COUNTERS, 4, 0, 1, 0xffffffff)).toBe(1);
    expect<u32>(load<u32>(COUNTERS)).toBe(0xffffffff);
  });

  it("counts data and every cluster of a compressed area", () => {
    store<u64>(BLOCK, bswap(<u64>0x20000));
    store<u64>(BLOCK, bswap(<u64>(1 << 62) | ((<u64>1) << 54) | 0x2ff00), 8);
    censusL2(BLOCK, 2, 16, L.L2_VERSION3, COUNTERS, 0, 10, OUT);
    expect<u32>(load<u32>(COUNTERS, 8)).toBe(2);
    expect<u32>(load<u32>(COUNTERS, 12)).toBe(1);
    expect<u32>(load<u32>(OUT, L.CENSUS_ALLOCATED)).toBe(2);
    expect<u32>(load<u32>(OUT, L.CENSUS_COMPRESSED)).toBe(1);
    expect<f64>(load<f64>(OUT, L.CENSUS_HOST_END)).toBe(197120);
  });

  it("is compared with refcounts", () => {
    for (let i = 0; i < 40; i++) {
      setEntry(BLOCK, i, 4, 1);
      store<u32>(COUNTERS + (i << 2), i === 13 || i === 39 ? 2 : 1);
    }
    expect<u32>(refCompare(BLOCK, 0, 40, 4, COUNTERS, OUT, 10)).toBe(2);
    expect<u32>(load<u32>(OUT)).toBe(13);
    expect<u32>(load<u32>(OUT, 4)).toBe(39);
    expect<u32>(refCompare(BLOCK, 0, 40, 4, COUNTERS, OUT, 1)).toBe(1);
  });
});
