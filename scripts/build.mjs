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
const notes = [];
const tools = ["package.json", "package-lock.json", "tsconfig.json", ...walk("scripts", (file) => file.endsWith(".mjs"))];
const sources = walk("src");

// -- 1. the kernels -------------------------------------------------------------------------------------------------
const kernel = "build/kernel.wasm";
const kernels = [kernel, "build/kernel-reader.wasm"];
if (wanted("wasm")) {
  if (exists("scripts/build-wasm.mjs")) {
    const inputs = [
      "asconfig.json",
      "package-lock.json",
      "scripts/build-wasm.mjs",
      ...walk("assembly", (file) => !file.includes("__tests__")),
    ];
    await step("wasm", { inputs, outputs: kernels }, () => run(process.execPath, ["scripts/build-wasm.mjs"]));
  } else {
    notes.push("no scripts/build-wasm.mjs yet: no kernel.wasm");
  }
}
const kernelInput = kernels.filter(exists);

// -- 2. the package -------------------------------------------------------------------------------------------------
/** Entries of the package, and those that also exist in a workerd flavour. */
const entries = ["index", "node", "browser", "worker", "edge", "reader"];
/** Parts of the entries, as chunks of their own: an application that does not use one must not get it along with another. */
const parts = ["block-core", "portable"];
const workerdEntries = ["index", "edge", ...parts];
const present = (names) => {
  const found = {};
  for (const name of names) {
    if (exists(`src/${name}.ts`)) found[name] = `src/${name}.ts`;
    else notes.push(`no src/${name}.ts yet: entry "${name}" skipped`);
  }
  return found;
};
if (wanted("dist")) {
  const entryPoints = present([...entries, ...parts]);
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
  if (Object.keys(entryPoints).length > 0) {
    const outputs = [
      ...Object.keys(entryPoints).map((name) => `build/dist/${name}.js`),
      ...Object.keys(workerdPoints).map((name) => `build/dist/workerd/${name}.js`),
    ];
    await step("dist", { inputs: [...tools, ...sources, ...kernelInput], outputs }, async () => {
      for (const file of walkOutput("build/dist", /\.(js|js\.map|wasm)$/)) rmSync(file);
      await esbuild({ ...library, entryPoints, outdir: "build/dist" });
      if (Object.keys(workerdPoints).length > 0) {
        await esbuild({
          ...library,
          entryPoints: workerdPoints,
          outdir: "build/dist/workerd",
          conditions: ["workerd"],
          plugins: [workerdPlugin("../kernel.wasm")],
        });
      }
      if (exists(kernel)) copyFileSync(join(root, kernel), join(root, "build/dist/kernel.wasm"));
    });
  }
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
/** Programs: the bundle's name, the candidates for its entry (the first that exists), and the drop-in's file name. */
const programs = [
  { bundle: "blockcore", from: ["src/cli/main.ts"], launcher: "build/cli.js" },
  { bundle: "qemu-img", from: ["src/cli/img-main.ts", "src/cli/main.ts"], dropIn: "qemu-img" },
  { bundle: "qemu-io", from: ["src/cli/io-main.ts"], dropIn: "qemu-io" },
  { bundle: "qemu-nbd", from: ["src/cli/nbd-main.ts"], dropIn: "qemu-nbd" },
  { bundle: "qemu-storage-daemon", from: ["src/cli/daemon-main.ts"], dropIn: "qemu-storage-daemon" },
];
/** For QEMU's own tests: the emulator's command line over the library. Users are not offered it. */
const standIn = {
  from: "test/support/standin/main.ts",
  file: "build/standin/emulator.mjs",
  program: "build/standin/qemu-system-x86_64",
};
if (wanted("cli")) {
  const made = new Map(); // source entry -> bundle that already holds it
  for (const program of programs) {
    const entry = program.from.find(exists);
    if (!entry) {
      notes.push(`no ${program.from.at(-1)} yet: ${program.launcher ?? `build/qemu/${program.dropIn}`} skipped`);
      continue;
    }
    if (!made.has(entry)) made.set(entry, `build/cli/${program.bundle}.js`);
    program.file = made.get(entry);
  }
  const ready = programs.filter((program) => program.file);
  const outputs = [...new Set(ready.flatMap((program) => [program.file, program.launcher ?? `build/qemu/${program.dropIn}`]))];
  if (ready.length > 0) {
    await step("cli", { inputs: [...tools, ...sources, ...kernelInput], outputs, extra: JSON.stringify(outputs) }, async () => {
      for (const [entry, outfile] of made) await buildProgram(entry, outfile);
      for (const program of ready) {
        if (program.launcher) writeProgram(program.launcher, launcher(program.launcher, program.file, "module"));
        if (program.dropIn)
          writeProgram(`build/qemu/${program.dropIn}`, launcher(`build/qemu/${program.dropIn}`, program.file, "commonjs"));
      }
      // A file without an extension has the module type of the nearest package.json; CommonJS is what every Node understands there.
      if (exists("build/qemu")) writeFileSync(join(root, "build/qemu/package.json"), '{ "type": "commonjs" }\n');
    });
  }
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

// -- 5. the inspector page ------------------------------------------------------------------------------------------
if (wanted("web") && exists("src/web/index.html")) {
  const points = ["src/web/inspector.ts", "src/web/worker.ts"].filter(exists);
  const assets = walk("src/web", (file) => /\.(html|css|svg|png|ico|webmanifest)$/.test(file));
  await step("web", { inputs: [...tools, ...sources, ...kernelInput], outputs: ["build/web/index.html"] }, async () => {
    rmSync(join(root, "build/web"), { recursive: true, force: true });
    mkdirSync(join(root, "build/web"), { recursive: true });
    await esbuild({
      ...common,
      entryPoints: points,
      outdir: "build/web",
      outbase: "src/web",
      platform: "browser",
      splitting: true,
      minify: true,
      sourcemap: true,
      alias: {
        blockcore: join(root, "src/index.ts"),
        "blockcore/browser": join(root, "src/browser.ts"),
        "blockcore/worker": join(root, "src/worker.ts"),
      },
    });
    for (const file of assets) {
      const out = join(root, "build/web", file.slice("src/web/".length));
      mkdirSync(dirname(out), { recursive: true });
      copyFileSync(join(root, file), out);
    }
  });
}

for (const note of new Set(notes)) console.log(`build: ${note}`);

function walkOutput(dir, pattern) {
  // `walk` leaves build/ out on purpose; here the outputs themselves are wanted (not recursive into types/).
  const found = [];
  for (const sub of ["", "workerd"]) {
    const path = join(root, dir, sub);
    if (existsSync(path)) for (const name of readdirSync(path)) if (pattern.test(name)) found.push(join(path, name));
  }
  return found;
}
