/** The whole export list of the kernel module. src/kernel/types.ts documents every function. */
export { scanL2 } from "./map/l2";
export { scanL2Extended } from "./map/l2-extended";
export { refAddRange, refCountUsed, refFindFree, refFindFreeRun, refFindUsed, refLastUsed } from "./refcount/block";
export { refCompare } from "./refcount/compare";
export { censusAdd, censusL2 } from "./refcount/census";
export { dataRun, findNonZero, firstDifference, swap64, zeroRun } from "./mem/bytes";
export { bitAnd, bitAndNot, bitClearRange, bitCount, bitFindClear, bitFindSet, bitOr, bitSetRange } from "./bitmap/bitmap";
