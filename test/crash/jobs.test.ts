// time-limit: 300 s
/**
 * Crash simulation of jobs: at any moment the guest's disk has what was flushed, all images open, and the target is old or consistent.
 *
 * BLOCKCORE_LONG=1 visits far more; SEED moves the seeds.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { skip } from "../support/skip.js";
import { judgeJob } from "./job-judge.js";
import { JOB_KINDS, runJob } from "./job-scenarios.js";
import { loadOracle } from "./oracle.js";

const long = process.env["BLOCKCORE_LONG"] === "1";
const first = Number(process.env["SEED"] ?? 1);
const RUNS = long ? 200 : 3;
const STATES = long ? 600 : 60;
const oracle = await loadOracle();
const total = { scenarios: 0, states: 0, returns: 0, violations: 0 };

const jobs = suite("jobs");
for (const kind of JOB_KINDS) {
  jobs(kind, async () => {
    if (oracle === null) return skip("the crash oracle is not there");
    for (let round = 0; round < RUNS; round++) {
      const seed = first * 1000 + round;
      const verdict = await judgeJob(kind, await runJob(kind, seed), oracle, STATES, seed);
      total.scenarios++;
      total.states += verdict.states;
      total.returns += verdict.returns;
      total.violations += verdict.violations.length;
      assert.equal(verdict.violations, [], `SEED=${seed} ${kind}`);
    }
  });
}

jobs("the judge notices a driver that does not flush", async () => {
  if (oracle === null) return skip("the crash oracle is not there");
  const run = await runJob("partial stream", first, {
    sabotage(top) {
      // eslint-disable-next-line require-yield
      Object.assign(top.impl, { *flush() {} });
    },
  });
  assert.ok((await judgeJob("partial stream", run, oracle, 200, first)).violations.length > 0);
});

jobs("how many states", () => {
  console.log(`SEED=${first}: ${JSON.stringify(total)}`);
});
jobs.run();
