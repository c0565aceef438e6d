/** src/qmp/types.ts is what the declarations say. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { qmpTypes } from "../../support/qmp-types.js";

test("src/qmp/types.ts says what the declarations say", () => {
  const text = qmpTypes();
  const file = "src/qmp/types.ts";
  if (process.env["UPDATE_DOCS"] !== undefined || !existsSync(file)) writeFileSync(file, text);
  assert.is(readFileSync(file, "utf8"), text, "run it with UPDATE_DOCS=1");
});

test.run();
