/** docs/QMP.md is what the declarations say, and every declaration has a test. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { nodeEnvironment } from "../../../src/node-environment.js";
import { COMMANDS } from "../../../src/qmp/commands.js";
import { EVENTS } from "../../../src/qmp/schema/events.js";
import { scenarios } from "../../interop/qmp-scenarios.js";
import { qmpDocument, SEED_COMMANDS, SEED_DRIVERS, SEED_EVENTS } from "../../support/qmp-document.js";

const used = new Set<string>();
for (const { steps } of scenarios()) for (const step of steps) if ("execute" in step) used.add(String(step["execute"]));
const unit = readFileSync("test/unit/qmp/block-core.test.ts", "utf8");

test("every command has a test", () => {
  for (const { name } of COMMANDS) assert.ok(used.has(name) || unit.includes(`"${name}"`), `${name} is tested nowhere`);
});

test("every event has a test", () => {
  const differential = readFileSync("test/interop/qmp-differential.test.ts", "utf8");
  // Events of jobs are compared with QEMU's whole; the others are named in the unit tests.
  assert.ok(differential.includes("expected.events"));
  for (const { name } of EVENTS) assert.ok(/JOB/.test(name) || unit.includes(name), `${name} is tested nowhere`);
});

test("docs/QMP.md is up to date and has a row for everything of the seeds", () => {
  const text = qmpDocument(used, nodeEnvironment().drivers);
  if (process.env["UPDATE_DOCS"] !== undefined || !existsSync("docs/QMP.md")) writeFileSync("docs/QMP.md", text);
  assert.is(readFileSync("docs/QMP.md", "utf8"), text, "run it with UPDATE_DOCS=1");
  for (const name of [...SEED_COMMANDS, ...SEED_EVENTS, ...SEED_DRIVERS])
    assert.ok(text.includes(`| \`${name}\` |`), `${name} has no row`);
});

test.run();
