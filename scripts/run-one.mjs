// Bundles one or more test files with esbuild and runs them at once: the quick way while working on a part.
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { build } from "esbuild";

const files = process.argv.slice(2);
if (files.length === 0) {
  console.error("usage: node scripts/run-one.mjs test/unit/some.test.ts …");
  process.exit(2);
}
mkdirSync("build/one", { recursive: true });
let status = 0;
for (const file of files) {
  const outfile = resolve("build/one", `${file.replace(/[/\\]/g, "__").replace(/\.ts$/, "")}-${process.pid}.mjs`);
  await build({
    entryPoints: [file],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    sourcemap: "inline",
    packages: "external",
    logLevel: "warning",
    loader: { ".wasm": "binary" },
  });
  const run = spawnSync(process.execPath, ["--enable-source-maps", outfile], { stdio: "inherit" });
  if (run.status !== 0) status = 1;
}
process.exit(status);
