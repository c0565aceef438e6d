/// <reference path="../../node_modules/@as-pect/assembly/types/as-pect.d.ts" />
import * as L from "../layout";
import { scanL2 } from "../map/l2";
import { scanL2Extended } from "../map/l2-extended";

const TABLE = memory.data(8192, 16);
const OUT = memory.data(8192, 16);
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;

function put(index: i32, entry: u64): void {
  store<u64>(TABLE + ((<usize>index) << 3), bswap(entry));
}

function kind(i: i32): u32 {
  return load<u32>(OUT + i * L.EXTENT_STRIDE + L.EXTENT_KIND);
}
function length(i: i32): u32 {
  return load<u32>(OUT + i * L.EXTENT_STRIDE + L.EXTENT_LENGTH);
}
function aux(i: i32): u32 {
  return load<u32>(OUT + i * L.EXTENT_STRIDE + L.EXTENT_AUX);
}
function flags(i: i32): u32 {
  return load<u32>(OUT + i * L.EXTENT_STRIDE + L.EXTENT_FLAGS);
}
function host(i: i32): f64 {
  return load<f64>(OUT + i * L.EXTENT_STRIDE + L.EXTENT_HOST);
}

describe("scanL2", () => {
  beforeEach(() => {
    memory.fill(TABLE, 0, 8192);
  });

  it("joins contiguous data, however long", () => {
    for (let i = 0; i < 100; i++) put(i, COPIED | ((<u64>(i + 3)) << 16));
    expect<u32>(scanL2(TABLE, 0, 100, 16, L.L2_VERSION3, OUT, 10)).toBe(1);
    expect<u32>(kind(0)).toBe(L.KIND_DATA);
    expect<u32>(length(0)).toBe(100);
    expect<f64>(host(0)).toBe(196608);
  });

  it("ends a run at a jump in the vector part and in the tail", () => {
    for (let jump = 1; jump < 40; jump++) {
      for (let i = 0; i < 40; i++) put(i, (<u64>(i + 3 + (i >= jump ? 1 : 0))) << 16);
      expect<u32>(scanL2(TABLE, 0, 40, 16, L.L2_VERSION3, OUT, 10)).toBe(2);
      expect<u32>(length(0)).toBe(jump);
      expect<u32>(length(1)).toBe(40 - jump);
    }
  });

  it("keeps kinds apart", () => {
    put(1, 1);
    put(2, 0x50001);
    put(3, COPIED | 0x60000);
    put(4, COMPRESSED | (2 << 54) | 0x1234);
    put(5, 0x200);
    expect<u32>(scanL2(TABLE, 0, 6, 16, L.L2_VERSION3 | L.L2_MIND_COPIED, OUT, 10)).toBe(6);
    expect<u32>(kind(0)).toBe(L.KIND_UNALLOCATED);
    expect<u32>(kind(1)).toBe(L.KIND_ZERO_PLAIN);
    expect<u32>(kind(2)).toBe(L.KIND_ZERO_ALLOC);
    expect<u32>(kind(3)).toBe(L.KIND_DATA);
    expect<u32>(flags(3)).toBe(L.EXTENT_COPIED);
    expect<u32>(kind(4)).toBe(L.KIND_COMPRESSED);
    expect<f64>(host(4)).toBe(4660);
    expect<u32>(aux(4)).toBe(3 * 512 - 0x34);
    expect<u32>(kind(5)).toBe(L.KIND_INVALID);
    expect<u32>(aux(5)).toBe(L.INVALID_UNALIGNED);
  });

  it("stops at maxOut", () => {
    for (let i = 0; i < 10; i++) put(i, i & 1 ? 0x50000 : 0);
    expect<u32>(scanL2(TABLE, 0, 10, 16, L.L2_VERSION3, OUT, 4)).toBe(4);
    expect<u32>(scanL2(TABLE, 0, 10, 16, L.L2_VERSION3, OUT, 0)).toBe(0);
  });
});

describe("scanL2Extended", () => {
  beforeEach(() => {
    memory.fill(TABLE, 0, 8192);
  });

  it("joins whole clusters and partial ones", () => {
    for (let i = 0; i < 20; i++) {
      put(i * 2, COPIED | ((<u64>(i + 3)) << 16));
      put(i * 2 + 1, 0xffffffff);
    }
    put(41, 0xff << 32);
    expect<u32>(scanL2Extended(TABLE, 5, 20 * 32 + 12, 16, L.L2_VERSION3, OUT, 10)).toBe(3);
    expect<u32>(length(0)).toBe(20 * 32 - 5);
    expect<f64>(host(0)).toBe(196608 + 5 * 2048);
    expect<u32>(kind(1)).toBe(L.KIND_ZERO_PLAIN);
    expect<u32>(length(1)).toBe(8);
    expect<u32>(kind(2)).toBe(L.KIND_UNALLOCATED);
    expect<u32>(length(2)).toBe(9);
  });

  it("refuses contradictions", () => {
    put(0, 0x50000);
    put(1, (1 << 32) | 1);
    put(3, 1);
    put(4, COMPRESSED | 0x1000);
    put(5, 1);
    expect<u32>(scanL2Extended(TABLE, 0, 96, 16, L.L2_VERSION3, OUT, 10)).toBe(3);
    expect<u32>(aux(0)).toBe(L.INVALID_BITMAP_CONFLICT);
    expect<u32>(aux(1)).toBe(L.INVALID_ALLOC_WITHOUT_OFFSET);
    expect<u32>(aux(2)).toBe(L.INVALID_COMPRESSED_WITH_BITMAP);
  });
});
