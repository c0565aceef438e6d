/** The kernel module as a static import: workerd compiles no WebAssembly from bytes, but gives a module for a .wasm file. */
import module from "../../build/kernel.wasm";

/** Pass to setKernelModule. */
function workerdKernelModule(): WebAssembly.Module {
  return module as WebAssembly.Module;
}

/** The name both deliveries share: entries import it from `module.inline.js`. */
export { workerdKernelModule as kernelModule };
