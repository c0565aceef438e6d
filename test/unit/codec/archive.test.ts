import { execFileSync } from "node:child_process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { concatBytes } from "../../../src/base/bytes.js";
import { BlockError } from "../../../src/base/error.js";
import { decompressAdc } from "../../../src/codec/adc.js";
import { decompressBzip2 } from "../../../src/codec/bzip2.js";
import type { CodecName, DecompressSync } from "../../../src/codec/codec.js";
import { portableCodecs } from "../../../src/codec/portable.js";
import { decompressXz } from "../../../src/codec/xz/decoder.js";
import { skip } from "../../support/skip.js";
import { damaged, padded, random, same, sample } from "./sample.js";

const SEED = Number(process.env["SEED"] ?? 20261121);
console.log(`archive.test seed ${SEED}`);
const corrupt = (error: BlockError): boolean => error instanceof BlockError && error.code === "ERR_CORRUPT";

function tool(command: string, args: string[], input: Uint8Array): Uint8Array | null {
  try {
    return new Uint8Array(execFileSync(command, args, { input, maxBuffer: 1 << 28, stdio: ["pipe", "pipe", "ignore"] }));
  } catch {
    return null;
  }
}

const STREAMS: [string, DecompressSync, string, string[]][] = [
  ["xz", decompressXz, "xz", ["-c", "-6"]],
  ["xz crc32", decompressXz, "xz", ["-c", "-1", "--check=crc32"]],
  ["xz no check", decompressXz, "xz", ["-c", "--check=none"]],
  ["xz in blocks", decompressXz, "xz", ["-c", "--block-size=50000", "--check=sha256"]],
  ["xz lc1 lp3 pb4", decompressXz, "xz", ["-c", "--lzma2=lc=1,lp=3,pb=4"]],
  ["lzma", decompressXz, "xz", ["-c", "--format=lzma"]],
  ["lzma lc8 pb0", decompressXz, "xz", ["-c", "--format=lzma", "--lzma1=lc=4,lp=0,pb=0"]],
  ["bzip2 -1", decompressBzip2, "bzip2", ["-c", "-1"]],
  ["bzip2 -9", decompressBzip2, "bzip2", ["-c", "-9"]],
];

for (const [name, decode, command, args] of STREAMS)
  test(`${name}: streams of the ${command} program`, () => {
    // Runs of 4, 5 and 255 + 4 equal bytes are the edges of bzip2's first coding.
    const plains = [
      sample(1, SEED),
      sample(70000, SEED + 1),
      new Uint8Array(200000),
      sample(600000, SEED + 2),
      new Uint8Array(259).fill(65),
      new Uint8Array(4).fill(1),
      new Uint8Array(5).fill(1),
    ];
    for (const plain of plains) {
      const packed = tool(command, args, plain);
      if (packed === null) return skip(`${command} is not installed`);
      const out = new Uint8Array(plain.length);
      decode(packed, out);
      same(out, plain);
      decode(padded(packed, 100), out.fill(0));
      same(out, plain, "what follows is ignored");
      assert.throws(() => decode(packed, new Uint8Array(plain.length + 1)), corrupt);
      if (plain.length > 1) assert.throws(() => decode(packed, new Uint8Array(plain.length - 1)), corrupt);
      assert.throws(() => decode(packed.subarray(0, packed.length >> 1), out), corrupt);
    }
  });

test("damage is refused as such, in bounded time", () => {
  const plain = sample(30000, SEED + 3);
  const next = random(SEED);
  for (const [name, decode, command, args] of STREAMS) {
    const packed = tool(command, args, plain);
    if (packed === null) return skip(`${command} is not installed`);
    for (let i = 0; i < 150; i++) {
      const started = performance.now();
      try {
        decode(damaged(packed, next), new Uint8Array(plain.length));
      } catch (error) {
        assert.instance(error, BlockError, `${name}: ${String(error)}`);
        assert.ok(["ERR_CORRUPT", "ERR_UNSUPPORTED"].includes((error as BlockError).code));
      }
      assert.ok(performance.now() - started < 1000);
    }
  }
});

test("bzip2: concatenated streams are one", () => {
  const one = sample(5000, SEED),
    two = sample(7000, SEED + 1);
  const a = tool("bzip2", ["-c"], one),
    b = tool("bzip2", ["-c"], two);
  if (a === null || b === null) return skip("bzip2 is not installed");
  const out = new Uint8Array(12000);
  decompressBzip2(concatBytes([a, b]), out);
  same(out, concatBytes([one, two]));
});

test("xz: a damaged check is noticed, other filters are refused", () => {
  const plain = sample(5000, SEED);
  for (const check of ["crc32", "crc64"]) {
    const packed = tool("xz", ["-c", `--check=${check}`], plain);
    if (packed === null) return skip("xz is not installed");
    // The check lies between the block's padding and the index; flipping the last bytes before the index spoils it.
    const indexSize = (new DataView(packed.buffer, packed.byteOffset).getUint32(packed.length - 8, true) + 1) * 4;
    packed[packed.length - 12 - indexSize - 1]! ^= 1;
    assert.throws(() => decompressXz(packed, new Uint8Array(5000)), /checksum/);
  }
  const filtered = tool("xz", ["-c", "--x86", "--lzma2"], plain);
  assert.throws(
    () => decompressXz(filtered!, new Uint8Array(5000)),
    (e: BlockError) => e.code === "ERR_UNSUPPORTED",
  );
});

test("adc: literals, short and long matches", () => {
  // "abc", then 3 + 0 from distance 3, then a two-byte match of 4 + 5 from distance 6.
  const stream = Uint8Array.of(0x82, 97, 98, 99, 0x00, 2, 0x45, 0, 5, 0x80, 33);
  const out = new Uint8Array(16);
  decompressAdc(padded(stream, 9), out);
  assert.is(new TextDecoder().decode(out), "abcabcabcabcabc!");
  assert.throws(() => decompressAdc(stream, new Uint8Array(15 - 1)), corrupt);
  assert.throws(() => decompressAdc(stream, new Uint8Array(17)), corrupt);
  assert.throws(() => decompressAdc(Uint8Array.of(0x80, 1, 0x00, 1), new Uint8Array(4)), /before the beginning/);
  assert.throws(() => decompressAdc(Uint8Array.of(0x85, 1), new Uint8Array(6)), /cut off/);
});

test("every Apple codec is found by name, sync and async", async () => {
  for (const name of ["adc", "bzip2", "lzfse", "xz"] as CodecName[]) {
    const { sync, async } = portableCodecs.decompressor(name);
    assert.throws(() => sync!(new Uint8Array(4), new Uint8Array(4)), corrupt);
    const failure = await async!(new Uint8Array(4), new Uint8Array(4)).then(
      () => null,
      (e: BlockError) => e,
    );
    assert.ok(failure !== null && corrupt(failure));
  }
});

test.run();
