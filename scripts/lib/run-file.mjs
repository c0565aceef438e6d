// One transpiled uvu test file in a process of its own, and the verdict on each of its tests.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { capture, root } from "./proc.mjs";

const FILE_LIMIT_S = 180;
const TEST_LIMIT_S = 60;

/** Time limits of a test file; a slow one says so in a comment near its head: "// time-limit: 300 s". */
export function limits(source) {
  const own = /^\/\/ time-limit: (\d+) s$/m.exec(source.slice(0, 2000));
  const fileS = own ? Number(own[1]) : FILE_LIMIT_S;
  return { fileS, testS: own ? fileS : TEST_LIMIT_S };
}

/**
 * Runs `js` and returns what became of each registered test. A test that never ran is a failure, and so is a file without
 * tests, one that exits early, leaks what keeps the process alive, or exceeds its limit.
 * @returns {Promise<{passed: number, failures: string[], skips: {name: string, reason: string}[], output: string, ms: number}>}
 */
export async function runTestFile(js, { fileS, testS }) {
  const dir = mkdtempSync(join(tmpdir(), "blockcore-report-"));
  const report = join(dir, "report.jsonl");
  writeFileSync(report, "");
  const done = await capture(process.execPath, ["--enable-source-maps", join(root, "scripts/lib/test-child.mjs"), js], {
    timeoutMs: fileS * 1000,
    env: { ...process.env, BLOCKCORE_TEST_REPORT: report, BLOCKCORE_TEST_LIMIT_MS: String(testS * 1000) },
  });
  const { tests, only } = readReport(readFileSync(report, "utf8"));
  rmSync(dir, { recursive: true, force: true });

  const failures = [];
  const skips = [];
  let passed = 0;
  for (const { name, state, reason, handed } of tests.values()) {
    if (state === "pass") passed++;
    else if (state === "skip") skips.push({ name, reason });
    else if (state === "fail") failures.push(name);
    else if (state === "start")
      failures.push(`${name} (was running when the process ended${done.timedOut ? `: time limit of ${fileS} s` : ""})`);
    else if (!handed) failures.push(`${name} (registered, but its suite's run() was never called)`);
    else if (only) skips.push({ name, reason: "another test is marked .only" });
    else failures.push(`${name} (never ran)`);
  }
  if (tests.size === 0) failures.push(done.status === 0 ? "the file (has no tests)" : "the file (did not load)");
  else if (failures.length === 0 && done.timedOut) failures.push(`the file (time limit of ${fileS} s)`);
  else if (failures.length === 0 && done.status !== 0) failures.push(`the file (exit status ${done.status ?? done.signal})`);
  return { passed, failures, skips, output: done.output, ms: done.ms };
}

function readReport(text) {
  const tests = new Map();
  let only = false;
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const event = JSON.parse(line);
    if (event.event === "test")
      tests.set(event.id, {
        name: event.suite ? `${event.suite}: ${event.name}` : event.name,
        state: "registered",
        handed: false,
      });
    else if (event.event === "run") for (const id of event.ids) tests.get(id).handed = true;
    else if (event.event === "only") only = true;
    else Object.assign(tests.get(event.id), { state: event.event, reason: event.reason });
  }
  return { tests, only };
}
