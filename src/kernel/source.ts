/** Where compiled kernel modules come from: what an entry brings along, unless the user gives one. */
import { assert } from "../base/error.js";
import { alignUp } from "../base/int.js";

/** Where the compiled module comes from; a function is called at the first kernel that is made and may throw (CSP, no SIMD). */
export type KernelModuleSource = WebAssembly.Module | (() => WebAssembly.Module);

export interface KernelStatus {
  flavour: "wasm" | "js";
  /** Why it is the twin; absent for WebAssembly. */
  reason?: unknown;
}

/** Memory of a 32-bit WebAssembly instance, less one page so that an end pointer fits 32 bits. */
export const MAX_KERNEL_BYTES: number = 0x1_0000_0000 - 0x1_0000;

const PAGE = 65536;

/** Bytes of the memory of a kernel that needs `bytes`: whole pages, at least one. */
export function kernelSize(bytes: number): number {
  assert(Number.isSafeInteger(bytes) && bytes >= 0 && bytes <= MAX_KERNEL_BYTES, `kernel memory of ${bytes} bytes`);
  return Math.max(PAGE, alignUp(bytes, PAGE));
}

/** A module that is compiled when first needed, once. */
export class LazyModule {
  readonly source: KernelModuleSource | null;
  #compiled: WebAssembly.Module | null = null;
  #failure: unknown;

  constructor(source: KernelModuleSource | null) {
    this.source = source;
    if (source === null) this.#failure = "no kernel module was given";
  }

  /** null: there is none, or it does not compile here. */
  get(): WebAssembly.Module | null {
    if (this.#compiled !== null || this.source === null || this.#failure !== undefined) return this.#compiled;
    try {
      this.#compiled = typeof this.source === "function" ? this.source() : this.source;
    } catch (error) {
      this.#failure = error;
    }
    return this.#compiled;
  }

  get status(): KernelStatus {
    return this.get() !== null ? { flavour: "wasm" } : { flavour: "js", reason: this.#failure };
  }
}

let chosen: LazyModule | null = null;

/**
 * Says where the WebAssembly module comes from, before any image is opened; entries bring their own. `null` forces the twin.
 * Kernels that exist keep their flavour.
 */
export function setKernelModule(next: KernelModuleSource | null): void {
  chosen = new LazyModule(next);
}

/** What `setKernelModule` said, else `own`. */
export const moduleInUse = (own: LazyModule): LazyModule => chosen ?? own;
