/** docs/QMP.md is what the declarations say, and everything that is declared has a test. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { nodeEnvironment } from "../../../src/platform/node-environment.js";
import { ACTIONS } from "../../../src/qmp/actions.js";
import { COMMANDS } from "../../../src/qmp/commands.js";
import { DECLARED_DRIVERS } from "../../../src/qmp/schema/blockdev-options.js";
import { EVENTS } from "../../../src/qmp/schema/events.js";
import {
  namedTypes,
  qmpDocument,
  SEED_COMMANDS,
  SEED_DRIVERS,
  SEED_EVENTS,
  SEED_TYPES,
  type Tested,
} from "../../support/qmp-document.js";

/** Those that run against QEMU first. */
const FILES = ["test/interop", "test/unit/qmp", "test/unit"].flatMap((folder) =>
  (readdirSync(folder, { recursive: true }) as string[])
    .filter((name) => (folder === "test/interop" ? /^qmp-.*\.ts$/ : /\.test\.ts$/).test(name) && name !== "document.test.ts")
    .sort()
    .map((name) => join(folder, name)),
);
const texts: readonly { file: string; text: string }[] = FILES.map((file) => ({ file, text: readFileSync(file, "utf8") }));

/** In quotes or as a key of a table; events, whose names are nothing else, anywhere. */
const isIn = (text: string, name: string): boolean =>
  text.includes(`"${name}"`) || text.includes(`${name}: `) || (/^[A-Z_]{4,}$/.test(name) && text.includes(name));
const tested: Tested = { fileOf: (name) => texts.find(({ text }) => isIn(text, name))?.file ?? null };

const { drivers } = nodeEnvironment();
const untested = (names: readonly string[]): string[] => names.filter((name) => tested.fileOf(name) === null);

test("everything that is declared has a test", () => {
  assert.equal(untested(COMMANDS.map(({ name }) => name)), [], "commands");
  assert.equal(untested(ACTIONS.map(({ type }) => type)), [], "actions");
  assert.equal(untested(EVENTS.map(({ name }) => name)), [], "events");
  assert.equal(untested(DECLARED_DRIVERS.filter((name) => drivers.has(name))), [], "drivers");
  assert.equal(untested([...namedTypes().values()].map(({ by }) => by)), [], "users of types");
});

test("everything of the seeds is there, and docs/QMP.md is up to date", () => {
  const text = qmpDocument(tested, drivers);
  if (process.env["UPDATE_DOCS"] !== undefined || !existsSync("docs/QMP.md")) writeFileSync("docs/QMP.md", text);
  assert.is(readFileSync("docs/QMP.md", "utf8"), text, "run it with UPDATE_DOCS=1");
  const types = namedTypes();
  for (const name of SEED_COMMANDS)
    assert.ok(
      COMMANDS.some((each) => each.name === name),
      name,
    );
  for (const name of SEED_EVENTS)
    assert.ok(
      EVENTS.some((each) => each.name === name),
      name,
    );
  for (const name of SEED_TYPES) assert.ok(types.has(name), name);
  for (const name of SEED_DRIVERS) assert.ok(DECLARED_DRIVERS.includes(name) && text.includes(`| \`${name}\` |`), name);
  assert.not.match(text, /\*\*no test\*\*/);
});

test.run();
