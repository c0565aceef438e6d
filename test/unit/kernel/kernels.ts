/** Both flavours of the kernel, and a seeded source of randomness, for the tests of this folder. */
import { createKernel, setKernelModule } from "../../../src/kernel/kernel.js";
import { kernelModule } from "../../../src/kernel/module.inline.js";
import type { Kernel } from "../../../src/kernel/types.js";

export function wasmKernel(bytes: number): Kernel {
  setKernelModule(kernelModule);
  const kernel = createKernel(bytes);
  if (kernel.flavour !== "wasm") throw new Error("the WebAssembly kernel is not available");
  return kernel;
}

export function twinKernel(bytes: number): Kernel {
  setKernelModule(null);
  const kernel = createKernel(bytes);
  if (kernel.flavour !== "js") throw new Error("asked for the twin, got WebAssembly");
  return kernel;
}

export function bothKernels(bytes: number): Kernel[] {
  return [wasmKernel(bytes), twinKernel(bytes)];
}

/** Index of the first byte in which two memories differ, or -1. (`Buffer.compare` is Node's; these tests run in browsers as well.) */
export function memoryDifference(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return Math.min(a.length, b.length);
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return i;
  return -1;
}

/** SEED of the environment, or a fresh one; printed so that a failure can be run again. */
export function newSeed(name: string): number {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } }; // workerd may have none
  const seed = Number(process?.env?.["SEED"] ?? Date.now() % 0x7fffffff);
  console.log(`${name}: SEED=${seed}`);
  return seed;
}

export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  /** 32 random bits (mulberry32). */
  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }
  /** Integer in [0, below). */
  below(below: number): number {
    return Math.floor((this.u32() / 4294967296) * below);
  }
  chance(probability: number): boolean {
    return this.u32() / 4294967296 < probability;
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}
