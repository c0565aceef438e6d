import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../src/base/error.js";
import { parseInteger, parseIoNumber, parseSize64, parseSizeArgument } from "../../../src/base/size.js";

const message = (run: () => unknown): string => {
  try {
    return `no error: ${String(run())}`;
  } catch (error) {
    assert.instance(error, BlockError);
    return (error as Error).message;
  }
};
const outcome = (text: string): bigint | string => {
  const size = parseSize64(text);
  return size.status === "ok" ? size.value : size.status;
};

test("every spelling as qemu-img 7.2.22 took it", () => {
  const good: [string, bigint][] = [
    ["1", 1n],
    ["1b", 1n],
    ["1k", 1024n],
    ["1K", 1024n],
    ["1.5G", 1610612736n],
    ["0x10", 16n],
    ["0x10k", 16384n],
    ["+5", 5n],
    [" 5", 5n],
    ["7E", 8070450532247928832n],
    ["7.9E", 9108079886394091136n],
    ["9223372036854775807", 9223372036854775807n],
    ["5.", 5n],
    ["5.M", 5242880n],
    ["1.k", 1024n],
    ["0.1k", 102n],
    ["1.0000000001k", 1024n],
    ["010", 10n],
    ["1E", 1n << 60n],
    ["1e", 1n << 60n],
    ["0x7fffffffffffffff", 9223372036854775807n],
    ["18446744073709551615", 18446744073709551615n],
    ["1.0b", 1n],
    ["0.5k", 512n],
  ];
  for (const [text, want] of good) assert.is(outcome(text), want, text);
  for (const text of [
    "1.5b",
    "1.5",
    "0x1.5",
    "1e3",
    "-1",
    "-0",
    "",
    "5 ",
    "1kk",
    "1kB",
    "x",
    "1Q",
    ".5M",
    "inf",
    "nan",
    "0b101",
    "0x",
    "0x1p3",
    "1.5e3",
    "k",
  ]) {
    assert.is(outcome(text), "invalid", text);
  }
  for (const text of ["18446744073709551616", "99999999999T", "16E", "99999999999999999999999999"])
    assert.is(outcome(text), "range", text);
  assert.equal(parseSize64("0x10k"), { status: "ok", value: 16384n, hexWithSuffix: true });
  assert.is(outcome("9".repeat(1 << 20)), "range");
});

test("qemu-img's and qemu-io's messages", () => {
  assert.is(parseSizeArgument("image size", "1.5G"), 1610612736);
  assert.is(
    message(() => parseSizeArgument("image size", "x")),
    "Invalid image size specified. You may use k, M, G, T, P or E suffixes for\nkilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.",
  );
  assert.is(
    message(() => parseSizeArgument("bs", "0", { min: 1, max: 2147483647 })),
    "Invalid bs specified. Must be between 1 and 2147483647.",
  );
  assert.is(
    message(() => parseSizeArgument("image size", "8E")),
    "Invalid image size specified. Must be between 0 and 9007199254740991.",
  );
  assert.is(parseIoNumber("1.5k"), 1536);
  assert.is(
    message(() => parseIoNumber("1q")),
    "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- 1q",
  );
  assert.is(
    message(() => parseIoNumber("-1")),
    "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- -1",
  );
  assert.is(
    message(() => parseIoNumber("99E")),
    "Parsing error: argument too large -- 99E",
  );
  assert.is(
    message(() => parseIoNumber("8E")),
    "Parsing error: argument too large -- 8E",
  );
});

test("integers with base prefix", () => {
  assert.is(parseInteger("0x10"), 16n);
  assert.is(parseInteger("010"), 8n);
  assert.is(parseInteger("0"), 0n);
  assert.is(parseInteger(" -5"), -5n);
  assert.is(parseInteger("18446744073709551615"), 18446744073709551615n);
  assert.is(parseInteger("18446744073709551616"), "range");
  for (const text of ["", "x", "08", "1x", "5 ", "0x", "--1", "1.5"]) assert.is(parseInteger(text), "invalid", text);
});

test.run();
