import { test } from "uvu";
import * as assert from "uvu/assert";
import { findVerb, GLOBAL_OPTIONS, helpText, VERBS } from "../../../src/cli/img/options.js";
import { getopt, parseOptions, parseVerb, UsageError, type OptionSpec } from "../../../src/cli/options.js";

const verb = (line: string) => {
  const argv = line.split(" ");
  return parseVerb(argv, findVerb(argv[0]!)!);
};
const message = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.instance(error, UsageError);
    return (error as Error).message;
  }
  return "no error";
};

test("short clusters, attached and separate arguments", () => {
  const parsed = verb("convert -pO qcow2 -fraw a -U b");
  assert.equal(parsed.sequence, [
    { name: "progress", value: undefined },
    { name: "output-format", value: "qcow2" },
    { name: "format", value: "raw" },
    { name: "force-share", value: undefined },
  ]);
  assert.equal(parsed.operands, ["a", "b"]);
  assert.is(verb("info -f=raw a").get("format"), "=raw");
  assert.is(verb("info -Uf raw a").get("format"), "raw");
});

test("long options: =, space, abbreviations", () => {
  assert.is(verb("info --out=json a").get("output"), "json");
  assert.is(verb("info --output json a").get("output"), "json");
  assert.is(verb("info --i a").has("image-opts"), true);
  assert.is(verb("info --b a").has("backing-chain"), true);
  assert.is(verb("check --form raw a --forc").get("format"), "raw");
});

test("qemu-img's words for wrong options (captured from 7.2.22)", () => {
  const cases: [string, string][] = [
    ["info -z", "unrecognized option '-z'"],
    ["info -zq", "unrecognized option 'info'"],
    ["info -qz", "unrecognized option 'info'"],
    ["info --bogus a", "unrecognized option '--bogus'"],
    ["info -f", "missing argument for option '-f'"],
    ["info -Uf", "missing argument for option '-Uf'"],
    ["info --output", "missing argument for option '--output'"],
    ["info --o a.qcow2", "unrecognized option '--o'"],
    ["info --backing-chain=x a", "unrecognized option '--backing-chain=x'"],
    ["info --image-opts= x", "unrecognized option '--image-opts='"],
    ["convert --target a", "unrecognized option '--target'"],
    ["convert --target-i a", "unrecognized option '--target-i'"],
    ["create q 1 --size", "unrecognized option '--size'"],
    ["info -Uzq a", "unrecognized option 'info'"],
    ["info a -zU", "unrecognized option 'a'"],
    ["info a b -zU", "unrecognized option 'b'"],
    ["info a -Uz", "unrecognized option '-Uz'"],
    ["info a -Uf", "missing argument for option '-Uf'"],
    ["check --fo raw", "unrecognized option '--fo'"],
    ["create q 1 -z", "unrecognized option '-z'"],
    ["bitmap --merge", "missing argument for option '--merge'"],
    ["check -r", "missing argument for option '-r'"],
  ];
  for (const [line, want] of cases) {
    assert.is(
      message(() => verb(line)),
      want,
      line,
    );
  }
});

test("before the verb: first operand stops, -h and -V act at once", () => {
  const global = (line: string) => parseOptions(["qemu-img", ...line.split(" ")], GLOBAL_OPTIONS, { operands: "stop" });
  assert.equal(global("-T x info -f raw a").operands, ["info", "-f", "raw", "a"]);
  assert.equal(global("-- info a").operands, ["info", "a"]);
  assert.is(global("--vers").action, "version");
  assert.is(global("--v --bogus").action, "version");
  assert.is(global("-Vz").action, "version");
  assert.is(global("-hV").action, "help");
  assert.is(
    message(() => global("-info")),
    "unrecognized option 'qemu-img'",
  );
  assert.is(
    message(() => global("--bogus")),
    "unrecognized option '--bogus'",
  );
  assert.is(
    message(() => global("-z")),
    "unrecognized option '-z'",
  );
  assert.is(
    message(() => global("-T")),
    "missing argument for option '-T'",
  );
  assert.is(
    message(() => global("--trace")),
    "missing argument for option '--trace'",
  );
});

test("resize keeps its size apart", () => {
  assert.equal(verb("resize -f raw b.raw -1k").operands, ["b.raw", "-1k"]);
  assert.equal(verb("resize -f raw b.raw -- -1k").operands, ["b.raw", "-1k"]);
  assert.is(
    message(() => verb("resize a")),
    "Not enough arguments",
  );
  assert.is(verb("resize --help").action, "help");
});

test("the C library's words, for qemu-io's commands", () => {
  const table: OptionSpec[] = [
    { name: "a", short: "a" },
    { name: "P", short: "P", argument: "x" },
    { name: "object", long: "object", argument: "o" },
    { name: "output", long: "output", argument: "o" },
  ];
  const glibc = (...args: string[]) => message(() => [...getopt(["read", ...args], table, { wording: "glibc" })]);
  assert.is(glibc("0", "-1"), "invalid option -- '1'");
  assert.is(glibc("-P"), "option requires an argument -- 'P'");
  assert.is(glibc("--output"), "option '--output' requires an argument");
  assert.is(glibc("--o"), "option '--o' is ambiguous; possibilities: '--object' '--output'");
  assert.is(glibc("--bogus"), "unrecognized option '--bogus'");
});

test("operands anywhere, -- ends options, - is an operand", () => {
  assert.equal(verb("info a -f raw").operands, ["a"]);
  assert.equal(verb("info a -f raw b -- -c d").operands, ["a", "b", "-c", "d"]);
  assert.equal(verb("info -- a -f").operands, ["a", "-f"]);
  assert.equal(verb("info -").operands, ["-"]);
  assert.equal(verb("info a --").operands, ["a"]);
  assert.equal(verb("create --object x --object y -o a=1 -o b=2 q").all("object"), ["x", "y"]);
});

/** Short options with their colons, as the real program accepted them when every letter was tried. */
const LETTERS: Record<string, string> = {
  amend: "f:ho:pqt:",
  bench: "c:d:f:hi:no:qs:t:wS:U",
  bitmap: "b:f:g:hF:",
  check: "f:hqr:T:U",
  commit: "b:df:hpqr:t:",
  compare: "f:hpqsF:T:U",
  convert: "cf:hl:m:no:pqr:t:B:CF:O:S:T:UW",
  create: "b:f:ho:quF:",
  dd: "f:hO:U",
  info: "f:hU",
  map: "f:hl:s:U",
  measure: "hf:l:o:O:U",
  snapshot: "a:c:d:hlqU",
  rebase: "b:f:hpqt:uF:T:U",
  resize: "f:hq",
};
const sorted = (text: string): string => text.match(/.:?/g)!.sort().join("");

test("the tables have exactly the letters of the real verbs", () => {
  assert.is(VERBS.length, 15);
  for (const spec of VERBS) {
    const letters = spec.options
      .filter((o) => o.short !== undefined)
      .map((o) => o.short! + (o.argument === undefined ? "" : ":"))
      .join("");
    assert.is(sorted(letters), sorted(LETTERS[spec.verb]!), spec.verb);
    assert.is(new Set(letters.replaceAll(":", "")).size, letters.replaceAll(":", "").length, `${spec.verb}: a letter twice`);
  }
});

test("help is greppable", () => {
  const text = helpText("qemu-img", "7.2.22", ["raw", "qcow2"]);
  assert.match(text, /^qemu-img version 7\.2\.22/);
  assert.match(text, /^Supported formats: qcow2 raw$/m);
  for (const spec of VERBS) assert.match(text, new RegExp(`^  ${spec.verb} \\[`, "m"));
  for (const long of [
    "--target-is-zero",
    "--bitmaps",
    "--salvage",
    "--shrink",
    "--backing-chain",
    "--skip-broken-bitmaps",
    "--start-offset",
  ])
    assert.ok(text.includes(long), long);
});

test.run();
