/** docs/CRASH-SAFETY.md: the code and the tests that its rules name are there. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";

const CODE = ["src/formats/qcow2", "src/formats", "src"];
const TESTS = ["test/crash", "test/unit/formats/qcow2"];

const text = readFileSync("docs/CRASH-SAFETY.md", "utf8");
const rules = text.split("\n").flatMap((line) => {
  const cells = line.split(" | ");
  return /^\| \d+$/.test(cells[0]!) ? [{ number: Number(cells[0]!.slice(2)), kept: cells[2]!, proved: cells[3]! }] : [];
});
const names = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1]!);
const proofs = TESTS.flatMap((folder) =>
  readdirSync(folder)
    .filter((file) => file.endsWith(".ts") && file !== "document.test.ts")
    .map((file) => readFileSync(`${folder}/${file}`, "utf8")),
).join("\n");

test("rules are numbered one after the other", () => {
  assert.ok(rules.length >= 18);
  assert.equal(
    rules.map(({ number }) => number),
    rules.map((_, i) => i + 1),
  );
});

for (const { number, kept, proved } of rules) {
  test(`rule ${number} names code that exists`, () => {
    let source = "";
    for (const name of names(kept)) {
      if (!name.endsWith(".ts")) {
        assert.ok(new RegExp(`\\b${name.replace("#", "#?")}\\b`).test(source), `${name} is not there`);
        continue;
      }
      const path = CODE.map((folder) => `${folder}/${name}`).find((candidate) => existsSync(candidate));
      assert.ok(path, `there is no ${name}`);
      source = readFileSync(path!, "utf8");
    }
  });
  test(`rule ${number} names tests that exist`, () => {
    for (const name of names(proved))
      if (name.endsWith(".test.ts"))
        assert.ok(
          ["", ...TESTS.map((folder) => `${folder}/`)].some((folder) => existsSync(folder + name)),
          `there is no ${name}`,
        );
    for (const [, name] of proved.matchAll(/"([^"…]+)…?"/g)) assert.ok(proofs.includes(name!), `no test is called "${name}"`);
  });
}

test.run();
