// src/**/*.ts and test/**/*.ts -> build/test/**/*.js, one file to one file, so that stack traces and coverage tell the truth.
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { transform } from "esbuild";
import { root, walk } from "./proc.mjs";

const out = join(root, "build/test");
const uvuTwin = "test/support/runner/uvu.js";
/** Outputs older than the machinery that made them are stale. */
const machinery = statSync(fileURLToPath(import.meta.url)).mtimeMs;

/** Whether `npm test` must leave a file alone: other compilers' sources and separate packages. */
const ours = (file) => file.endsWith(".ts") && !file.endsWith(".d.ts") && !file.startsWith("test/assembly/");

const specifier = (from, to) => {
  const path = relative(dirname(from), to).replaceAll("\\", "/");
  return path.startsWith(".") ? path : `./${path}`;
};

/** Node 20 cannot import `.wasm`: such an import gets a module with the file's bytes, as the bundles have. */
function wasmModule(source, target) {
  const real = resolve(root, dirname(source), target);
  const file = join(out, "wasm", `${basename(real)}.js`);
  const text = `import { readFileSync } from "node:fs";\nexport default new Uint8Array(readFileSync(new URL(${JSON.stringify(specifier(file, real))}, import.meta.url)));\n`;
  if (!existsSync(file) || readFileSync(file, "utf8") !== text) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  return relative(out, file).replaceAll("\\", "/");
}

async function transpileOne(source, target) {
  const { code } = await transform(readFileSync(join(root, source), "utf8"), {
    loader: "ts",
    format: "esm",
    target: "node20.19",
    sourcemap: "inline",
    sourcefile: join(root, source),
    sourcesContent: false,
    tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true } },
    legalComments: "none",
  });
  const self = source.replace(/\.ts$/, ".js");
  const text = code.replace(/(\bfrom |\bimport |\bimport\()"(uvu|[^"\n]+\.wasm)"/g, (whole, before, name) => {
    if (name === "uvu") return self === uvuTwin ? whole : `${before}${JSON.stringify(specifier(self, uvuTwin))}`;
    return `${before}${JSON.stringify(specifier(self, wasmModule(source, name)))}`;
  });
  mkdirSync(dirname(target), { recursive: true });
  // Renamed into place: another test run may be reading.
  writeFileSync(`${target}.${process.pid}`, text);
  renameSync(`${target}.${process.pid}`, target);
}

/** Brings build/test up to date; returns messages for files that do not parse. */
export async function transpile() {
  // Constants that TypeScript shares with the kernels are read by both compilers; what only asc can read is left out.
  const shared = walk("assembly", (file) => ours(file) && !file.includes("__tests__"));
  const sources = [...walk("src", ours), ...walk("test", ours), ...shared];
  const failures = [];
  const keep = new Set();
  for (const source of sources) {
    const target = join(out, source.replace(/\.ts$/, ".js"));
    keep.add(target);
    const made = statSync(target, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (made > statSync(join(root, source)).mtimeMs && made > machinery) continue;
    try {
      await transpileOne(source, target);
    } catch (error) {
      rmSync(target, { force: true });
      if (!shared.includes(source)) failures.push({ file: source, message: error.message });
    }
  }
  for (const area of ["src", "test", "assembly"]) prune(join(out, area), keep);
  return failures;
}

function prune(dir, keep) {
  if (!existsSync(dir)) return;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) prune(path, keep);
    else if (!keep.has(path) && path.endsWith(".js")) rmSync(path, { force: true });
  }
}
