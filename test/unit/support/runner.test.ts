/** The test runner must not call a broken test file good. Each case is a small file run as `npm test` runs it. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

interface Verdict {
  passed: number;
  failures: string[];
  skips: { name: string; reason: string }[];
  output: string;
}
interface RunFile {
  limits(source: string): { fileS: number; testS: number };
  runTestFile(js: string, limits: { fileS: number; testS: number }): Promise<Verdict>;
}
const load = async (): Promise<RunFile> => (await import(pathToFileURL(resolve("scripts/lib/run-file.mjs")).href)) as RunFile;

// Inside build/test, where bare specifiers and the runner's twin of uvu resolve.
mkdirSync("build/test/tmp", { recursive: true });
const dir = mkdtempSync(resolve("build/test/tmp/runner-"));
let count = 0;

const HEAD =
  'import { test, suite } from "../../test/support/runner/uvu.js"; import { skip } from "../../test/support/skip.js";\n';

async function run(body: string, limits = { fileS: 20, testS: 10 }): Promise<Verdict> {
  const file = join(dir, `case-${count++}.js`);
  writeFileSync(file, HEAD + body);
  const before = process.env["BLOCKCORE_NO_SKIP"];
  delete process.env["BLOCKCORE_NO_SKIP"];
  try {
    return await (await load()).runTestFile(file, limits);
  } finally {
    if (before !== undefined) process.env["BLOCKCORE_NO_SKIP"] = before;
  }
}

const runner = suite("test runner");
runner.after(() => rmSync(dir, { recursive: true, force: true }));

runner("counts passes, also of a suite that is run after an await", async () => {
  const verdict = await run(
    'test("a", () => {}); test.run(); const s = suite("s"); await new Promise((r) => setTimeout(r, 20)); s("b", async () => {}); s.run();',
  );
  assert.equal([verdict.passed, verdict.failures, verdict.skips], [2, [], []]);
});

runner("counts skips with their reasons", async () => {
  const verdict = await run(
    'test("a", () => skip("no such program")); test("b", () => {}); test.skip("c", () => {}); test.run();',
  );
  assert.equal([verdict.passed, verdict.failures], [1, []]);
  assert.equal(verdict.skips, [
    { name: "a", reason: "no such program" },
    { name: "c", reason: "test.skip()" },
  ]);
});

const broken: [title: string, body: string, failures: RegExp[], passed?: number][] = [
  ["a failing test", 'test("a", () => { throw new Error("x"); }); test("b", () => {}); test.run();', [/^a$/], 1],
  ["a rejecting test", 'test("a", async () => { throw new Error("x"); }); test.run();', [/^a$/]],
  ["no tests", "", [/has no tests/]],
  ["a forgotten run()", 'test("a", () => {});', [/^a .*run\(\) was never called/]],
  [
    "one forgotten run() of two",
    'test("a", () => {}); test.run(); const s = suite("s"); s("b", () => {});',
    [/^s: b .*never called/],
    1,
  ],
  [
    "a failing before hook",
    'test.before(() => { throw new Error("x"); }); test("a", () => {}); test.run();',
    [/^a \(never ran\)/],
  ],
  ["an import that does not exist", 'import "./nowhere.js"; test("a", () => {}); test.run();', [/did not load/]],
  ["an early exit", 'test("a", () => process.exit(0)); test.run();', [/^a \(was running/]],
  [
    "a stray rejection",
    'test("a", () => { Promise.reject(new Error("x")); }); test("b", () => new Promise((r) => setTimeout(r, 200))); test.run();',
    [/^b \(was running/],
    1,
  ],
  ["a promise that never settles", 'test("a", () => new Promise(() => {})); test.run();', [/^a/]],
];
for (const [title, body, failures, passed = 0] of broken) {
  runner(`notices ${title}`, async () => {
    const verdict = await run(body, { fileS: 20, testS: 1 });
    assert.is(verdict.passed, passed, verdict.output);
    assert.is(verdict.failures.length, failures.length, verdict.failures.join("\n"));
    failures.forEach((pattern, i) => assert.match(verdict.failures[i]!, pattern));
  });
}

runner("kills a file that exceeds its limit and names the test that was running", async () => {
  const verdict = await run('test("loops", () => { for (;;); }); test.run();', { fileS: 1, testS: 10 });
  assert.is(verdict.failures.length, 1);
  assert.match(verdict.failures[0]!, /^loops \(was running when the process ended: time limit of 1 s\)/);
});

runner("notices what keeps the process alive", async () => {
  const verdict = await run('test("a", () => { setInterval(() => {}, 100); }); test.run();');
  assert.equal([verdict.passed, verdict.failures], [1, ["the file (exit status 1)"]]);
  assert.match(verdict.output, /stays alive: .*Timeout/);
});

runner("waits for a parent that has no time to read", async () => {
  const file = join(dir, "talkative.js");
  const done = join(dir, "done");
  const talk = `for (let i = 0; i < 3000; i++) process.stdout.write("x".repeat(100)); writeFileSync(${JSON.stringify(done)}, "");`;
  writeFileSync(file, `${HEAD}import { writeFileSync } from "node:fs"; test("talks", () => { ${talk} }); test.run();`);
  const child = spawn(process.execPath, ["scripts/lib/test-child.mjs", file], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, BLOCKCORE_TEST_REPORT: "" },
  });
  const ended = new Promise<number | null>((resolve) => child.on("exit", resolve));
  while (!existsSync(done)) await new Promise((resolve) => setTimeout(resolve, 50));
  // Longer than what is left alive is given.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  child.stdout.resume();
  assert.is(await ended, 0);
});

runner("reads a file's own time limit", async () => {
  const { limits } = await load();
  assert.equal(limits("// time-limit: 300 s\nimport"), { fileS: 300, testS: 300 });
  assert.equal(limits("import"), { fileS: 180, testS: 60 });
});

runner.run();
