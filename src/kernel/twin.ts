/** The plain TypeScript flavour of a kernel: where WebAssembly may not run (CSP, no SIMD), and the oracle of the tests. */
import * as bitmap from "./js/bitmap.js";
import * as bytes from "./js/bytes.js";
import * as census from "./js/census.js";
import * as l2 from "./js/l2.js";
import * as refcount from "./js/refcount.js";
import { refGet, refSet } from "./refcount-entry.js";
import type { Kernel } from "./types.js";

/** @param size bytes, a multiple of 64 KiB */
export function createTwin(size: number): Kernel {
  const memory = new Uint8Array(new ArrayBuffer(size));
  const view = new DataView(memory.buffer);
  const words = new Uint32Array(memory.buffer);
  return {
    flavour: "js",
    memory,
    view,
    scanL2: (table, first, count, bits, flags, out, max) => l2.scanL2(view, table, first, count, bits, flags, out, max),
    scanL2Extended: (table, first, count, bits, flags, out, max) =>
      l2.scanL2Extended(view, table, first, count, bits, flags, out, max),
    refGet: (block, index, order) => refGet(view, block, index, order),
    refSet: (block, index, order, value) => refSet(view, block, index, order, value),
    refAddRange: (block, first, count, order, delta) => refcount.refAddRange(view, block, first, count, order, delta),
    refFindFree: (block, first, count, order) => refcount.refFindFree(view, block, first, count, order),
    refFindUsed: (block, first, count, order) => refcount.refFindUsed(view, block, first, count, order),
    refLastUsed: (block, first, count, order) => refcount.refLastUsed(view, block, first, count, order),
    refFindFreeRun: (block, first, count, order, want) => refcount.refFindFreeRun(view, block, first, count, order, want),
    refFreeTail: (block, first, count, order) => {
      const last = refcount.refLastUsed(view, block, first, count, order);
      return last < 0 ? count : first + count - 1 - last;
    },
    refCountUsed: (block, first, count, order) => refcount.refCountUsed(view, block, first, count, order),
    refCompare: (block, first, count, order, counters, out, max) =>
      refcount.refCompare(view, block, first, count, order, counters, out, max),
    censusAdd: (counters, n, first, clusters, amount) => census.censusAdd(view, counters, n, first, clusters, amount),
    censusL2: (table, count, bits, flags, counters, base, n, stats) =>
      census.censusL2(view, table, count, bits, flags, counters, base, n, stats),
    isZero: (at, length) => bytes.findNonZero(memory, words, at, length) === length,
    findNonZero: (at, length) => bytes.findNonZero(memory, words, at, length),
    zeroRun: (at, length, granularity) => bytes.zeroRun(memory, words, at, length, granularity),
    dataRun: (at, length, granularity) => bytes.dataRun(memory, words, at, length, granularity),
    firstDifference: (a, b, length) => bytes.firstDifference(memory, words, a, b, length),
    swap64: (at, count) => bytes.swap64(view, at, count),
    bitSetRange: (at, first, count) => bitmap.bitSetRange(memory, at, first, count),
    bitClearRange: (at, first, count) => bitmap.bitClearRange(memory, at, first, count),
    bitCount: (at, first, count) => bitmap.bitCount(memory, at, first, count),
    bitFindSet: (at, first, count) => bitmap.bitFindSet(memory, at, first, count),
    bitFindClear: (at, first, count) => bitmap.bitFindClear(memory, at, first, count),
    bitOr: (target, source, length) => bitmap.bitOr(memory, target, source, length),
    bitAnd: (target, source, length) => bitmap.bitAnd(memory, target, source, length),
    bitAndNot: (target, source, length) => bitmap.bitAndNot(memory, target, source, length),
  };
}
