// Compiles assembly/*.ts into build/*.wasm. Fails on any import but env.memory, on exports that are no functions, on
// a data segment, and above the size limit.
import { mkdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { main } from "assemblyscript/asc";

/** The whole module, and that of the reader, which every kilobyte of counts in a web page. */
const MODULES = [
  { entry: "assembly/index.ts", target: "release", file: "build/kernel.wasm", limit: 12 * 1024 },
  { entry: "assembly/reader.ts", target: "reader", file: "build/kernel-reader.wasm", limit: 2.5 * 1024 },
];

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
mkdirSync("build", { recursive: true });
for (const { entry, target, file, limit } of MODULES) {
  const { error, stderr } = await main([entry, "--target", target]);
  if (error) {
    console.error(stderr.toString());
    console.error(error.message);
    process.exit(1);
  }
  const bytes = readFileSync(file);
  const module = new WebAssembly.Module(bytes);
  const problems = [];
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    if (from !== "env" || name !== "memory" || kind !== "memory") problems.push(`imports ${from}.${name} (${kind})`);
  }
  for (const { name, kind } of WebAssembly.Module.exports(module)) {
    if (kind !== "function") problems.push(`exports ${name} (${kind})`);
  }
  if (hasDataSegment(bytes)) problems.push("has a data segment, which would overwrite an image's regions");
  if (bytes.length > limit) problems.push(`is ${bytes.length} bytes, more than ${limit}`);
  if (problems.length > 0) {
    for (const problem of problems) console.error(`${file} ${problem}`);
    process.exit(1);
  }
  console.log(`${file}: ${bytes.length} bytes, ${WebAssembly.Module.exports(module).length} functions`);
}

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
