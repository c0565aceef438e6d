/** The reader's kernel module from bytes inside the bundle. Compiled at first use, synchronously. */
import bytes from "../../build/kernel-reader.wasm";

/** @throws WebAssembly.CompileError where compiling is forbidden or SIMD is missing */
export function readerKernelModule(): WebAssembly.Module {
  return new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
}
