/** The kernel module from bytes inside the bundle: Node, Deno, Bun and browsers. Compiled at first use, synchronously. */
import bytes from "../../build/kernel.wasm";

/** Pass to setKernelModule. @throws WebAssembly.CompileError where compiling is forbidden or SIMD is missing */
function inlineKernelModule(): WebAssembly.Module {
  return new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
}

/** The name both deliveries share: the workerd bundle puts `module.workerd.ts` in the place of this file. */
export { inlineKernelModule as kernelModule };
