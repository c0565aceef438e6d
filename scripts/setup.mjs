// What a fresh clone lacks: npm packages (and, for the edge tests, the runtimes workerd, Deno and Bun).
// `node scripts/setup.mjs [runtimes]`; also imported by test.mjs, demo.mjs and build.mjs. Plain Node, no dependencies.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { acquire } from "./lib/lock.mjs";
import { root, run } from "./lib/proc.mjs";

const npm = process.platform === "win32" ? "npm.cmd" : "npm";
const flags = ["--no-audit", "--no-fund", "--loglevel=error"];
const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) throw new Error(`Node.js 20.19 or newer is needed, this is ${process.version}`);
}

/** Whether everything the lock file names (optional packages aside) is installed in that version. */
function installed(dir) {
  const lock = join(dir, "package-lock.json");
  if (!existsSync(join(dir, "node_modules")) || !existsSync(lock)) return false;
  for (const [path, entry] of Object.entries(readJson(lock).packages)) {
    if (path === "" || entry.optional || entry.peer || entry.link) continue;
    try {
      if (readJson(join(dir, path, "package.json")).version !== entry.version) return false;
    } catch {
      return false;
    }
  }
  return true;
}

/**
 * `npm ci` on a fresh clone, else `npm install`, which leaves in place what others are using. A registry that lacks the
 * binaries of some platforms makes `npm ci` refuse a lock file that `npm install` accepts: then the latter it is.
 */
function install(dir, what) {
  if (installed(dir)) return;
  // Two test processes must not install at once.
  const release = acquire(join(dir, ".install-lock"));
  try {
    if (installed(dir)) return;
    const start = performance.now();
    const options = { cwd: dir, shell: process.platform === "win32" };
    const fresh = !existsSync(join(dir, "node_modules")) && existsSync(join(dir, "package-lock.json"));
    console.log(`setup: installing ${what}`);
    if (!fresh || spawnSync(npm, ["ci", ...flags], { ...options, stdio: "ignore" }).status !== 0)
      run(npm, ["install", "--no-save", ...flags], options);
    console.log(`setup: ${what} installed (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  } finally {
    release();
  }
}

/** npm packages of the project. */
export function setup() {
  checkNode();
  install(root, "npm packages");
}

/** workerd, Deno and Bun, from the npm registry, into test/runtimes/node_modules (about 350 MB). */
export function setupRuntimes() {
  install(join(root, "test/runtimes"), "test runtimes");
}

/** Installs and builds: what `npm run demo` needs before it can start. */
export function setupAndBuild() {
  setup();
  const build = spawnSync(process.execPath, [join(root, "scripts/build.mjs")], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (build.status !== 0) throw new Error("the build failed");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  setup();
  if (process.argv.includes("runtimes")) setupRuntimes();
}
