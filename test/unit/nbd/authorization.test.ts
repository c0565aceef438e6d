/** Who may use a server: exact names, patterns, the first rule that fits; patterns that take no time. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BlockError } from "../../../src/base/error.js";
import { Authorization } from "../../../src/nbd/authorization.js";
import { makePlatformObject } from "../../../src/nbd/node-objects.js";

const glob = (match: string): Authorization => new Authorization([{ match, policy: "allow", format: "glob" }], "deny");

test("patterns are those of file names", () => {
  for (const [pattern, yes, no] of [
    ["CN=*", ["CN=", "CN=a,O=b"], ["cn=a", "O=CN=a"]],
    ["*,O=x", ["CN=a,O=x", ",O=x"], ["CN=a,O=xy", "O=x"]],
    ["a?c", ["abc", "a*c"], ["ac", "abbc"]],
    ["[a-c]x[!0-9]", ["axz", "cx-"], ["dxz", "ax5", "a-z"]],
    ["a\\*b", ["a*b"], ["axb"]],
    ["*a*b*", ["ab", "xaxbx", "abab"], ["ba", "a", ""]],
    ["(.+)$", ["(.+)$"], ["xx"]],
    ["", [""], ["a"]],
  ] as const) {
    for (const name of yes) assert.ok(glob(pattern).allows(name), `${pattern} ${name}`);
    for (const name of no) assert.not.ok(glob(pattern).allows(name), `${pattern} ${name}`);
  }
});

test("no pattern takes exponential time", () => {
  assert.not.ok(glob("*a".repeat(400)).allows("a".repeat(399)));
  assert.ok(glob("*a".repeat(400)).allows("a".repeat(400)));
  assert.throws(() => glob("*".repeat(5000)), /too long/);
});

test("the first rule that fits decides, else the policy", () => {
  const list = makePlatformObject(
    "authz-list",
    {
      policy: "allow",
      rules: [
        { match: "fred", policy: "deny" },
        { match: "f*", policy: "deny", format: "glob" },
        { match: "fay", policy: "allow" },
      ],
    },
    () => null,
  ) as Authorization;
  for (const [name, allowed] of [
    ["fred", false],
    ["fay", false],
    ["f*", false],
    ["bob", true],
  ] as const)
    assert.is(list.allows(name), allowed, name);
  assert.not.ok((makePlatformObject("authz-simple", { identity: "bob" }, () => null) as Authorization).allows("fred"));
});

test("wrong properties of objects", () => {
  for (const [type, properties, message] of [
    ["authz-simple", {}, "Parameter 'identity' is missing"],
    ["authz-list", { rules: [{ match: "a" }] }, "Parameter 'rules[0].policy' is missing"],
    ["authz-list", { policy: "maybe" }, "Parameter 'policy' does not accept value 'maybe'"],
    ["tls-creds-x509", {}, "Missing 'dir' property value"],
    ["tls-creds-anon", { endpoint: "both" }, "Parameter 'endpoint' does not accept value 'both'"],
    ["tls-creds-anon", { colour: "red" }, "Parameter 'colour' is unexpected"],
    ["tls-creds-psk", { dir: "not/there" }, "Unable to access credentials not/there/keys.psk: No such file or directory"],
  ] as const) {
    try {
      makePlatformObject(type, properties, () => null);
      assert.unreachable(message);
    } catch (error) {
      assert.is((error as BlockError).message, message);
    }
  }
});

test.run();
