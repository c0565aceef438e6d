// What an import of the kernel gives depends on who loads it: bytes (bundled) or a WebAssembly.Module (workerd).
declare module "*.wasm" {
  const content: unknown;
  export default content;
}
