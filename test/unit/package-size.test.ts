/** What the package weighs in a web page, built from its public entries as an application's bundler does it. */
import { build } from "esbuild";
import { gzipSync } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const KB = 1000;

/** Bytes of a bundle of these exports of the built package: minified, and gzipped on top. */
async function weigh(contents: string): Promise<{ raw: number; gzip: number; text: string }> {
  const result = await build({
    stdin: { contents, resolveDir: process.cwd() },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    write: false,
    legalComments: "none",
    logLevel: "error",
    // Loaded on demand, where they are installed; a bundler makes them files of their own.
    external: ["@cloudpss/zstd", "@cloudpss/zstd/*"],
  });
  const { contents: bytes, text } = result.outputFiles[0]!;
  return { raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length, text };
}

const size = suite("bundle size");

for (const [what, contents, limit] of [
  [
    "a reader of qcow2 and raw for files, with its WebAssembly kernel",
    `export { openReader, qcow2Reader, rawReader, blobStorage } from "./build/dist/reader.js";`,
    30 * KB,
  ],
  [
    "the same for URLs, too",
    `export { openReader, qcow2Reader, rawReader, blobStorage, httpStorage } from "./build/dist/reader.js";`,
    34 * KB,
  ],
  [
    "everything qcow2 and raw can do",
    `export { open, create, convert, compare, qcow2, raw } from "./build/dist/index.js";`,
    140 * KB,
  ],
  ["the whole library with all formats, jobs and QMP", `export * from "./build/dist/browser.js";`, 330 * KB],
] as const) {
  size(what, async () => {
    const { raw, gzip } = await weigh(contents);
    console.log(`size of ${what}: ${(gzip / KB).toFixed(1)} KB gzip (${(raw / KB).toFixed(1)} KB minified)`);
    assert.ok(gzip <= limit, `${gzip} bytes, more than ${limit}`);
  });
}

size("the kernel is inside, and runs", async () => {
  const { text } = await weigh(
    `export { openReader, qcow2Reader, rawReader, blobStorage, kernelStatus } from "./build/dist/reader.js";`,
  );
  const reader = (await import(`data:text/javascript,${encodeURIComponent(text)}`)) as typeof import("../../src/reader.js");
  assert.equal(reader.kernelStatus(), { flavour: "wasm" });
});

size("importing the package alone costs nothing", async () => {
  const { raw } = await weigh(`import "./build/dist/index.js"; import "./build/dist/browser.js";`);
  assert.ok(raw < 100, `${raw} bytes stay although nothing is used`);
});

size.run();
