// npm run build: assembly/ and src/ -> build/ (outputs only). Steps whose inputs did not change are skipped.
//   node scripts/build.mjs [--force] [--only=wasm,dist,types,cli,web]
import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { setup } from "./setup.mjs";
import { acquire } from "./lib/lock.mjs";
import { root, run, walk } from "./lib/proc.mjs";
import { step } from "./lib/stamp.mjs";

setup();
acquire(join(root, "build/.lock")); // until exit: two builds at once would tread on each other's outputs
const { build: esbuild } = await import("esbuild");
const { common, externals, wasmAsHexPlugin, workerdPlugin } = await import("./lib/bundle.mjs");

const args = process.argv.slice(2);
const only =
  args
    .find((arg) => arg.startsWith("--only="))
    ?.slice("--only=".length)
    .split(",") ?? null;
const wanted = (name) => only === null || only.includes(name);
if (args.includes("--force")) rmSync(join(root, "build/.stamps"), { recursive: true, force: true });

const exists = (file) => existsSync(join(root, file));
const tools = ["package.json", "package-lock.json", "tsconfig.json", ...walk("scripts", (file) => file.endsWith(".mjs"))];
const sources = walk("src");

// -- 1. the kernels -------------------------------------------------------------------------------------------------
const kernel = "build/kernel.wasm";
const kernels = [kernel, "build/kernel-reader.wasm"];
if (wanted("wasm")) {
  const inputs = [
    "asconfig.json",
    "package-lock.json",
    "scripts/build-wasm.mjs",
    ...walk("assembly", (file) => !file.includes("__tests__")),
  ];
  await step("wasm", { inputs, outputs: kernels }, () => run(process.execPath, ["scripts/build-wasm.mjs"]));
}
const kernelInput = kernels.filter(exists);

// -- 2. the package -------------------------------------------------------------------------------------------------
/** Entries of the package, and those that also exist in a workerd flavour. */
const entries = ["index", "node", "browser", "worker", "edge", "reader"];
/** Parts of the entries, as chunks of their own: an application that does not use one must not get it along with another. */
const parts = { "block-core": "src/library/block-core.ts", portable: "src/library/portable.ts" };
const workerdEntries = ["index", "edge", ...Object.keys(parts)];
if (wanted("dist")) {
  const entryPoints = { ...Object.fromEntries(entries.map((name) => [name, `src/${name}.ts`])), ...parts };
  const workerdPoints = Object.fromEntries(Object.entries(entryPoints).filter(([name]) => workerdEntries.includes(name)));
  const library = {
    ...common,
    platform: "neutral",
    splitting: true,
    minifySyntax: true, // constants meet what uses them here; an application's bundler sees chunks, and cannot
    chunkNames: "[name]-[hash]", // flat: "../kernel.wasm" must hold in every file of the workerd flavour
    external: ["node:*", ...externals("all")],
    sourcemap: true,
    sourcesContent: true,
  };
  const outputs = [
    ...Object.keys(entryPoints).map((name) => `build/dist/${name}.js`),
    ...Object.keys(workerdPoints).map((name) => `build/dist/workerd/${name}.js`),
  ];
  await step("dist", { inputs: [...tools, ...sources, ...kernelInput], outputs }, async () => {
    for (const file of walkOutput("build/dist", /\.(js|js\.map|wasm)$/)) rmSync(file);
    await esbuild({ ...library, entryPoints, outdir: "build/dist", plugins: [wasmAsHexPlugin] });
    await esbuild({
      ...library,
      entryPoints: workerdPoints,
      outdir: "build/dist/workerd",
      conditions: ["workerd"],
      plugins: [workerdPlugin("../kernel.wasm")],
    });
    copyFileSync(join(root, kernel), join(root, "build/dist/kernel.wasm"));
  });
}

// -- 3. type declarations -------------------------------------------------------------------------------------------
if (wanted("types") && sources.some((file) => file.endsWith(".ts"))) {
  await step(
    "types",
    {
      inputs: ["tsconfig.json", "tsconfig.build.json", "package-lock.json", ...sources.filter((file) => file.endsWith(".ts"))],
      outputs: ["build/dist/types"],
    },
    () => {
      rmSync(join(root, "build/dist/types"), { recursive: true, force: true });
      run(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"]);
    },
  ).catch((error) => {
    // The bundles do not depend on the types: finish them, then fail.
    console.error(`build: types: ${error.message}`);
    process.exitCode = 1;
  });
}

// -- 4. programs ----------------------------------------------------------------------------------------------------
/** Programs: the bundle's name, its entry, and the file that starts it. */
const programs = [
  { bundle: "blockcore", entry: "src/cli/main.ts", starter: "build/cli.js", type: "module" },
  { bundle: "qemu-img", entry: "src/cli/img-main.ts", starter: "build/qemu/qemu-img", type: "commonjs" },
  { bundle: "qemu-io", entry: "src/cli/io-main.ts", starter: "build/qemu/qemu-io", type: "commonjs" },
  { bundle: "qemu-nbd", entry: "src/cli/nbd-main.ts", starter: "build/qemu/qemu-nbd", type: "commonjs" },
  { bundle: "qemu-storage-daemon", entry: "src/cli/daemon-main.ts", starter: "build/qemu/qemu-storage-daemon", type: "commonjs" },
];
/** What starts them all. */
const START = "build/cli/start.js";
/** For QEMU's own tests: the emulator's command line over the library. Users are not offered it. */
const standIn = {
  from: "test/support/standin/main.ts",
  file: "build/standin/emulator.js",
  program: "build/standin/qemu-system-x86_64",
};
if (wanted("cli")) {
  const fileOf = ({ bundle }) => `build/cli/${bundle}.js`;
  const outputs = [START, ...programs.flatMap((program) => [fileOf(program), program.starter])];
  await step("cli", { inputs: [...tools, ...sources, ...kernelInput], outputs, extra: JSON.stringify(outputs) }, async () => {
    await buildProgram("src/cli/start.ts", START);
    for (const program of programs) {
      await buildProgram(program.entry, fileOf(program));
      writeProgram(program.starter, launcher(program.starter, fileOf(program), program.type));
    }
    isCommonJs("build/cli");
    isCommonJs("build/qemu");
  });
}

if (wanted("cli") && exists(standIn.from)) {
  const inputs = [...tools, ...sources, ...kernelInput, ...walk("test/support/standin")];
  await step("standin", { inputs, outputs: [standIn.file, standIn.program] }, async () => {
    await buildProgram(standIn.from, standIn.file);
    writeProgram(standIn.program, launcher(standIn.program, standIn.file, "commonjs"));
    isCommonJs("build/standin");
  });
}

/** One file with everything in it: CommonJS, as V8's code cache does not work for ES modules in every Node.js. */
function buildProgram(entry, outfile) {
  return esbuild({
    ...common,
    entryPoints: [entry],
    outfile,
    platform: "node",
    target: "node20.19",
    format: "cjs",
    minify: true,
    external: externals("optional"),
    define: { "import.meta.url": "__importMetaUrl" },
    // Strict mode before anything else, as in the ES modules these were.
    banner: { js: '"use strict";const __importMetaUrl=require("node:url").pathToFileURL(__filename).href;' },
  });
}

/** The lines that start a program; the hash of its bundle tells V8's code caches of different builds apart. */
function launcher(from, bundle, type) {
  const build = createHash("sha256")
    .update(readFileSync(join(root, bundle)))
    .digest("hex")
    .slice(0, 16);
  const specifier = (file) => JSON.stringify(relative(dirname(from), file).replace(/^(?!\.)/, "./"));
  const imports =
    type === "module"
      ? 'import { createRequire } from "node:module";\nconst require = createRequire(import.meta.url);'
      : '"use strict";';
  return `#!/usr/bin/env node\n${imports}\nrequire(${specifier(START)}).start(require.resolve(${specifier(bundle)}), "${build}");\n`;
}

/** For files without an extension, and for ".js" inside this package, the nearest package.json tells the type of module. */
function isCommonJs(directory) {
  writeFileSync(join(root, directory, "package.json"), '{ "type": "commonjs" }\n');
}

function writeProgram(file, text) {
  const path = join(root, file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  chmodSync(path, 0o755);
}

function walkOutput(dir, pattern) {
  // `walk` leaves build/ out on purpose; here the outputs themselves are wanted (not recursive into types/).
  const found = [];
  for (const sub of ["", "workerd"]) {
    const path = join(root, dir, sub);
    if (existsSync(path)) for (const name of readdirSync(path)) if (pattern.test(name)) found.push(join(path, name));
  }
  return found;
}
