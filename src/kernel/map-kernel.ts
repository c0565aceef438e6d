/** The kernel of a reader: the functions that look up where data is, and no others, as a bundle for web pages has them. */
import { allocateWith } from "../base/allocate.js";
import { scanL2, scanL2Extended } from "./js/l2.js";
import { readerKernelModule } from "./module-reader.inline.js";
import { kernelSize, LazyModule, moduleInUse, type KernelStatus } from "./source.js";
import type { Kernel } from "./types.js";
import { instantiate } from "./wasm.js";

export type MapKernel = Pick<Kernel, "flavour" | "memory" | "view" | "scanL2" | "scanL2Extended">;

const own: LazyModule = /* @__PURE__ */ new LazyModule(readerKernelModule);

/** Which flavour the next kernel of a reader will have, and why it is the twin if it is. */
export function mapKernelStatus(): KernelStatus {
  return moduleInUse(own).status;
}

/**
 * A kernel with at least `bytes` of zero-filled memory (rounded up to pages of 64 KiB). A module given by `setKernelModule` may be
 * the whole one or the reader's.
 * @throws BlockError ERR_TOO_LARGE (ENOMEM) if the runtime cannot give that much
 */
export function createMapKernel(bytes: number): MapKernel {
  const size = kernelSize(bytes);
  const module = moduleInUse(own).get();
  return allocateWith(size, () => (module !== null ? wasmKernel(module, size) : twin(size)), "table cache");
}

function wasmKernel(module: WebAssembly.Module, size: number): MapKernel {
  const { exports, memory, view } = instantiate(module, size);
  return { flavour: "wasm", memory, view, scanL2: exports.scanL2, scanL2Extended: exports.scanL2Extended };
}

function twin(size: number): MapKernel {
  const memory = new Uint8Array(size);
  const view = new DataView(memory.buffer);
  return {
    flavour: "js",
    memory,
    view,
    scanL2: (...scan) => scanL2(view, ...scan),
    scanL2Extended: (...scan) => scanL2Extended(view, ...scan),
  };
}
