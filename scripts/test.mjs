// npm test [-- [--checks|--no-checks] [--verbose] [--list] filter …]
// Sets up, builds, checks types and style, runs as-pect and every uvu test file, and closes with "N passed, N failed".
// A filter is a part of a test file's path ("qcow2", "unit/base", "assembly"); with one, the checks are left out.
// Environment: BLOCKCORE_NO_SKIP=1 makes a skip a failure; BLOCKCORE_TEST_JOBS sets the number of processes at once.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { setup, setupRuntimes } from "./setup.mjs";
import { capture, root, walk } from "./lib/proc.mjs";
import { limits, runTestFile } from "./lib/run-file.mjs";

const args = process.argv.slice(2);
const options = args.filter((arg) => arg.startsWith("--"));
const filters = args.filter((arg) => !arg.startsWith("--"));
for (const option of options) {
  if (!["--checks", "--no-checks", "--verbose", "--list"].includes(option)) {
    console.error(`unknown option ${option}`);
    process.exit(2);
  }
}
const verbose = options.includes("--verbose");
const checks = options.includes("--checks") || (filters.length === 0 && !options.includes("--no-checks"));
const noSkip = process.env.BLOCKCORE_NO_SKIP === "1";
const workers = Number(process.env.BLOCKCORE_TEST_JOBS) || Math.max(2, Math.min(8, availableParallelism()));

/** @type {{passed: number, failures: {where: string, name: string, text: string}[], skips: {where: string, name: string, reason: string}[]}} */
const total = { passed: 0, failures: [], skips: [] };
const fail = (where, name, text = "") => total.failures.push({ where, name, text });

function close() {
  if (total.failures.length > 0) {
    console.log("\nFailed:");
    for (const { where, name } of total.failures) console.log(`  ${where}: ${name}`);
  }
  if (total.skips.length > 0) {
    console.log("\nSkipped:");
    for (const { where, name, reason } of total.skips) console.log(`  ${where}: ${name}: ${reason}`);
  }
  const skipped = total.skips.length > 0 ? `, ${total.skips.length} skipped` : "";
  // A run in which nothing ran proves nothing.
  const bad = total.failures.length > 0 || (noSkip && total.skips.length > 0) || total.passed === 0;
  console.log(`\n${total.passed} passed, ${total.failures.length} failed${skipped}`);
  process.exitCode = bad ? 1 : 0;
}

const wanted = (file) => filters.length === 0 || filters.some((filter) => file.includes(filter));
const testFiles = walk("test", (file) => file.endsWith(".test.ts") && !file.startsWith("test/assembly/")).filter(wanted);
const aspectSpecs = [...walk("assembly"), ...walk("test/assembly")].filter((file) => file.endsWith(".spec.ts"));
const aspect = aspectSpecs.length > 0 && (filters.length === 0 || aspectSpecs.some(wanted));
if (options.includes("--list")) {
  for (const file of [...testFiles, ...(aspect ? aspectSpecs : [])]) console.log(file);
  process.exit(0);
}

try {
  setup();
  if (testFiles.some((file) => file.startsWith("test/edge/"))) {
    try {
      setupRuntimes();
    } catch (error) {
      console.log(`setup: the runtimes for the edge tests are not available (${error.message})`);
    }
  }
} catch (error) {
  fail("setup", "npm packages", String(error));
  console.error(error.message);
  close();
  process.exit(1);
}

// Setting up was the last to need the network. With this variable each of the thousands of programs that the tests start would read
// a bundle of certificates first, which takes longer than starting Node.js.
delete process.env.NODE_EXTRA_CA_CERTS;

// -- build and transpile --------------------------------------------------------------------------------------------
const built = await capture(process.execPath, ["scripts/build.mjs", ...(filters.length > 0 ? ["--only=wasm,dist,cli"] : [])]);
if (built.output.trim() !== "") console.log(built.output.trimEnd());
if (built.status !== 0) fail("build", "scripts/build.mjs");
const { transpile } = await import("./lib/transpile.mjs");
for (const { file, message } of await transpile()) {
  fail(file, "does not parse");
  console.log(`${file}: ${message}`);
}

// -- jobs -----------------------------------------------------------------------------------------------------------
const timesFile = join(root, "build/.stamps/test-times.json");
let times = {};
try {
  times = JSON.parse(readFileSync(timesFile, "utf8"));
} catch {
  // first run
}
const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
const tail = (text, lines = 200) => text.trimEnd().split("\n").slice(-lines).join("\n");
const node = process.execPath;

/** Exit status of a check that this platform lacks something for (Automake's; a compiler has small ones of its own). */
const NOT_RUN = 77;

/** A check is no test: it adds a failure, a skip or nothing. */
async function check(name, commandArgs) {
  const done = await capture(node, commandArgs);
  if (done.status === 0) console.log(`ok      ${name} (${seconds(done.ms)})`);
  else if (done.status === NOT_RUN) total.skips.push({ where: "check", name, reason: /.*not run.*/.exec(done.output)?.[0] });
  else {
    fail("check", name);
    console.log(`FAILED  ${name}\n${tail(done.output)}\n`);
  }
}

async function runAspect() {
  const name = "as-pect";
  const done = await capture(node, ["node_modules/@as-pect/cli/lib/test.js", "--no-logo"], { timeoutMs: 180_000 });
  const plain = done.output.replace(/\x1b\[[0-9;]*m/g, "");
  const counts = [...plain.matchAll(/\[Tests\]:?\s*(\d+)\s*\/\s*(\d+)/g)].at(-1);
  const [passed, all] = counts ? [Number(counts[1]), Number(counts[2])] : [0, 0];
  total.passed += passed;
  if (done.status === 0 && all > 0 && passed === all)
    console.log(`ok      ${name}: ${passed} tests in ${aspectSpecs.length} files (${seconds(done.ms)})`);
  else {
    const bad = Math.max(1, all - passed);
    for (let i = 0; i < bad; i++) fail(name, all === 0 ? "no tests ran" : "see its output above");
    console.log(`FAILED  ${name}${done.timedOut ? " (time limit)" : ""}\n${tail(plain, 400)}\n`);
  }
  if (verbose) console.log(done.output);
}

async function runFile(file) {
  const js = join(root, "build/test", file.replace(/\.ts$/, ".js"));
  if (!existsSync(js)) return; // did not parse: counted already
  const result = await runTestFile(js, limits(readFileSync(join(root, file), "utf8")));
  times[file] = Math.round(result.ms);
  total.passed += result.passed;
  for (const skip of result.skips) total.skips.push({ where: file, ...skip });
  for (const name of result.failures) fail(file, name);
  if (result.failures.length === 0) console.log(`ok      ${file}: ${result.passed} (${seconds(result.ms)})`);
  else console.log(`FAILED  ${file}\n${result.failures.map((name) => `    ✘ ${name}`).join("\n")}\n${tail(result.output)}\n`);
  if (verbose && result.failures.length === 0) console.log(result.output);
}

const jobs = [];
if (checks) {
  const tsc = "node_modules/typescript/bin/tsc";
  // assembly/ is checked by its own compiler, in the build; assembly/tsconfig.json is for editors.
  jobs.push({ ms: 9000, run: () => check("typecheck src, test", [tsc, "-p", "tsconfig.json"]) });
  jobs.push({ ms: 2000, run: () => check("lint", ["scripts/lint.mjs"]) });
}
if (aspect) jobs.push({ ms: times["as-pect"] ?? 8000, run: runAspect });
for (const file of testFiles) jobs.push({ ms: times[file] ?? 5000, run: () => runFile(file) });
jobs.sort((a, b) => b.ms - a.ms); // longest first: the end is not one long file alone

const worker = async () => {
  for (let job = jobs.shift(); job; job = jobs.shift()) await job.run();
};
const entries = readdirSync(root);
await Promise.all(Array.from({ length: workers }, worker));
// What tests make belongs into temporary folders.
for (const entry of readdirSync(root)) if (!entries.includes(entry)) fail("check", `'${entry}' was left behind by a test`);
mkdirSync(join(root, "build/.stamps"), { recursive: true });
writeFileSync(timesFile, JSON.stringify(times));
close();
