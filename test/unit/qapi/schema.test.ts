import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../src/base/error.js";
import { parseJson } from "../../../src/qapi/json.js";
import { parseJsonOrKeyval } from "../../../src/qapi/options.js";
import {
  alternate,
  any,
  array,
  bool,
  enumeration,
  extend,
  int16,
  int64,
  int8,
  lazy,
  nul,
  number,
  optional,
  rootPath,
  size,
  str,
  struct,
  toSafeNumber,
  uint16,
  uint32,
  uint64,
  union,
  type AnySchema,
  type Infer,
} from "../../../src/qapi/schema.js";
import { describeSchema } from "../../../src/qapi/schema-info.js";

const Driver = enumeration("BlockdevDriver", ["file", "null-co", "quorum", "qcow2", "blkdebug"]);
const Cache = struct("BlockdevCacheOptions", { direct: optional(bool()), "no-flush": optional(bool()) });
const Event = enumeration("BlkdebugEvent", ["none", "read_aio"]);
const InjectError = struct("BlkdebugInjectErrorOptions", { event: Event, state: optional(int64()), errno: optional(int64()) });
const Ref = alternate("BlockdevRef", { definition: lazy<{ driver: string }>((): AnySchema => Options), reference: str() });
const Options = union(
  "BlockdevOptions",
  { driver: Driver, "node-name": optional(str()), cache: optional(Cache), "read-only": optional(bool()) },
  "driver",
  {
    file: struct("BlockdevOptionsFile", { filename: str() }),
    "null-co": struct("BlockdevOptionsNull", { size: optional(int64()), "latency-ns": optional(uint64()) }),
    quorum: struct("BlockdevOptionsQuorum", { children: array(Ref), "vote-threshold": int64() }),
    qcow2: struct("BlockdevOptionsQcow2", { file: Ref, "cache-size": optional(int64()) }),
    blkdebug: struct("BlockdevOptionsBlkdebug", { image: Ref, "inject-error": optional(array(InjectError)) }),
  },
);
const Export = struct("Export", {
  "num-queues": optional(uint16()),
  "max-connections": optional(uint32()),
  "logical-block-size": optional(size()),
  flags: optional(array(Event)),
});

const check = (schema: AnySchema, text: string, impliedKey?: string): string => {
  try {
    const { value, mode } = parseJsonOrKeyval(text, impliedKey);
    schema.validate(value, rootPath(mode));
    return "ok";
  } catch (error) {
    assert.instance(error, BlockError);
    return (error as Error).message;
  }
};

test("JSON: the messages of qemu-storage-daemon 7.2.22", () => {
  const cases: [string, string][] = [
    ["{}", "Parameter 'driver' is missing"],
    ['{"driver":5}', "Invalid parameter type for 'driver', expected: string"],
    ['{"driver":"nosuch"}', "Parameter 'driver' does not accept value 'nosuch'"],
    ['{"driver":"file"}', "Parameter 'filename' is missing"],
    ['{"driver":"file","filename":5}', "Invalid parameter type for 'filename', expected: string"],
    ['{"driver":"file","filename":"x","bogus":1}', "Parameter 'bogus' is unexpected"],
    ['{"driver":"file","filename":"x","cache":{"direct":"on"}}', "Invalid parameter type for 'cache.direct', expected: boolean"],
    ['{"driver":"file","filename":"x","cache":{"bogus":true}}', "Parameter 'cache.bogus' is unexpected"],
    ['{"driver":"file","filename":"x","cache":5}', "Invalid parameter type for 'cache', expected: object"],
    ['{"driver":"null-co","size":"1"}', "Invalid parameter type for 'size', expected: integer"],
    ['{"driver":"null-co","size":1.5}', "Invalid parameter type for 'size', expected: integer"],
    ['{"driver":"null-co","size":18446744073709551615}', "Invalid parameter type for 'size', expected: integer"],
    ['{"driver":"null-co","size":9223372036854775808}', "Invalid parameter type for 'size', expected: integer"],
    ['{"driver":"null-co","size":-1}', "ok"],
    ['{"driver":"null-co","latency-ns":1.5}', "Parameter 'latency-ns' expects uint64"],
    ['{"driver":"null-co","latency-ns":"x"}', "Parameter 'latency-ns' expects uint64"],
    ['{"driver":"null-co","latency-ns":18446744073709551616}', "Parameter 'latency-ns' expects uint64"],
    ['{"driver":"qcow2","file":5}', "Invalid parameter type for 'file', expected: BlockdevRef"],
    ['{"driver":"qcow2","file":null}', "Invalid parameter type for 'file', expected: BlockdevRef"],
    ['{"driver":"qcow2","file":{"driver":"file"}}', "Parameter 'file.filename' is missing"],
    ['{"driver":"qcow2","file":{}}', "Parameter 'file.driver' is missing"],
    ['{"driver":"qcow2"}', "Parameter 'file' is missing"],
    ['{"driver":"quorum","vote-threshold":1,"children":5}', "Invalid parameter type for 'children', expected: array"],
    ['{"driver":"quorum","vote-threshold":1,"children":[5]}', "Invalid parameter type for 'null', expected: BlockdevRef"],
    ['{"driver":"quorum","vote-threshold":1,"children":[{"driver":"file"}]}', "Parameter 'children[0].filename' is missing"],
    [
      '{"driver":"quorum","vote-threshold":1,"children":["a",{"driver":"file","filename":"x","x":{"y":1}}]}',
      "Parameter 'children[1].x' is unexpected",
    ],
    ['{"driver":"quorum","vote-threshold":"1","children":[]}', "Invalid parameter type for 'vote-threshold', expected: integer"],
    ['{"driver":"blkdebug","image":"x","inject-error":[{"event":"x"}]}', "Parameter 'event' does not accept value 'x'"],
    [
      '{"driver":"blkdebug","image":"x","inject-error":[{"event":"none","state":"x"}]}',
      "Invalid parameter type for 'inject-error[0].state', expected: integer",
    ],
    ['{"driver":"file","filename":"x","toString":1}', "Parameter 'toString' is unexpected"],
  ];
  for (const [text, want] of cases) assert.is(check(Options, text), want, text);
  const exports: [string, string][] = [
    ['{"num-queues":65536}', "Parameter 'num-queues' expects uint16_t"],
    ['{"num-queues":-1}', "Parameter 'num-queues' expects uint16_t"],
    ['{"max-connections":4294967296}', "Parameter 'max-connections' expects uint32_t"],
    ['{"max-connections":-1}', "Parameter 'max-connections' expects uint32_t"],
    ['{"max-connections":1.5}', "Parameter 'max-connections' expects uint64"],
    ['{"logical-block-size":"1M"}', "Parameter 'logical-block-size' expects uint64"],
    ['{"flags":["x"]}', "Parameter 'null' does not accept value 'x'"],
    ['{"flags":[5]}', "Invalid parameter type for 'flags[0]', expected: string"],
  ];
  for (const [text, want] of exports) assert.is(check(Export, text), want, text);
});

test("keyval: the messages of qemu-storage-daemon 7.2.22", () => {
  const cases: [string, string][] = [
    ["file", "Parameter 'filename' is missing"],
    ["null-co,", "ok"],
    ["null-co,size=64k", "Parameter 'size' expects integer"],
    ["null-co,size=0x10", "ok"],
    ["null-co,latency-ns=-1", "ok"],
    ["null-co,latency-ns=x", "Parameter 'latency-ns' expects integer"],
    ["null-co,latency-ns=", "Parameter 'latency-ns' expects integer"],
    ["null-co,read-only=yes", "ok"],
    ["null-co,read-only=maybe", "Parameter 'read-only' expects 'on' or 'off'"],
    ["null-co,cache=5", "Invalid parameter type for 'cache', expected: object"],
    ["null-co,cache.direct.x=on", "Parameters 'cache.direct.*' are unexpected"],
    ["null-co,cache.0=on", "Invalid parameter type for 'cache', expected: object"],
    ["null-co,node-name.x=on", "Parameters 'node-name.*' are unexpected"],
    ["null-co,bogus.x=1", "Parameter 'bogus' is unexpected"],
    ["quorum,vote-threshold=1,children.0.driver=x", "Parameter 'driver' does not accept value 'x'"],
    ["quorum,vote-threshold=1,children.0.driver=file", "Parameter 'children.0.filename' is missing"],
    [
      "quorum,vote-threshold=1,children.0.driver=file,children.0.filename=x,children.0.bogus=y",
      "Parameter 'children.0.bogus' is unexpected",
    ],
    ["quorum,vote-threshold=1,children=x", "Invalid parameter type for 'children', expected: array"],
    ["quorum,vote-threshold=1,children.0.driver.x=file", "Parameters 'children.0.driver.*' are unexpected"],
    ["blkdebug,image=x,inject-error.0.event=none,inject-error.0.state=zz", "Parameter 'inject-error.0.state' expects integer"],
    ["qcow2,file.0=x", "Invalid parameter type for 'file', expected: BlockdevRef"],
    ['{"driver":"null-co","read-only":"on"}', "Invalid parameter type for 'read-only', expected: boolean"],
    ["[]", "Parameter 'driver' does not accept value '[]'"],
  ];
  for (const [text, want] of cases) assert.is(check(Options, text, "driver"), want, text);
  assert.is(check(Export, "num-queues=70000"), "Parameter 'num-queues' expects uint16_t");
  assert.is(check(Export, "num-queues=-1"), "Parameter 'num-queues' expects uint16_t");
  for (const bad of ["1x", "-5", "99E"])
    assert.is(check(Export, `logical-block-size=${bad}`), "Parameter 'logical-block-size' expects size");
  assert.is(
    (Export.validate({ "logical-block-size": "1k" }, rootPath("keyval")) as Infer<typeof Export>)["logical-block-size"],
    1024,
  );
});

test("values: numbers when safe, bigint beyond, nothing rounds", () => {
  assert.is(int64().validate(parseJson("-9223372036854775808")), -9223372036854775808n);
  assert.is(int64().validate(9007199254740991), 9007199254740991);
  assert.is(int64().validate(-9007199254740991), -9007199254740991);
  assert.is(uint64().validate(parseJson("18446744073709551615")), 18446744073709551615n);
  assert.is(uint64().validate(-1), 18446744073709551615n);
  assert.is(uint64().validate("9007199254740992", rootPath("keyval")), 9007199254740992n);
  assert.throws(() => int8().validate(128), "Parameter 'null' expects int8_t");
  assert.throws(() => int16().validate(-32769), "Parameter 'null' expects int16_t");
  assert.is(int8().validate(-128), -128);
  assert.is(number().validate(2n ** 60n), 2 ** 60);
  assert.is(number().validate("1e3", rootPath("keyval")), 1000);
  assert.throws(() => number().validate("x", rootPath("keyval")), "expected: number");
  assert.throws(() => nul().validate(0), "expected: null");
  assert.equal(any().validate({ a: [1] }), { a: [1] });
  assert.throws(() => toSafeNumber(2n ** 60n, "size"), "Parameter 'size' expects a value below 2^53");
});

test("types follow from the schema", () => {
  const options = Options.validate({ driver: "file", filename: "x" });
  if (options.driver === "file") {
    const filename: string = options.filename;
    assert.is(filename, "x");
  }
  const wide: Infer<typeof Cache> = { direct: true };
  assert.is(Cache.validate(wide).direct, true);
  const More = extend("More", Cache, { depth: uint16() });
  const more: Infer<typeof More> = More.validate({ depth: 3, direct: false });
  const depth: number = more.depth;
  assert.is(depth, 3);
});

test("introspection", () => {
  const Arg = struct(
    "Arg",
    { a: optional(int16()), o: Options, old: optional(bool()) },
    { memberNotes: { old: { deprecated: "use a" } } },
  );
  const infos = describeSchema(
    [
      { name: "x-do", arguments: Arg, returns: array(str()), allowOob: true },
      { name: "quit", arguments: null, returns: null },
    ],
    [{ name: "DONE", data: null }],
  );
  const find = (name: unknown) => infos.find((info) => info["name"] === name)!;
  const command = find("x-do");
  assert.is(command["meta-type"], "command");
  assert.is(command["ret-type"], "[str]");
  assert.is(command["allow-oob"], true);
  assert.equal(find("[str]"), { name: "[str]", "meta-type": "array", "element-type": "str" });
  const arg = find(command["arg-type"]) as { members: { name: string; type: string; default?: null; features?: string[] }[] };
  assert.equal(
    arg.members.map((m) => m.name),
    ["a", "o", "old"],
  );
  assert.equal(arg.members[0], { name: "a", default: null, type: "int" });
  assert.equal(arg.members[2], { name: "old", default: null, type: "bool", features: ["deprecated"] });
  const union = find(arg.members[1]!.type) as { tag: string; variants: { case: string; type: string }[] };
  assert.is(union.tag, "driver");
  assert.equal(
    union.variants.map((v) => v.case),
    ["file", "null-co", "quorum", "qcow2", "blkdebug"],
  );
  for (const info of infos)
    assert.is(infos.filter((other) => other["name"] === info["name"] && other["meta-type"] === info["meta-type"]).length, 1);
  for (const variant of union.variants) assert.is(find(variant.type)["meta-type"], "object");
});

test.run();
