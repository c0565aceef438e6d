/** The WebAssembly flavour of a kernel: one instance of assembly/index.ts over its own fixed memory. */
import { refGet, refSet } from "./refcount-entry.js";
import type { Kernel } from "./types.js";

const PAGE = 65536;

/** The functions the module exports; 32-bit results are signed, as WebAssembly gives them to JavaScript. */
type KernelExports = Omit<Kernel, "flavour" | "memory" | "view" | "isZero" | "refGet" | "refSet" | "refFreeTail">;

/** An instance over a memory of its own. @param size bytes, a multiple of 64 KiB. @throws RangeError if the memory cannot be had */
export function instantiate(
  module: WebAssembly.Module,
  size: number,
): { exports: KernelExports; memory: Uint8Array; view: DataView } {
  const pages = size / PAGE;
  const wasmMemory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const instance = new WebAssembly.Instance(module, { env: { memory: wasmMemory } });
  return {
    exports: instance.exports as unknown as KernelExports,
    memory: new Uint8Array(wasmMemory.buffer),
    view: new DataView(wasmMemory.buffer),
  };
}

/** @param size bytes, a multiple of 64 KiB. @throws RangeError if the memory cannot be had */
export function createWasmKernel(module: WebAssembly.Module, size: number): Kernel {
  const { exports: e, memory, view } = instantiate(module, size);
  return {
    flavour: "wasm",
    memory,
    view,
    scanL2: e.scanL2,
    scanL2Extended: e.scanL2Extended,
    refGet: (block, index, order) => refGet(view, block, index, order),
    refSet: (block, index, order, value) => refSet(view, block, index, order, value),
    refAddRange: e.refAddRange,
    refFindFree: e.refFindFree,
    refFindUsed: e.refFindUsed,
    refLastUsed: e.refLastUsed,
    refFindFreeRun: e.refFindFreeRun,
    refFreeTail: (block, first, count, order) => {
      const last = e.refLastUsed(block, first, count, order);
      return last < 0 ? count : first + count - 1 - last;
    },
    refCountUsed: e.refCountUsed,
    refCompare: e.refCompare,
    censusAdd: e.censusAdd,
    censusL2: e.censusL2,
    isZero: (at, length) => e.findNonZero(at, length) >>> 0 === length,
    findNonZero: (at, length) => e.findNonZero(at, length) >>> 0,
    zeroRun: (at, length, granularity) => e.zeroRun(at, length, granularity) >>> 0,
    dataRun: (at, length, granularity) => e.dataRun(at, length, granularity) >>> 0,
    firstDifference: (a, b, length) => e.firstDifference(a, b, length) >>> 0,
    swap64: e.swap64,
    bitSetRange: e.bitSetRange,
    bitClearRange: e.bitClearRange,
    bitCount: e.bitCount,
    bitFindSet: e.bitFindSet,
    bitFindClear: e.bitFindClear,
    bitOr: e.bitOr,
    bitAnd: e.bitAnd,
    bitAndNot: e.bitAndNot,
  };
}
