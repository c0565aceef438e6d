/** Makes kernels: WebAssembly when its module is at hand and compiles, otherwise the plain TypeScript twin. */
import { allocateWith } from "../base/allocate.js";
import { kernelSize, LazyModule, moduleInUse, type KernelModuleSource, type KernelStatus } from "./source.js";
import { createTwin } from "./twin.js";
import type { Kernel } from "./types.js";
import { createWasmKernel } from "./wasm.js";

export { MAX_KERNEL_BYTES, setKernelModule, type KernelModuleSource, type KernelStatus } from "./source.js";
export type { Kernel } from "./types.js";

let offered: LazyModule = /* @__PURE__ */ new LazyModule(null);

/** The module an entry brings along: used unless `setKernelModule` said otherwise. */
export function offerKernelModule(next: KernelModuleSource): void {
  if (offered.source !== next) offered = new LazyModule(next);
}

/** Which flavour the next kernel will have, and why it is the twin if it is. */
export function kernelStatus(): KernelStatus {
  return moduleInUse(offered).status;
}

export function kernelFlavour(): "wasm" | "js" {
  return kernelStatus().flavour;
}

/**
 * A kernel with at least `bytes` of zero-filled memory (rounded up to pages of 64 KiB).
 * @throws BlockError ERR_TOO_LARGE (ENOMEM) if the runtime cannot give that much
 */
export function createKernel(bytes: number): Kernel {
  const size = kernelSize(bytes);
  const module = moduleInUse(offered).get();
  return allocateWith(size, () => (module !== null ? createWasmKernel(module, size) : createTwin(size)), "table cache");
}
