/** Makes kernels: WebAssembly when its module is at hand and compiles, otherwise the plain TypeScript twin. */
import { allocateWith } from "../base/allocate.js";
import { assert } from "../base/error.js";
import { alignUp } from "../base/int.js";
import { createTwin } from "./twin.js";
import type { Kernel } from "./types.js";
import { createWasmKernel } from "./wasm.js";

export type { Kernel } from "./types.js";

/** Where the compiled module comes from; a function is called at the first createKernel and may throw (CSP, no SIMD). */
export type KernelModuleSource = WebAssembly.Module | (() => WebAssembly.Module);

export interface KernelStatus {
  flavour: "wasm" | "js";
  /** Why it is the twin; absent for WebAssembly. */
  reason?: unknown;
}

/** Memory of a 32-bit WebAssembly instance, less one page so that an end pointer fits 32 bits. */
export const MAX_KERNEL_BYTES: number = 0x1_0000_0000 - 0x1_0000;

const PAGE = 65536;
let source: KernelModuleSource | null = null;
let chosen = false;
let compiled: WebAssembly.Module | null = null;
let failure: unknown = "no kernel module was given";

/**
 * Says where the WebAssembly module comes from, before any image is opened; entries bring their own. `null` forces the twin.
 * Kernels that exist keep their flavour.
 */
export function setKernelModule(next: KernelModuleSource | null): void {
  chosen = true;
  use(next);
}

/** The module an entry brings along: used unless `setKernelModule` said otherwise. */
export function offerKernelModule(next: KernelModuleSource): void {
  if (!chosen && source !== next) use(next);
}

function use(next: KernelModuleSource | null): void {
  source = next;
  compiled = null;
  failure = next === null ? "no kernel module was given" : undefined;
}

function kernelModule(): WebAssembly.Module | null {
  if (compiled !== null || source === null || failure !== undefined) return compiled;
  try {
    compiled = typeof source === "function" ? source() : source;
  } catch (error) {
    failure = error;
  }
  return compiled;
}

/** Which flavour the next kernel will have, and why it is the twin if it is. */
export function kernelStatus(): KernelStatus {
  return kernelModule() !== null ? { flavour: "wasm" } : { flavour: "js", reason: failure };
}

export function kernelFlavour(): "wasm" | "js" {
  return kernelStatus().flavour;
}

/**
 * A kernel with at least `bytes` of zero-filled memory (rounded up to pages of 64 KiB).
 * @throws BlockError ERR_TOO_LARGE (ENOMEM) if the runtime cannot give that much
 */
export function createKernel(bytes: number): Kernel {
  assert(Number.isSafeInteger(bytes) && bytes >= 0 && bytes <= MAX_KERNEL_BYTES, `kernel memory of ${bytes} bytes`);
  const size = Math.max(PAGE, alignUp(bytes, PAGE));
  const module = kernelModule();
  return allocateWith(size, () => (module !== null ? createWasmKernel(module, size) : createTwin(size)), "table cache");
}
