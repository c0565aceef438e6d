/// <reference path="../../node_modules/@as-pect/assembly/types/as-pect.d.ts" />
import { bitAnd, bitAndNot, bitClearRange, bitCount, bitFindClear, bitFindSet, bitOr, bitSetRange } from "../bitmap/bitmap";
import { dataRun, findNonZero, firstDifference, swap64, zeroRun } from "../mem/bytes";

const A = memory.data(2048, 16);
const B = memory.data(2048, 16);

describe("bytes", () => {
  beforeEach(() => {
    memory.fill(A, 0, 2048);
    memory.fill(B, 0, 2048);
  });

  it("finds one byte anywhere", () => {
    for (let i = 0; i < 300; i++) {
      store<u8>(A + 3 + i, 1);
      expect<u32>(findNonZero(A + 3, 300)).toBe(i);
      expect<u32>(firstDifference(A + 3, B + 5, 300)).toBe(i);
      store<u8>(A + 3 + i, 0);
    }
    expect<u32>(findNonZero(A + 3, 300)).toBe(300);
    expect<u32>(firstDifference(A + 3, B + 5, 300)).toBe(300);
  });

  it("runs come in pieces", () => {
    store<u8>(A + 1300, 1);
    expect<u32>(zeroRun(A, 2048, 512)).toBe(1024);
    expect<u32>(dataRun(A + 1024, 1024, 512)).toBe(512);
    expect<u32>(zeroRun(A, 1300, 512)).toBe(1300);
  });

  it("swaps tables", () => {
    for (let i = 0; i < 11; i++) store<u64>(A + (i << 3), 0x0102030405060708);
    swap64(A, 11);
    for (let i = 0; i < 11; i++) expect<u64>(load<u64>(A + (i << 3))).toBe(0x0807060504030201);
    expect<u64>(load<u64>(A + 88)).toBe(0);
  });
});

describe("bitmaps", () => {
  beforeEach(() => {
    memory.fill(A, 0, 2048);
    memory.fill(B, 0, 2048);
  });

  it("set, clear and find ranges", () => {
    expect<f64>(bitSetRange(A, 13, 1000)).toBe(1000);
    expect<f64>(bitSetRange(A, 0, 14)).toBe(13);
    expect<f64>(bitCount(A, 0, 2000)).toBe(1013);
    expect<f64>(bitFindClear(A, 0, 2000)).toBe(1013);
    expect<f64>(bitFindSet(A, 1013, 900)).toBe(-1);
    expect<f64>(bitClearRange(A, 0, 1012)).toBe(1012);
    expect<f64>(bitFindSet(A, 0, 2000)).toBe(1012);
    expect<f64>(bitFindSet(A, 0, 1012)).toBe(-1);
  });

  it("combine", () => {
    memory.fill(A, 0x0f, 100);
    memory.fill(B, 0x3c, 100);
    bitOr(A, B, 99);
    expect<u8>(load<u8>(A + 98)).toBe(0x3f);
    expect<u8>(load<u8>(A + 99)).toBe(0x0f);
    bitAnd(A, B, 99);
    expect<u8>(load<u8>(A + 50)).toBe(0x3c);
    memory.fill(B, 0x0c, 99);
    bitAndNot(A, B, 99);
    expect<u8>(load<u8>(A + 50)).toBe(0x30);
  });
});
