// time-limit: 900 s
/**
 * Crash simulation (docs/CRASH-SAFETY.md): every scenario, on media whose free space is zero and stale.
 *
 * BLOCKCORE_LONG=1 visits far more states; BLOCKCORE_CRASH=text runs the scenarios whose names contain the text; SEED moves the seeds.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { hasQemu } from "../support/qemu.js";
import { skip } from "../support/skip.js";
import { judge, type JudgeOptions, type Verdict } from "./judge.js";
import { loadOracle } from "./oracle.js";
import { randomScenario, SCENARIOS, type Scenario } from "./scenarios.js";

const long = process.env["BLOCKCORE_LONG"] === "1";
const wanted = process.env["BLOCKCORE_CRASH"] ?? "";
const first = Number(process.env["SEED"] ?? 1);
const oracle = await loadOracle();
const common: Omit<JudgeOptions, "stale"> = {
  perEpoch: long ? 500 : 40,
  seed: first,
  continueEvery: long ? 29 : 17,
  qemuEvery: hasQemu ? (long ? 997 : Number(process.env["BLOCKCORE_QEMU_EVERY"] ?? 499)) : 0,
};
let count = 0;
const total = { scenarios: 0, distinct: 0, leaks: 0, dirty: 0, continued: 0, qemu: 0, violations: 0 };

function add(verdict: Verdict): void {
  total.scenarios++;
  total.distinct += verdict.distinct;
  total.leaks += verdict.withLeaks;
  total.dirty += verdict.dirty;
  total.continued += verdict.continued;
  total.qemu += verdict.qemuChecked;
  total.violations += verdict.violations.length;
}

function crashTest(scenario: Scenario, stale: number): void {
  if (!scenario.name.includes(wanted)) return;
  test(`${scenario.name}, free space ${stale === 0 ? "zero" : "stale"}`, async () => {
    if (oracle === null) return skip("the crash oracle is not there");
    const verdict = await judge(scenario, oracle, { ...common, stale, seed: common.seed + ++count });
    add(verdict);
    assert.equal(verdict.violations, []);
  });
}

for (const scenario of SCENARIOS) for (const stale of [0, 0xee]) crashTest(scenario, stale);
for (let i = 0; i < 30; i++) crashTest(randomScenario(first + i), i % 2 === 0 ? 0xee : 0);

test("how many states", () => {
  console.log(`SEED=${first}: ${JSON.stringify(total)}`);
});

test.run();
