// npm run build: assembly/ and src/ -> build/ (outputs only). Steps whose inputs did not change are skipped.
//   node scripts/build.mjs [--force] [--only=wasm,dist,types,cli,web]
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setup } from "./setup.mjs";
import { acquire } from "./lib/lock.mjs";
import { rel, root, run, walk } from "./lib/proc.mjs";
import { step } from "./lib/stamp.mjs";

setup();
acquire(join(root, "build/.lock")); // until exit: two builds at once would tread on each other's outputs
const { build: esbuild } = await import("esbuild");
const { common, externals, workerdPlugin } = await import("./lib/bundle.mjs");

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
    await esbuild({ ...library, entryPoints, outdir: "build/dist" });
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
/** For QEMU's own tests: the emulator's command line over the library. Users are not offered it. */
const standIn = {
  from: "test/support/standin/main.ts",
  file: "build/standin/emulator.mjs",
  program: "build/standin/qemu-system-x86_64",
};
if (wanted("cli")) {
  const fileOf = ({ bundle }) => `build/cli/${bundle}.js`;
  const outputs = programs.flatMap((program) => [fileOf(program), program.starter]);
  await step("cli", { inputs: [...tools, ...sources, ...kernelInput], outputs, extra: JSON.stringify(outputs) }, async () => {
    for (const program of programs) {
      await buildProgram(program.entry, fileOf(program));
      writeProgram(program.starter, launcher(program.starter, fileOf(program), program.type));
    }
    // A file without an extension has the module type of the nearest package.json; CommonJS is what every Node understands there.
    writeFileSync(join(root, "build/qemu/package.json"), '{ "type": "commonjs" }\n');
  });
}

if (wanted("cli") && exists(standIn.from)) {
  const inputs = [...tools, ...sources, ...kernelInput, ...walk("test/support/standin")];
  await step("standin", { inputs, outputs: [standIn.file, standIn.program] }, async () => {
    await buildProgram(standIn.from, standIn.file);
    writeProgram(standIn.program, launcher(standIn.program, standIn.file, "commonjs"));
    writeFileSync(join(root, "build/standin/package.json"), '{ "type": "commonjs" }\n');
  });
}

/** One file with everything in it. */
function buildProgram(entry, outfile) {
  return esbuild({
    ...common,
    entryPoints: [entry],
    outfile,
    platform: "node",
    target: "node20.19",
    minify: true,
    external: externals("optional"),
    // CommonJS dependencies inside an ES module bundle still ask for node's built-ins through require().
    banner: {
      js: 'import{createRequire as __createRequire}from"node:module";const require=__createRequire(import.meta.url);',
    },
  });
}

/** A few lines that switch V8's compile cache on (Node >= 22.1; it must be on before the code is loaded) and start the program. */
function launcher(from, to, type) {
  const target = join(
    ...dirname(from)
      .split("/")
      .slice(1)
      .map(() => ".."),
    rel(join(root, to)).replace(/^build\//, ""),
  );
  const specifier = JSON.stringify(target.startsWith(".") ? target : `./${target}`);
  return type === "module"
    ? `#!/usr/bin/env node\nimport module from "node:module";\nmodule.enableCompileCache?.();\nawait import(${specifier});\n`
    : `#!/usr/bin/env node\n"use strict";\nrequire("node:module").enableCompileCache?.();\nimport(${specifier}).catch((error) => {\n  console.error(error);\n  process.exit(1);\n});\n`;
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
