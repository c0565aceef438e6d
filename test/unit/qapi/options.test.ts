import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../src/base/error.js";
import { describeOpts, parseOptNumber, parseOptSize, readOpts, SIZE_HINT } from "../../../src/qapi/opt-table.js";
import {
  escapeOptValue,
  flatten,
  hasHelpOption,
  isValidOptionList,
  joinOptionLists,
  optsToObject,
  parseJsonFilename,
  parseJsonOrKeyval,
  parseKeyval,
  parseOpts,
  unflatten,
} from "../../../src/qapi/options.js";

const message = (run: () => unknown): string => {
  try {
    return `no error: ${JSON.stringify(run())}`;
  } catch (error) {
    assert.instance(error, BlockError);
    return (error as Error).message;
  }
};

test("keyval trees", () => {
  assert.equal(parseKeyval("null-co,node-name=x,,y", "driver"), { driver: "null-co", "node-name": "x,y" });
  assert.equal(parseKeyval("driver=qcow2,file.driver=file,file.filename=a=b,", "driver"), {
    driver: "qcow2",
    file: { driver: "file", filename: "a=b" },
  });
  assert.equal(parseKeyval("c.1=b,c.0.x=1,c.0.y=2"), { c: [{ x: "1", y: "2" }, "b"] });
  assert.equal(parseKeyval("a=1,a=2,b="), { a: "2", b: "" });
  assert.equal(parseKeyval(""), {});
  assert.equal(parseKeyval("__org.example_x=1"), { "__org.example_x": "1" });
  assert.equal(parseJsonOrKeyval('{"driver":"x"}', "driver"), { value: { driver: "x" }, mode: "json" });
});

test("keyval errors of qemu-storage-daemon 7.2.22", () => {
  const long = "a".repeat(128);
  const cases: [string, string][] = [
    ["null-co,read-only", "Expected '=' after parameter 'read-only'"],
    ["null-co,cache.direct=on,cache=5", "Parameters 'cache.*' used inconsistently"],
    ["null-co,cache=5,cache.direct=on", "Parameters 'cache.*' used inconsistently"],
    ["null-co,cache.0=on,cache.x=1", "Parameters 'cache.*' used inconsistently"],
    ["null-co,.x=1", "Invalid parameter '.x'"],
    ["null-co,x.=1", "Invalid parameter 'x.'"],
    ["null-co,x..y=1", "Invalid parameter 'x..y'"],
    ["null-co,5x=1", "Invalid parameter '5x'"],
    ["null-co,=1", "Invalid parameter ''"],
    ["null-co,,", "Invalid parameter ''"],
    ["=,", "Invalid parameter ''"],
    ["null-co,x y=1", "Invalid parameter 'x y'"],
    ["q,children.1=x", "Parameter 'children.0' missing"],
    ["q,children.0=x,children.2=x", "Parameter 'children.1' missing"],
    ["q,children.99999999999999=y", "Parameter 'children.0' missing"],
    [`${long}=1`, `Parameter '${long}' is too long`],
    [`${long}.b=1`, `Parameter fragment '${long}' is too long`],
  ];
  for (const [text, want] of cases)
    assert.is(
      message(() => parseKeyval(text, "driver")),
      want,
      text,
    );
});

test("opts: flags, escapes, ids, warnings", () => {
  const parsed = parseOpts("driver=null-co,read-zeroes,noflush,name=a,,b,x=1,x=2");
  assert.equal(optsToObject(parsed), { driver: "null-co", "read-zeroes": "on", flush: "off", name: "a,b", x: "2" });
  assert.equal(parsed.warnings[0], "short-form boolean option 'read-zeroes' deprecated\nPlease use read-zeroes=on instead");
  assert.equal(parsed.warnings[1], "short-form boolean option 'noflush' deprecated\nPlease use flush=off instead");
  assert.equal(optsToObject(parseOpts("null-co,size=1", "driver")), { driver: "null-co", size: "1" });
  assert.equal(parseOpts("=5").opts, [{ name: "", value: "5" }]);
  assert.is(parseOpts("id=a,x=1").id, "a");
  assert.is(
    message(() => parseOpts("id=9")),
    "Parameter 'id' expects an identifier",
  );
  assert.is(hasHelpOption("a=b,help"), true);
  assert.is(hasHelpOption("?"), true);
  assert.is(hasHelpOption("help=1"), false);
  for (const good of ["a", "a,b", "a,,", "a=b,,c"]) assert.is(isValidOptionList(good), true, good);
  for (const bad of ["", ",", ",a", "a,", "a,,,"]) assert.is(isValidOptionList(bad), false, bad);
  assert.is(joinOptionLists(["a=1", "b=2"]), "a=1,b=2");
  assert.is(
    message(() => joinOptionLists([","])),
    "Invalid option list: ,",
  );
  assert.is(escapeOptValue("a,b"), "a,,b");
});

test("typed options with the messages of qemu-img create 7.2.22", () => {
  const table = [
    { name: "cluster_size", type: "size", help: "qcow2 cluster size", default: "65536" },
    { name: "lazy_refcounts", type: "bool", help: "Postpone refcount updates" },
    { name: "refcount_bits", type: "number" },
    { name: "compat", type: "string" },
  ] as const;
  const read = (text: string) => readOpts(table, parseOpts(text).opts);
  const values = read("lazy_refcounts=on,refcount_bits=0x10,compat=1.1,,2");
  const lazy: boolean | undefined = values.lazy_refcounts;
  assert.is(lazy, true);
  assert.equal(values, { cluster_size: 65536, lazy_refcounts: true, refcount_bits: 16, compat: "1.1,2" });
  assert.is(read("cluster_size=1k,cluster_size=64k").cluster_size, 65536);
  assert.is(read("nolazy_refcounts").lazy_refcounts, false);
  const cases: [string, string][] = [
    ["cluster_size=1x", "Parameter 'cluster_size' expects a non-negative number below 2^64"],
    ["cluster_size", "Parameter 'cluster_size' expects a non-negative number below 2^64"],
    ["cluster_size=-5", "Parameter 'cluster_size' expects a non-negative number below 2^64"],
    ["cluster_size=99999999999999999999", "Value '99999999999999999999' is out of range for parameter 'cluster_size'"],
    ["lazy_refcounts=maybe", "Parameter 'lazy_refcounts' expects 'on' or 'off'"],
    ["refcount_bits=x", "Parameter 'refcount_bits' expects a number"],
    ["refcount_bits=16x", "Parameter 'refcount_bits' expects a number"],
    ["refcount_bits=99999999999999999999", "Value '99999999999999999999' is too large for parameter 'refcount_bits'"],
    ["cluster_size=64k,bogus=1", "Invalid parameter 'bogus'"],
    ["=5", "Invalid parameter ''"],
  ];
  for (const [text, want] of cases)
    assert.is(
      message(() => read(text)),
      want,
      text,
    );
  try {
    read("cluster_size=1x");
  } catch (error) {
    assert.is((error as BlockError).hint, SIZE_HINT);
  }
  assert.is(parseOptNumber("n", "-1"), 18446744073709551615n);
  assert.is(parseOptSize("n", "8E"), 2n ** 63n);
  assert.equal(describeOpts(table), [
    "  cluster_size=<size>    - qcow2 cluster size",
    "  compat=<str>",
    "  lazy_refcounts=<bool (on/off)> - Postpone refcount updates",
    "  refcount_bits=<num>",
  ]);
});

test("json: names", () => {
  assert.equal(parseJsonFilename("json:{'driver':'null-co','size':'64k'}"), { driver: "null-co", size: "64k" });
  assert.equal(parseJsonFilename('json:{"driver":"x","a":{"b":[1,{"c":2}]},"e":{},"l":[]}'), {
    driver: "x",
    "a.b.0": 1,
    "a.b.1.c": 2,
    e: {},
    l: [],
  });
  const cases: [string, string][] = [
    ["json:", "Could not parse the JSON options: Expecting a JSON value"],
    ["json:{", "Could not parse the JSON options: JSON parse error, premature EOI"],
    ["json:[]", "Invalid JSON object given"],
    ["json:5", "Invalid JSON object given"],
    ['json:{"driver":"null-co"} x', "Could not parse the JSON options: Expecting at most one JSON value"],
    ['json:{"driver":"null-co","driver":"raw"}', "Could not parse the JSON options: JSON parse error, duplicate key"],
  ];
  for (const [text, want] of cases)
    assert.is(
      message(() => parseJsonFilename(text)),
      want,
      text,
    );
  assert.is(parseJsonFilename('json:{"size":9007199254740993}')["size"], 9007199254740993n);
});

test("flatten and unflatten", () => {
  const nested = { driver: "raw", file: { driver: "file", filename: "x" }, children: ["a", { driver: "b" }] };
  assert.equal(unflatten(flatten(nested)), nested);
  assert.equal(unflatten({ "a..b": 1 }), { "a.b": 1 });
  assert.equal(unflatten({ a: { kept: 1 } }), { a: { kept: 1 } });
  assert.is(
    message(() => unflatten({ a: 1, "a.b": 2 })),
    "Cannot mix scalar and non-scalar keys",
  );
  assert.is(
    message(() => unflatten({ "a.b": 2, a: 1 })),
    "Cannot mix scalar and non-scalar keys",
  );
  for (const flat of [
    { a: 1, "a.b": 2 },
    { "a.b": 2, a: 1 },
  ])
    assert.equal(unflatten({ ...flat, "c.d": 3 }, "keep"), { ...flat, c: { d: 3 } });
  assert.is(
    message(() => unflatten({ "a.0": 1, "a.x": 2 })),
    "Cannot mix list and non-list keys",
  );
  assert.is(
    message(() => unflatten({ "a.0": 1, "a.2": 2 })),
    "Missing list index 1",
  );
  assert.equal(Object.keys(unflatten({ "__proto__.x": 1 })), ["__proto__"]);
});

test.run();
