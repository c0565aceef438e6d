/** The package as it would be published, installed into an empty project: entries, types, bundles, the command. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { build } from "esbuild";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { tempPath } from "../support/temp.js";

const PORTABLE = ["blockcore", "blockcore/browser", "blockcore/edge", "blockcore/worker", "blockcore/reader"];

interface Manifest {
  exports: Record<string, string | Record<string, string>>;
  bin: Record<string, string>;
  dependencies: Record<string, string>;
}

const project = tempPath("project");
const installed = join(project, "node_modules/blockcore");
mkdirSync(installed, { recursive: true });
const tarball = join(
  project,
  execFileSync("npm", ["pack", "--ignore-scripts", "--silent", "--pack-destination", project], { encoding: "utf8" }).trim(),
);
execFileSync("tar", ["-xzf", tarball, "-C", installed, "--strip-components=1"]);
const manifest = JSON.parse(readFileSync(join(installed, "package.json"), "utf8")) as Manifest;
for (const name of Object.keys(manifest.dependencies)) {
  const link = join(project, "node_modules", name);
  mkdirSync(dirname(link), { recursive: true });
  symlinkSync(resolve("node_modules", name), link);
}
writeFileSync(join(project, "package.json"), JSON.stringify({ name: "project", type: "module" }));

test("what package.json names is in the package", () => {
  const named = [...Object.values(manifest.exports), ...Object.values(manifest.bin)].flatMap((target) =>
    typeof target === "string" ? [target] : Object.values(target),
  );
  assert.ok(named.length > 10);
  for (const path of named) assert.ok(existsSync(join(installed, path)), path);
});

test("every entry can be imported by Node.js, and the same class is the same everywhere", () => {
  const script = `
    const all = await Promise.all(${JSON.stringify([...PORTABLE, "blockcore/node"])}.map((name) => import(name)));
    for (const entry of all) if (entry.BlockError !== all[0].BlockError) throw new Error("another BlockError");
    process.stdout.write(all.map((entry) => Object.keys(entry).length > 5).join());`;
  const run = spawnSync(process.execPath, ["--input-type=module", "-e", script], { cwd: project, encoding: "utf8" });
  assert.is(run.stdout, [...PORTABLE, "blockcore/node"].map(() => "true").join(), run.stderr);
});

for (const [lib, module, resolution] of [
  ["es2022,dom,dom.asynciterable", "nodenext", "nodenext"],
  ["es2022,webworker", "esnext", "bundler"],
] as const) {
  test(`the types hold by themselves (lib ${lib}, ${resolution})`, () => {
    const names = [...PORTABLE, "blockcore/node"];
    const source = names.map((name, i) => `import * as e${i} from "${name}";`).join("\n");
    writeFileSync(
      join(project, "use.mts"),
      `${source}\nexport const all: unknown[] = [${names.map((_, i) => `e${i}`).join()}];\n`,
    );
    const options = `--noEmit --strict --target es2022 --skipLibCheck false --lib ${lib} --module ${module} --moduleResolution ${resolution}`;
    const tsc = resolve("node_modules/typescript/bin/tsc");
    const run = spawnSync(process.execPath, [tsc, ...options.split(" "), "use.mts"], {
      cwd: project,
      encoding: "utf8",
    });
    assert.is(run.stdout, "");
  });
}

test("the portable entries bundle for the web without a word about Node.js", async () => {
  for (const name of PORTABLE) {
    const { outputFiles } = await build({
      stdin: { contents: `export * from "${name}";`, resolveDir: project },
      bundle: true,
      format: "esm",
      platform: "browser",
      write: false,
      logLevel: "silent",
      // Loaded on demand, where they are installed.
      external: ["@cloudpss/zstd", "@cloudpss/zstd/*"],
    });
    assert.not.match(outputFiles[0]!.text, /from "node:|import\("node:|require\("node:/);
  }
});

test("the command runs", () => {
  const run = spawnSync(process.execPath, [join(installed, manifest.bin["blockcore"]!), "--version"], { encoding: "utf8" });
  assert.is(run.status, 0, run.stderr);
  assert.match(run.stdout, /^blockcore version \d/);
});

test.run();
