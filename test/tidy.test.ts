/** Holds the order of the house: who may import whom, and the words certain floors must not use (docs/ARCHITECTURE.md). */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { suite, test } from "uvu";
import * as assert from "uvu/assert";
import { importsOf, tokenize, type Import, type Token } from "./support/scan.js";

const MAX_LINES = 700;
/** Made by a program, for programs. */
const GENERATED: ReadonlySet<string> = new Set(["src/qmp/types.ts"]);
const ENTRIES = ["index", "node", "browser", "edge", "worker", "reader"];
const PROGRAMS = ["main", "img-main", "io-main", "nbd-main", "daemon-main", "start"];

interface Source {
  path: string;
  text: string;
  tokens: Token[];
  imports: Import[];
}

function listing(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { withFileTypes: true })
    .flatMap((entry) => (entry.isDirectory() ? listing(posix.join(dir, entry.name)) : [posix.join(dir, entry.name)]))
    .sort();
}

const sources = new Map<string, Source>();
for (const path of listing("src").filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts"))) {
  const text = readFileSync(path, "utf8");
  sources.set(path, { path, text, tokens: tokenize(text), imports: importsOf(text) });
}

/** The source file a relative specifier means, or null if it is no TypeScript file of src. */
function target(from: string, specifier: string): string | null {
  if (!specifier.startsWith(".")) return null;
  return posix.normalize(posix.join(dirname(from), specifier)).replace(/\.js$/, ".ts");
}

/** Problems are collected and shown together: one run shows all there is to mend. */
function none(problems: string[]): void {
  if (problems.length > 0) throw Object.assign(new Error(`\n      ${problems.join("\n      ")}`), { stack: "" });
}

// -- floors -----------------------------------------------------------------------------------------------------------

/** What a floor may import besides itself; a name with a slash is a file or a folder below the floor. */
const FLOORS: Record<string, string[]> = {
  base: [],
  qapi: ["base"],
  kernel: ["base"],
  codec: ["base"],
  storage: ["base"],
  block: ["storage/storage.ts", "codec/codec.ts", "codec/crypto/crypto.ts", "kernel", "qapi", "base"],
  formats: ["storage/storage.ts", "storage/directory.ts", "block", "kernel", "codec", "qapi", "base"],
  filters: ["storage/storage.ts", "block", "kernel", "codec", "qapi", "base"],
  jobs: ["storage/storage.ts", "block", "kernel", "qapi", "base"],
  nbd: ["storage/storage.ts", "block", "kernel", "qapi", "base"],
  image: ["storage/storage.ts", "jobs", "nbd", "block", "kernel", "qapi", "base"],
  qmp: ["storage/storage.ts", "image", "jobs", "nbd", "block", "kernel", "qapi", "base"],
  cli: ["platform", "storage", "qmp", "image", "jobs", "nbd", "block", "kernel", "qapi", "base"],
};
/** What puts the parts together may import all of them, but for the floors named here. */
const RIM: Record<string, string[]> = {
  platform: ["library", "entries", "cli"],
  library: ["entries", "cli"],
  entries: ["cli"],
};
/** Floors whose folders (formats/qcow2) or files (filters/throttle.ts) are siblings that do not know each other. */
const SIBLINGS = new Set(["formats", "filters"]);
const entryFiles = new Set(ENTRIES.map((name) => `src/${name}.ts`));

/** Files of src itself are the entries. */
const floorOf = (path: string): string => (posix.dirname(path) === "src" ? "entries" : path.split("/")[1]!);
/** formats/qcow2/x.ts -> qcow2; filters/throttle.ts -> throttle */
const siblingOf = (path: string): string => path.split("/")[2]!.replace(/\.ts$/, "");

function mayImport(from: string, to: string): boolean {
  const floor = floorOf(from);
  const other = floorOf(to);
  if (floor in RIM) return !RIM[floor]!.includes(other);
  const allowed = FLOORS[floor];
  if (!allowed) return false;
  if (floor === other) {
    if (SIBLINGS.has(floor)) return siblingOf(to) === siblingOf(from) || siblingOf(to) === "shared";
    if (floor === "storage") return storageMayImport(from, to);
    return true;
  }
  return allowed.some((name) => name === other || to === `src/${name}`);
}

/** A backend imports the contract, shared helpers and files of its own family (node-fs, node-locks): never another backend. */
function storageMayImport(from: string, to: string): boolean {
  const family = (path: string): string => siblingOf(path).split("-")[0]!;
  if (to === "src/storage/storage.ts" || to === "src/storage/directory.ts" || to.startsWith("src/storage/shared/")) return true;
  if (from.startsWith("src/storage/shared/")) return false;
  return family(from) === family(to);
}

const floors = suite("floors");
floors("imports only go down", () => {
  const problems: string[] = [];
  for (const { path, imports } of sources.values()) {
    const floor = floorOf(path);
    if (!(floor in RIM) && !(floor in FLOORS)) problems.push(`${path}: "${floor}" is no floor of the house`);
    for (const { specifier, line } of imports) {
      const to = target(path, specifier);
      if (to?.startsWith("src/") && to.endsWith(".ts") && !mayImport(path, to))
        problems.push(`${path}:${line}: may not import ${to}`);
    }
  }
  none(problems);
});

floors("the rules themselves tell right from wrong", () => {
  assert.ok(mayImport("src/formats/qcow2/map.ts", "src/formats/shared/table-cache.ts"));
  assert.ok(mayImport("src/block/io.ts", "src/kernel/kernel.ts"));
  assert.ok(mayImport("src/node.ts", "src/formats/qcow2/qcow2.ts"));
  assert.ok(mayImport("src/storage/node-fs.ts", "src/storage/node-locks.ts"));
  assert.not.ok(mayImport("src/formats/qcow2/map.ts", "src/formats/raw/raw.ts"));
  assert.not.ok(mayImport("src/filters/throttle.ts", "src/filters/quorum.ts"));
  assert.not.ok(mayImport("src/block/io.ts", "src/storage/memory.ts"));
  assert.not.ok(mayImport("src/storage/http.ts", "src/storage/memory.ts"));
  assert.not.ok(mayImport("src/block/io.ts", "src/jobs/job.ts"));
  assert.not.ok(mayImport("src/jobs/job.ts", "src/formats/qcow2/qcow2.ts"));
  assert.not.ok(mayImport("src/base/int.ts", "src/qapi/schema.ts"));
  assert.not.ok(mayImport("src/platform/sources.ts", "src/library/block-core.ts"));
  assert.not.ok(mayImport("src/cli/environment.ts", "src/library/functions.ts"));
  assert.not.ok(mayImport("src/index.ts", "src/cli/main.ts"));
});

/** A module and the contract types it is described by may know each other inside one folder; nothing else may be circular. */
const typesInFolder = (from: string, to: string, form: string): boolean => form === "type" && dirname(from) === dirname(to);

floors("no import cycles (between folders type imports count too)", () => {
  const state = new Map<string, "open" | "done">();
  const trail: string[] = [];
  const problems: string[] = [];
  const visit = (path: string): void => {
    const source = sources.get(path);
    if (!source || state.get(path) === "done") return;
    if (state.get(path) === "open") {
      problems.push([...trail.slice(trail.indexOf(path)), path].join(" -> "));
      return;
    }
    state.set(path, "open");
    trail.push(path);
    for (const { specifier, form } of source.imports) {
      const to = form === "url" ? null : target(path, specifier);
      if (to && !typesInFolder(path, to, form)) visit(to);
    }
    trail.pop();
    state.set(path, "done");
  };
  for (const path of sources.keys()) visit(path);
  none(problems);
});

floors("relative specifiers end in .js and name a file that exists", () => {
  const problems: string[] = [];
  for (const { path, imports } of sources.values()) {
    for (const { specifier, form, line } of imports) {
      if (!specifier.startsWith(".")) continue;
      if (specifier.endsWith(".wasm") && path.startsWith("src/kernel/")) continue;
      if (!specifier.endsWith(".js")) problems.push(`${path}:${line}: "${specifier}" does not end in .js`);
      else if (form !== "url" && !existsSync(target(path, specifier)!))
        problems.push(`${path}:${line}: "${specifier}" does not exist`);
    }
  }
  none(problems);
});

/** Where npm packages may be used at all: the rim. */
const PACKAGES = /^src\/(codec|storage|cli)\/|^src\/nbd\/node-|^src\/qmp\/node-/;
floors("npm packages: only declared ones, only at the rim", () => {
  const manifest = JSON.parse(readFileSync("package.json", "utf8")) as Record<string, Record<string, string> | undefined>;
  const declared = new Set(
    ["dependencies", "optionalDependencies", "peerDependencies"].flatMap((kind) => Object.keys(manifest[kind] ?? {})),
  );
  const problems: string[] = [];
  for (const { path, imports } of sources.values()) {
    for (const { specifier, line } of imports) {
      if (specifier.startsWith(".") || /^(node:|bun:|\(|cloudflare:)/.test(specifier) || specifier.startsWith("blockcore"))
        continue;
      const name = specifier
        .split("/")
        .slice(0, specifier.startsWith("@") ? 2 : 1)
        .join("/");
      if (!declared.has(name)) problems.push(`${path}:${line}: "${name}" is not among package.json's dependencies`);
      if (!PACKAGES.test(path)) problems.push(`${path}:${line}: "${name}": packages are for codec and storage`);
    }
  }
  none(problems);
});
floors.run();

// -- words ------------------------------------------------------------------------------------------------------------

const words = suite("words");

/** Files that exist for Node: the only ones that import `node:` modules. */
const NODE_FILES = /^src\/(node\.ts$|cli\/|(platform|storage|codec|nbd|qmp|jobs|image)\/(.*\/)?node(-[^/]*)?\.ts$)/;
words("node: modules only in the files that exist for them", () => {
  const problems: string[] = [];
  for (const { path, imports } of sources.values()) {
    if (NODE_FILES.test(path)) continue;
    for (const { specifier, line } of imports) {
      if (specifier.startsWith("node:")) problems.push(`${path}:${line}: ${specifier}`);
    }
  }
  none(problems);
});

function* matches(
  path: RegExp,
  except: (path: string) => boolean = () => false,
): Generator<{ source: Source; token: Token; at: (n: number) => string }> {
  for (const source of sources.values()) {
    if (!path.test(source.path) || except(source.path)) continue;
    for (let i = 0; i < source.tokens.length; i++) {
      const at = (n: number): string => {
        const token = source.tokens[i + n];
        return token && token.kind !== "string" && token.kind !== "template" ? token.text : "";
      };
      yield { source, token: source.tokens[i]!, at };
    }
  }
}

words("memory.buffer only in the kernel", () => {
  const problems: string[] = [];
  for (const { source, token, at } of matches(/^src\/(?!kernel\/)/)) {
    if (at(0) === "memory" && at(1) === "." && at(2) === "buffer") problems.push(`${source.path}:${token.line}: memory.buffer`);
  }
  none(problems);
});

words("no async, await or Promise in block, formats, filters and jobs, except in block/op.ts", () => {
  const problems: string[] = [];
  for (const { source, token, at } of matches(/^src\/(block|formats|filters|jobs)\//, (path) => path === "src/block/op.ts")) {
    if (token.kind !== "name") continue;
    const member = at(-1) === "." || at(1) === ":" || (at(1) === "?" && at(2) === ":");
    const keyword = token.text === "async" || token.text === "await";
    // `async` and `await` as the name of a member (storage.async, { async: face }) are fine; `Promise` never is.
    if ((keyword && !member && (token.text === "await" || asyncKeyword(at))) || token.text === "Promise") {
      problems.push(`${source.path}:${token.line}: ${token.text}`);
    }
  }
  none(problems);
});

function asyncKeyword(at: (n: number) => string): boolean {
  return at(1) === "function" || at(1) === "(" || at(1) === "*" || at(1) === "[" || /^[\p{ID_Start}$_#]/u.test(at(1));
}

/** BigInt is slow (33 times in a table scan); these files use it where no data flows. */
const BIGINT_ALLOWED: Record<string, string> = {
  "src/storage/node-locks.ts": "device and inode numbers of stat()",
  "src/storage/node-native.ts": "64-bit arguments of system calls",
};
words("no BigInt on the data path", () => {
  const problems: string[] = [];
  for (const { source, token, at } of matches(
    /^src\/(storage|block|formats|filters|jobs|kernel)\//,
    (path) => path in BIGINT_ALLOWED,
  )) {
    const literal = token.kind === "number" && token.text.endsWith("n") && /^[0-9]/.test(token.text);
    const call = token.kind === "name" && token.text === "BigInt" && (at(1) === "(" || at(1) === ".");
    const access = /^[gs]etBig(Ui|I)nt64$|^Big(Ui|I)nt64Array$/.test(at(0));
    if (literal || call || access) problems.push(`${source.path}:${token.line}: ${token.text}`);
  }
  none(problems);
});

words("no file above 700 lines", () => {
  const problems: string[] = [];
  for (const { path, text } of sources.values()) {
    const lines = text.split("\n").length - 1;
    if (lines > MAX_LINES && !GENERATED.has(path)) problems.push(`${path}: ${lines} lines`);
  }
  none(problems);
});
words.run();

// -- reachability -----------------------------------------------------------------------------------------------------

/** `seen` may be given for the test of this function. */
function unreachable(all: Iterable<string>, imports: (path: string) => Import[], roots: string[]): string[] {
  const paths = new Set(all);
  const seen = new Set<string>();
  const visit = (path: string): void => {
    if (!paths.has(path) || seen.has(path)) return;
    seen.add(path);
    for (const { specifier } of imports(path)) {
      const to = target(path, specifier);
      if (to) visit(to);
    }
    // The workerd bundle puts x.workerd.ts in the place of x.inline.ts.
    if (path.endsWith(".inline.ts")) visit(path.replace(/\.inline\.ts$/, ".workerd.ts"));
  };
  for (const root of roots) visit(root);
  return [...paths].filter((path) => !seen.has(path));
}

const reach = suite("reachability");
reach("every file is reachable from an entry or a program", () => {
  const roots = [...entryFiles, ...PROGRAMS.map((name) => `src/cli/${name}.ts`)].filter((path) => sources.has(path));
  const lost = unreachable(sources.keys(), (path) => sources.get(path)!.imports, roots);
  none(lost.map((path) => `${path}: nothing imports it`));
});

reach("what is exported is named by another file", () => {
  const words = new Map<string, number>();
  const texts = [...sources.values()]
    .map(({ text }) => text)
    .concat(
      listing("test")
        // Some folders have packages of their own, which have many names.
        .filter((path) => /\.m?ts$|\.mjs$/.test(path) && !path.includes("/node_modules/"))
        .map((path) => readFileSync(path, "utf8")),
    );
  for (const text of texts) for (const word of new Set(text.match(/[\w$]+/g))) words.set(word, (words.get(word) ?? 0) + 1);
  const problems: string[] = [];
  for (const { path, text } of sources.values()) {
    if (entryFiles.has(path) || GENERATED.has(path)) continue;
    for (const [, name] of text.matchAll(/^export (?:abstract )?(?:async )?(?:const|class|enum|function\*?) (\w+)/gm))
      if (words.get(name!) === 1) problems.push(`${path}: ${name}`);
  }
  none(problems);
});

reach("a lost file is found", () => {
  const files: Record<string, Import[]> = {
    "src/index.ts": [{ specifier: "./a/b.inline.js", form: "re-export", line: 1 }],
    "src/a/b.inline.ts": [],
    "src/a/b.workerd.ts": [],
    "src/a/lost.ts": [{ specifier: "../index.js", form: "static", line: 1 }],
  };
  assert.equal(
    unreachable(Object.keys(files), (path) => files[path]!, ["src/index.ts"]),
    ["src/a/lost.ts"],
  );
});
reach.run();

// -- the scanner ------------------------------------------------------------------------------------------------------

test("the scanner sees every form of import and nothing else", () => {
  const text = `
    import a, { type B, "odd name" as c } from "./static.js";
    import * as d from './star.js';
    import type { E } from "./type.js";
    import type F from "./type2.js";
    import type from "./named-type.js";
    import "./side.js";
    export { g } from "./re.js"; export * from "./re-star.js"; export * as h from "./re-as.js";
    export type { I } from "./re-type.js";
    export { local }; export const from = "./not1.js";
    const j = await import("./dynamic.js");
    let k: typeof import("./query.js");
    let l: import("./query2.js").Name;
    const url = new URL("./worker.js", import.meta.url);
    const m = x.import("./not2.js"); // import "./not3.js"
    /* import "./not4.js" */
    const n = "import './not5.js'" + \`import "./not6.js" \${ await import("./in-template.js") } \${ { a: { b: \`}\` } }.a }\`;
    const o = /import ".\\/not7[/"].js"/.test(s) ? 4 / 2 / 1 : a[0] / 2; import("./after.js");
    const p = (1) / 2; const q = '\\'import("./not8.js")';
  `;
  const seen = importsOf(text).map(({ specifier, form }) => `${form} ${specifier}`);
  assert.equal(seen, [
    "static ./static.js",
    "static ./star.js",
    "type ./type.js",
    "type ./type2.js",
    "static ./named-type.js",
    "side-effect ./side.js",
    "re-export ./re.js",
    "re-export ./re-star.js",
    "re-export ./re-as.js",
    "type ./re-type.js",
    "dynamic ./dynamic.js",
    "type-query ./query.js",
    "type-query ./query2.js",
    "url ./worker.js",
    "dynamic ./in-template.js",
    "dynamic ./after.js",
  ]);
});

test("the scanner refuses text it can not read", () => {
  for (const text of ["/* open", '"open', "`open ${a", "`open"]) assert.throws(() => tokenize(text), /unterminated/);
  assert.equal(
    tokenize("1n + 0xffn - 1_000.5e3").map((token) => token.text),
    ["1n", "+", "0xffn", "-", "1_000.5e3"],
  );
  assert.is(tokenize("a\n\n`x\n${b}`\nc").at(-1)!.line, 5);
});

test("the source tree was found", () => {
  assert.ok(sources.size > 0);
  assert.ok(existsSync(join("src", "base", "error.ts")));
});
test.run();
