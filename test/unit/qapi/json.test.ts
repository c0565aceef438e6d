import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeText } from "../../../src/base/bytes.js";
import { JsonReader, parseJson, type JsonValue } from "../../../src/qapi/json.js";
import { qdictBucket, qdictOrder, writeJson } from "../../../src/qapi/json-writer.js";

/** What comes out of a stream: values as text, errors as their message. */
const stream = (input: string | Uint8Array, cut = Infinity): string[] => {
  const seen: string[] = [];
  const reader = new JsonReader(
    (value) => seen.push(writeJson(value)),
    (error) => seen.push(error.message),
  );
  const bytes = typeof input === "string" ? encodeText(input) : input;
  for (let at = 0; at < bytes.length; at += cut) reader.feed(bytes.subarray(at, Math.min(bytes.length, at + cut)));
  return seen;
};
const bytes = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));
const parse = (text: string | Uint8Array): string => {
  try {
    return writeJson(parseJson(text));
  } catch (error) {
    return (error as Error).message;
  }
};

const EXPECTING = "JSON parse error, expecting value";
/** Each line sent to qemu-storage-daemon 7.2.22 with a newline after it, and what it complained about ("ok": it did not). */
const LINES: [string, string[]][] = [
  ['{"id":1,}', [EXPECTING]],
  ['{"id":01}', ["JSON parse error, stray '01'", EXPECTING]],
  ['{"a":"b" "id":01}', ["JSON parse error, stray '01'", EXPECTING]],
  ['{"a":"b","a":"q"}', ["JSON parse error, duplicate key"]],
  ['{"id":%d}', ["JSON parse error, stray '%'", EXPECTING]],
  ['{"id":tru}', ["JSON parse error, invalid keyword 'tru'"]],
  ['{"execute" }', ["JSON parse error, missing : in object pair"]],
  ["]", [EXPECTING]],
  ["}", [EXPECTING]],
  ['{"id":+1}', ["JSON parse error, stray '+'", EXPECTING]],
  ['{"id":-}', ["JSON parse error, stray '-}'"]],
  ['{"id":1.}', ["JSON parse error, stray '1.}'"]],
  ['{"id":.5}', ["JSON parse error, stray '.'", EXPECTING]],
  ['{"id":[1,]}', [EXPECTING]],
  ['{"id":[,]}', [EXPECTING]],
  ['{"id":[}]}', [EXPECTING, EXPECTING]],
  ['{"id":{1:2}}', ["JSON parse error, key is not a string in object"]],
  ['{"id":{"a" 2}}', ["JSON parse error, missing : in object pair"]],
  ['{"id":[1 2]}', ["JSON parse error, expected separator in list"]],
  ['{"id":{"a":2 "b":3}}', ["JSON parse error, expected separator in dict"]],
  ['{"id":"\\ud800"}', ["JSON parse error, \\ud800 is not a valid Unicode character"]],
  ['{"id":"\\udc00"}', ["JSON parse error, \\udc00 is not a valid Unicode character"]],
  ['{"id":"\\ufffe"}', ["JSON parse error, \\ufffe is not a valid Unicode character"]],
  ['{"id":"\\u12g4"}', ["JSON parse error, \\u12g4 is not a valid Unicode character"]],
  ['"\\u00"', ['JSON parse error, \\u00" is not a valid Unicode character']],
  ['"\\ud83d\\ud83d"', ["JSON parse error, \\ud83d is not a valid Unicode character"]],
  ['"\\uD83Dx\\uDE00"', ["JSON parse error, \\uD83D is not a valid Unicode character"]],
  ['{"id":"\\x"}', ["JSON parse error, invalid escape sequence in string"]],
  ['{"id":"\xff"}', ["JSON parse error, stray '\"\uFFFD'", EXPECTING]],
  ['{"id":"a\x01"}', ["JSON parse error, stray '\"a\x01'", EXPECTING]],
  ['{"id":"\xed\xa0\x80"}', ["JSON parse error, invalid UTF-8 sequence in string"]],
  ['{"id":"\xef\xbf\xbe"}', ["JSON parse error, invalid UTF-8 sequence in string"]],
  ['{"id":"\xf0\x9f\x98\x80 \xf4\x90\x80\x80"}', ["JSON parse error, invalid UTF-8 sequence in string"]],
  ['\xff{"e":1}', ["JSON parse error, stray '\uFFFD'", '{"e": 1}']],
  ["+ , x", ["JSON parse error, stray '+'", EXPECTING, "JSON parse error, invalid keyword 'x'"]],
  ["+ : 1", ["JSON parse error, stray '+'", EXPECTING, "1"]],
  ['+ abc"x" 5 {"e":1}', ["JSON parse error, stray '+'", '{"e": 1}']],
  ['+ \xfe{"e":1}', ["JSON parse error, stray '+'", "JSON parse error, stray '\uFFFD'", '{"e": 1}']],
  ["+ abc\n5", ["JSON parse error, stray '+'", "5"]],
  ['-a{"e":1}', ["JSON parse error, stray '-a'", '{"e": 1}']],
  ['"abc\n{"e":1}', ["JSON parse error, stray '\"abc\n'", '{"e": 1}']],
  ["trux5", ["JSON parse error, invalid keyword 'trux'", "5"]],
  ["ABC", ["JSON parse error, stray 'A'"]],
  ["1.5e", ["JSON parse error, stray '1.5e\n'"]],
  ["0x10", ["0", "JSON parse error, invalid keyword 'x'", "10"]],
  ["-01", ["JSON parse error, stray '-01'"]],
  ["/* c */ 5", ["JSON parse error, stray '/'"]],
  ["nan", ["JSON parse error, invalid keyword 'nan'"]],
  ["[0e1]", ["JSON parse error, expected separator in list"]],
  ['"x" {"e":1} [] 5 {"e":2}', ['"x"', '{"e": 1}', "[]", "5", '{"e": 2}']],
  ["'a\\'b\"c\\/'", ['"a\'b\\"c/"']],
  ['"\xc0\x80"', ['"\\u0000"']],
  ['"\\ud83d\\ude00 \\u00e9 \\u007f \\ufffd"', ['"\\uD83D\\uDE00 \\u00E9 \\u007F \\uFFFD"']],
  ['"a\\"\\\\\\b\\f\\n\\r\\t\'/<"', ['"a\\"\\\\\\b\\f\\n\\r\\t\'/<"']],
  [
    "[1.5,0.1,1e-5,123e3,100.0,1e15,1e16,1e17,1e21,12345678901234567890.0,-0,-0.0,0.0e1]",
    [
      "[1.5, 0.10000000000000001, 1.0000000000000001e-05, 123000, 100, 1000000000000000, 10000000000000000, 1e+17, 1e+21, 1.2345678901234567e+19, 0, -0, 0]",
    ],
  ],
  [
    "[18446744073709551615,-9223372036854775808,18446744073709551616,9007199254740993]",
    ["[18446744073709551615, -9223372036854775808, 1.8446744073709552e+19, 9007199254740993]"],
  ],
];

test("streams: values, errors and recovery as the real program, whole and byte by byte", () => {
  for (const [line, want] of LINES) {
    const input = bytes(`${line}\n`);
    assert.equal(stream(input), want, line);
    assert.equal(stream(input, 1), want, `${line} byte by byte`);
  }
});

test("nesting limit", () => {
  const deep = (n: number): string => `${"[".repeat(n)}${"]".repeat(n)}`;
  assert.is(stream(deep(1024))[0], deep(1024));
  assert.is(stream(deep(1025))[0], "JSON nesting depth limit exceeded");
  assert.is(parse(`{"a":${"[".repeat(100000)}`), "JSON nesting depth limit exceeded");
});

test("one value", () => {
  assert.is(parse(""), "Expecting a JSON value");
  assert.is(parse("{"), "JSON parse error, premature EOI");
  assert.is(parse('{"a":1} x'), "Expecting at most one JSON value");
  assert.is(parse("{]"), EXPECTING);
  assert.is(parse('{"a'), "JSON parse error, stray '\"a'");
  assert.is(parse(" 42"), "42");
  assert.is(parse("1.5"), "1.5");
});

test("members called like Object's own are just members", () => {
  const value = parseJson('{"__proto__":{"x":1},"constructor":2,"toString":3}') as Record<string, JsonValue>;
  assert.is(Object.getPrototypeOf(value), Object.prototype);
  assert.is((value as { x?: unknown }).x, undefined);
  assert.equal(Object.keys(value).sort(), ["__proto__", "constructor", "toString"]);
});

test("64-bit integers are exact", () => {
  assert.is(parseJson("9007199254740991"), 9007199254740991);
  assert.is(parseJson("9007199254740993"), 9007199254740993n);
  assert.is(parseJson("-9223372036854775808"), -9223372036854775808n);
  assert.is(Object.is(parseJson("-0"), 0), true);
});

test("member order is QEMU's hash order, newest first in a bucket", () => {
  assert.is(qdictBucket("aa"), qdictBucket("aq"));
  assert.equal(qdictOrder(["aa", "aq", "a1"]), ["a1", "aq", "aa"]);
  assert.equal(qdictOrder(["a1", "aq", "aa"]), ["aa", "aq", "a1"]);
  assert.is(
    writeJson({ a: 1, b: 1, c: null, d: 0, e: 1, f: 1, g: 1, h: 1, i: 1 }),
    '{"d": 0, "i": 1, "e": 1, "a": 1, "f": 1, "b": 1, "g": 1, "c": null, "h": 1}',
  );
  assert.is(
    writeJson({ QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 }, package: "x" }, capabilities: ["oob"] } }),
    '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": ["oob"]}}',
  );
  assert.is(writeJson({ error: { class: "G", desc: "d" }, id: 5 }), '{"id": 5, "error": {"class": "G", "desc": "d"}}');
});

test("pretty output as qemu-img --output=json", () => {
  const info = {
    filename: "p.qcow2",
    format: "qcow2",
    "virtual-size": 10485760,
    "actual-size": 10768384,
    "dirty-flag": false,
    "cluster-size": 65536,
    "format-specific": { type: "qcow2", data: { compat: "1.1", "compression-type": "zlib" } },
    snapshots: [
      {
        id: "1",
        name: "s1",
        "vm-state-size": 0,
        "date-sec": 1,
        "date-nsec": 2,
        "vm-clock-sec": 0,
        "vm-clock-nsec": 0,
        icount: 0,
        none: undefined,
      },
    ],
  };
  assert.is(
    writeJson(info, { pretty: true }),
    `{
    "snapshots": [
        {
            "icount": 0,
            "vm-clock-nsec": 0,
            "name": "s1",
            "date-sec": 1,
            "date-nsec": 2,
            "vm-clock-sec": 0,
            "id": "1",
            "vm-state-size": 0
        }
    ],
    "virtual-size": 10485760,
    "filename": "p.qcow2",
    "cluster-size": 65536,
    "format": "qcow2",
    "actual-size": 10768384,
    "format-specific": {
        "type": "qcow2",
        "data": {
            "compat": "1.1",
            "compression-type": "zlib"
        }
    },
    "dirty-flag": false
}`,
  );
  assert.is(writeJson([], { pretty: true }), "[\n]");
  assert.is(writeJson({ b: 1, a: 2 }, { order: "insertion" }), '{"b": 1, "a": 2}');
});

test("circular output is an error, not a hang", () => {
  const loop: { me?: unknown } = {};
  loop.me = loop;
  assert.throws(() => writeJson(loop as never), /nesting depth/);
});

test("what is wrong first is told, in whatever order the tokens are looked at", () => {
  assert.throws(() => parseJson('["\\x", "\\ud800"]'), /invalid escape sequence in string/);
  assert.throws(() => parseJson('["\\ud800", "\\x"]'), /"?\\ud800 is not a valid Unicode character/);
  assert.throws(() => parseJson('[1 "\\x"]'), /expected separator in list/);
  assert.throws(() => parseJson(bytes('["\xfd\\x"]')), /invalid UTF-8 sequence in string/);
  assert.throws(() => parseJson(bytes('["\xc3\\n\xa9"]')), /invalid UTF-8 sequence in string/);
  assert.throws(() => parseJson(bytes('["\xef\xbf\xbf"]')), /invalid UTF-8 sequence in string/);
  assert.equal(parseJson(bytes('["\xf0\x9f\x98\x80\\t\\ud83d\\ude00\xc0\x80\\u00e9"]')), ["😀\t😀\0é"]);
});

test("a large token takes about as much memory as it has bytes", () => {
  const most = 32;
  const before = process.memoryUsage();
  const digits = parseJson("7".repeat(3_000_000));
  const text = parseJson(`"${"\\n".repeat(1_500_000)}"`);
  const after = process.memoryUsage();
  assert.is(digits, Infinity);
  assert.is((text as string).length, 1_500_000);
  const grown = (after.heapTotal + after.arrayBuffers - before.heapTotal - before.arrayBuffers) / 1024 / 1024;
  assert.ok(grown < most, `${grown.toFixed(0)} MiB`);
});

test("random bytes: same outcome however they are cut, never a throw, and the reader recovers", () => {
  const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`json seed ${seed}`);
  let state = seed >>> 0;
  const random = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const pieces = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    '"',
    "'",
    "\\",
    "\\u",
    "d83d",
    "0",
    "-",
    "1",
    ".",
    "e",
    "+",
    "true",
    "nul",
    " ",
    "\n",
    "\xc3\xa9",
    "\xff",
    "\x01",
    '"a":',
    "%",
  ];
  for (let round = 0; round < 2000; round++) {
    const input = bytes(Array.from({ length: random(16) }, () => pieces[random(pieces.length)]!).join(""));
    const whole = stream(input);
    assert.equal(stream(input, 1 + random(4)), whole, `seed ${seed} round ${round}`);
    // A stray control byte is an error that drops whatever message was begun; the next one must get through.
    const after = stream(Uint8Array.from([...input, ...bytes('\n\x01\n{"alive":1}')]));
    assert.is(after.at(-1), '{"alive": 1}', `seed ${seed} round ${round}`);
  }
});

test.run();
