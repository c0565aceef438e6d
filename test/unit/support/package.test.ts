/** What package.json promises must be what the build makes. */
import { execFileSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";

type Target = string | Record<string, string>;
interface Manifest {
  exports: Record<string, Target>;
  bin: Record<string, string>;
  main: string;
  types: string;
}
const manifest = JSON.parse(readFileSync("package.json", "utf8")) as Manifest;

/** "./edge" -> src/edge.ts; null for targets that are no entry. */
const sourceOf = (key: string): string | null => (/\.\w+$/.test(key) ? null : `src/${key === "." ? "index" : key.slice(2)}.ts`);
const typesBuilt = existsSync("build/dist/types");

const packaging = suite("package");

packaging("every export of an entry is built", () => {
  let seen = 0;
  for (const [key, target] of Object.entries(manifest.exports)) {
    const source = sourceOf(key);
    if (source !== null && !existsSync(source)) continue;
    if (key === "./kernel.wasm" && !existsSync("src/index.ts")) continue;
    for (const [condition, file] of Object.entries(typeof target === "string" ? { default: target } : target)) {
      if (condition === "types" && !typesBuilt) continue;
      assert.ok(existsSync(file), `"${key}" (${condition}): ${file} is missing`);
      seen++;
    }
  }
  assert.ok(seen > 0);
});

packaging("conditions: types first, default last, and none that two kinds of runtime share", () => {
  for (const [key, target] of Object.entries(manifest.exports)) {
    if (typeof target === "string") continue;
    const conditions = Object.keys(target);
    assert.is(conditions[0], "types", key);
    assert.is(conditions.at(-1), "default", key);
    assert.not.ok(conditions.includes("browser") || conditions.includes("worker"), key);
  }
});

packaging("portable entries import nothing of Node", () => {
  for (const name of ["index", "browser", "worker", "edge", "workerd/index", "workerd/edge"]) {
    const file = `build/dist/${name}.js`;
    if (!existsSync(file)) continue;
    const seen = new Set<string>();
    const visit = (path: string): void => {
      if (seen.has(path)) return;
      seen.add(path);
      const text = readFileSync(path, "utf8");
      const nodeImport = /(?:from|import|import\()\s*"(node:[^"]+)"/.exec(text);
      assert.is(nodeImport, null, `${path} imports ${nodeImport?.[1]}`);
      for (const [, next] of text.matchAll(/(?:from|import)\s*"(\.[^"]+\.js)"/g))
        visit(new URL(next!, `file:///${path}`).pathname.slice(1));
    };
    visit(file);
  }
});

packaging("programs start with their interpreter's name and may be executed", () => {
  const programs = [
    "build/cli.js",
    ...["qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon"].map((name) => `build/qemu/${name}`),
  ];
  assert.equal(Object.values(manifest.bin), ["build/cli.js"]);
  for (const file of programs.filter((name) => existsSync(name))) {
    assert.match(readFileSync(file, "utf8"), /^#!\/usr\/bin\/env node\n/);
    accessSync(file, constants.X_OK);
  }
  for (const [source, file] of [
    ["main", "build/cli.js"],
    ["main", "build/qemu/qemu-img"],
    ["io-main", "build/qemu/qemu-io"],
  ]) {
    if (existsSync(`src/cli/${source}.ts`)) assert.ok(existsSync(file!), `${file} is missing`);
  }
});

packaging("a program can import the package by its name", () => {
  if (!existsSync("src/node.ts")) return;
  const script = 'const { default: _, ...names } = await import("blockcore/node"); console.log(Object.keys(names).length > 0);';
  assert.is(execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" }), "true\n");
});

packaging.run();
