// Compiles assembly/index.ts into build/kernel.wasm. Fails on any import but env.memory, on exports that are no functions, on
// a data segment, and above the size limit.
import { mkdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { main } from "assemblyscript/asc";

const SIZE_LIMIT = 12 * 1024;

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
mkdirSync("build", { recursive: true });
const { error, stderr } = await main(["assembly/index.ts", "--target", "release"]);
if (error) {
  console.error(stderr.toString());
  console.error(error.message);
  process.exit(1);
}

const bytes = readFileSync("build/kernel.wasm");
const module = new WebAssembly.Module(bytes);
const problems = [];
for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
  if (from !== "env" || name !== "memory" || kind !== "memory") problems.push(`imports ${from}.${name} (${kind})`);
}
for (const { name, kind } of WebAssembly.Module.exports(module)) {
  if (kind !== "function") problems.push(`exports ${name} (${kind})`);
}
if (hasDataSegment(bytes)) problems.push("has a data segment, which would overwrite an image's regions");
if (bytes.length > SIZE_LIMIT) problems.push(`is ${bytes.length} bytes, more than ${SIZE_LIMIT}`);
if (problems.length > 0) {
  for (const problem of problems) console.error(`build/kernel.wasm ${problem}`);
  process.exit(1);
}
console.log(`build/kernel.wasm: ${bytes.length} bytes, ${WebAssembly.Module.exports(module).length} functions`);

/** Walks the sections of the binary for id 11 (data). */
function hasDataSegment(wasm) {
  let at = 8;
  while (at < wasm.length) {
    const id = wasm[at++];
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = wasm[at++];
      size |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    if (id === 11) return true;
    at += size;
  }
  return false;
}
