/** The same QMP scenarios against QEMU's storage daemon and ours: replies, events, images. */
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "uvu";
import * as assert from "uvu/assert";
import { skip } from "../support/skip.js";
import { tempPath } from "../support/temp.js";
import { QmpClient, type Json } from "./qmp-client.js";
import { bundleProgram, difference, mask, type Transcript } from "./qmp-compare.js";
import { scenarios, type Scenario } from "./qmp-scenarios.js";

const hasQemu = spawnSync("qemu-storage-daemon", ["--version"]).status === 0;

/** Differences that are known: name of the scenario (or its beginning) and why. */
const KNOWN: readonly [name: string | RegExp, why: string][] = [
  [
    /^(blockdev-snapshot|transaction snapshot)$/,
    "QEMU describes a node whose backing node was changed as json:{…}; ours keeps its file name",
  ],
];

const base = tempPath("qmp");
const template = join(base, "template");

function makeTemplate(): void {
  mkdirSync(template, { recursive: true });
  const img = (...args: string[]): void => void execFileSync("qemu-img", args, { cwd: template, stdio: "ignore" });
  const write = (name: string, format: string, ...commands: string[]): void =>
    void execFileSync("qemu-io", ["-f", format, ...commands.flatMap((command) => ["-c", command]), name], {
      cwd: template,
      stdio: "ignore",
    });
  img("create", "-f", "qcow2", "a.qcow2", "1M");
  write("a.qcow2", "qcow2", "write -P 1 0 64k", "write -P 2 512k 100k");
  img("create", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", "b.qcow2");
  write("b.qcow2", "qcow2", "write -P 3 64k 64k", "write -z 512k 64k");
  img("create", "-f", "qcow2", "-b", "b.qcow2", "-F", "qcow2", "c.qcow2");
  write("c.qcow2", "qcow2", "write -P 4 256k 130k");
  img("create", "-f", "qcow2", "t.qcow2", "1M");
  img("create", "-f", "qcow2", "short.qcow2", "576k");
  write("short.qcow2", "qcow2", "write -P 6 128k 64k");
  img("create", "-f", "raw", "e.raw", "1M");
  img("create", "-f", "raw", "d.raw", "1M");
  write("d.raw", "raw", "write -P 5 0 300k");
}

function refresh(folder: string): void {
  for (const name of readdirSync(folder)) if (!name.endsWith(".sock")) rmSync(join(folder, name));
  for (const name of readdirSync(template)) copyFileSync(join(template, name), join(folder, name));
}

async function play(client: QmpClient, scenario: Scenario): Promise<Transcript> {
  const from = client.events.length;
  const replies: unknown[] = [];
  for (const step of scenario.steps) {
    if ("wait" in step) {
      const { wait, id } = step as { wait: string; id: string };
      const isOver = (event: Json): boolean => {
        const data = event["data"] as Json;
        return (
          event["event"] === "JOB_STATUS_CHANGE" && data["id"] === id && data["status"] === (wait === "over" ? "null" : wait)
        );
      };
      await client.waitFor(from, isOver).catch(() => replies.push(`no ${wait} of ${id}`));
      if (wait === "ready") await new Promise((done) => setTimeout(done, 5));
      continue;
    }
    replies.push(await client.run(step));
  }
  // Clear up: what is left of jobs, exports and nodes.
  for (const job of (await client.run({ execute: "query-jobs" }))["return"] as Json[]) {
    if (job["status"] !== "concluded") await client.run({ execute: "job-cancel", arguments: { id: job["id"] } });
  }
  await new Promise((done) => setTimeout(done, 2));
  for (let round = 0; round < 40; round++) {
    for (const job of (await client.run({ execute: "query-jobs" }))["return"] as Json[])
      if (job["status"] === "concluded") await client.run({ execute: "job-dismiss", arguments: { id: job["id"] } });
    const nodes = (await client.run({ execute: "query-named-block-nodes", arguments: { flat: true } }))["return"] as Json[];
    if (nodes.length === 0) break;
    for (const node of nodes) await client.run({ execute: "blockdev-del", arguments: { "node-name": node["node-name"] } });
    if (round > 3) await new Promise((done) => setTimeout(done, 10));
  }
  return {
    replies: replies.map((reply) => mask(reply, scenario)),
    events: mask(client.events.splice(from), scenario) as unknown[],
  };
}

function compareImages(scenario: Scenario, theirs: string, ours: string): string | null {
  for (const name of scenario.images ?? []) {
    const [a, b] = [join(theirs, name), join(ours, name)];
    if (existsSync(a) !== existsSync(b)) return `${name} exists only ${existsSync(a) ? "with QEMU" : "with us"}`;
    if (!existsSync(a)) continue;
    const found = spawnSync("qemu-img", ["compare", "-U", a, b], { encoding: "utf8" });
    if (found.status !== 0) return `${name}: ${found.stdout}${found.stderr}`;
    if (name.endsWith(".raw")) continue;
    const check = spawnSync("qemu-img", ["check", "-U", b], { encoding: "utf8" });
    if (check.status !== 0 && check.status !== 63) return `${name}: ${check.stdout}${check.stderr}`;
  }
  return null;
}

const list = scenarios();

test(`there are at least 300 scenarios (${list.length})`, () => {
  assert.ok(list.length >= 300, `${list.length}`);
  assert.is(new Set(list.map(({ name }) => name)).size, list.length, "two scenarios have one name");
});
test.run();

const differential = suite("differential");
const BATCH = 40;
let daemon: Promise<string[]> | null = null;

for (let first = 0; first < list.length; first += BATCH) {
  const batch = list.slice(first, first + BATCH);
  differential(`scenarios ${first + 1} to ${first + batch.length}: ${batch[0]!.name} …`, async () => {
    if (!hasQemu) return skip("qemu-storage-daemon is not installed");
    if (daemon === null) {
      makeTemplate();
      daemon = bundleProgram("src/cli/daemon-main.ts");
    }
    const folders = ["theirs", "ours"].map((name) => join(base, `${name}-${first}`));
    for (const folder of folders) mkdirSync(folder);
    const [theirs, ours] = folders as [string, string];
    const clients: [QmpClient, QmpClient] = [
      await QmpClient.start(["qemu-storage-daemon"], theirs),
      await QmpClient.start(await daemon, ours),
    ];
    const problems: string[] = [];
    try {
      for (const scenario of batch) {
        if (KNOWN.some(([name]) => (typeof name === "string" ? scenario.name === name : name.test(scenario.name)))) continue;
        for (const folder of folders) refresh(folder);
        const [expected, actual] = await Promise.all([play(clients[0], scenario), play(clients[1], scenario)]);
        if (clients[0].dead && !clients[1].dead) {
          // QEMU 7.2 itself crashes at this: nothing to compare with.
          console.log(`${scenario.name}: QEMU crashed`);
          rmSync(join(theirs, "qmp.sock"), { force: true });
          clients[0] = await QmpClient.start(["qemu-storage-daemon"], theirs);
          continue;
        }
        let problem =
          difference("replies", expected.replies, actual.replies) ?? difference("events", expected.events, actual.events);
        problem ??= compareImages(scenario, theirs, ours);
        if (problem !== null) {
          problems.push(`${scenario.name}: ${problem}`);
          console.log(problems.at(-1));
        }
      }
    } finally {
      await Promise.all(clients.map((client) => client.quit()));
      for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    }
    if (problems.length > 0) throw new Error(`${problems.length} of ${batch.length} differ\n${problems.join("\n")}`);
  });
}
differential.run();
