import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../src/base/error.js";
import { concatBytes, encodeText } from "../../../src/base/bytes.js";
import type { Codecs } from "../../../src/codec/codec.js";
import { nodeCodecs } from "../../../src/codec/node-codecs.js";
import { portableCodecs } from "../../../src/codec/portable.js";
import { decompressZstd } from "../../../src/codec/zstd/decoder.js";
import { boundedFrame, frameEnd, readFrameHeader, withContentSize } from "../../../src/codec/zstd/frame.js";
import { xxh64Low } from "../../../src/codec/zstd/xxh64.js";
import { damaged, padded, random, same, sample } from "./sample.js";

const SEED = Number(process.env["SEED"] ?? 20261121);
console.log(`zstd.test seed ${SEED}`);
const all: [string, Codecs][] = [
  ["node", nodeCodecs],
  ["portable", portableCodecs],
];
const corrupt = (error: BlockError): boolean => error instanceof BlockError && error.code === "ERR_CORRUPT";
await portableCodecs.load("zstd");
await nodeCodecs.load("zstd");

const bytes = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g)!, (pair) => parseInt(pair, 16));

/** "hello hello hello hello hello hello\n" by the zstd program 1.5.4. */
const VECTORS: [string, string][] = [
  ["28b52ffd04586d00003868656c6c6f200a0100b94b116b1f0867", "--check, no size"],
  ["28b52ffd00686d00003868656c6c6f200a0100b94b11", "-19 --no-check, no size"],
  ["28b52ffd20246d00003868656c6c6f200a0100b94b11", "--no-check, size in the header"],
];

for (const [who, codecs] of all) {
  const { sync, async } = codecs.decompressor("zstd");
  test(`${who}: what is compressed comes back at every level and size`, async () => {
    for (const level of [1, 3, 9, 19])
      for (const size of [1, 255, 256, 512, 4096, 65536, 65792, 300000]) {
        const plain = sample(size, SEED + size);
        const compressor = codecs.compressor("zstd", { level });
        const packed = compressor.sync!(plain, size + 1024)!;
        for (const decode of [sync!, decompressZstd]) {
          const out = new Uint8Array(size);
          decode(padded(packed, 300), out);
          same(out, plain, `level ${level} size ${size}`);
        }
        const out = new Uint8Array(size);
        await async!(padded((await compressor.async!(plain, size + 1024))!, 511), out);
        same(out, plain);
        if (size >= 256) assert.is(readFrameHeader(packed, 0).contentSize, size, "QEMU is told the size");
        assert.is(frameEnd(packed, 0), packed.length, "one frame");
      }
  });
  test(`${who}: null when too long`, () => {
    const plain = sample(65536, SEED);
    const compressor = codecs.compressor("zstd");
    const length = compressor.sync!(plain, 65536)!.length;
    assert.ok(compressor.sync!(plain, length));
    assert.is(compressor.sync!(plain, length - 1), null);
  });
  test(`${who}: larger and smaller than the unit is refused, as in QEMU`, async () => {
    const packed = codecs.compressor("zstd").sync!(sample(65536, SEED), 1 << 20)!;
    assert.throws(() => sync!(packed, new Uint8Array(65535)), corrupt);
    assert.throws(() => sync!(packed, new Uint8Array(65537)), corrupt);
    const failure = await async!(packed, new Uint8Array(4096)).then(
      () => null,
      (e: BlockError) => e,
    );
    assert.ok(corrupt(failure as BlockError));
    assert.throws(() => sync!(new Uint8Array(512), new Uint8Array(512)), corrupt);
    assert.throws(() => sync!(new Uint8Array(0), new Uint8Array(512)), corrupt);
  });
  test(`${who}: several frames and skippable frames fill a unit together`, () => {
    const one = sample(1000, SEED),
      two = sample(3096, SEED + 1);
    const compressor = codecs.compressor("zstd");
    const skip = bytes("5a2a4d1803000000aabbcc");
    const packed = concatBytes([skip, compressor.sync!(one, 9999)!, skip, compressor.sync!(two, 9999)!, new Uint8Array(77)]);
    const out = new Uint8Array(4096);
    sync!(packed, out);
    same(out, concatBytes([one, two]));
  });
  test(`${who}: damage is ERR_CORRUPT or harmless, quickly`, () => {
    const next = random(SEED);
    const packed = [1, 3, 19].map((level) => codecs.compressor("zstd", { level }).sync!(sample(65536, SEED + level), 1 << 20)!);
    const out = new Uint8Array(65536);
    let refused = 0;
    for (let i = 0; i < 600; i++) {
      const started = performance.now();
      try {
        sync!(damaged(packed[i % 3]!, next), out);
      } catch (error) {
        assert.ok(corrupt(error as BlockError), String(error));
        refused++;
      }
      assert.ok(performance.now() - started < 500, "bounded time");
    }
    assert.ok(refused > 150, `${refused} refused`);
  });
}

test("frames of the zstd program, with checksum, without size", () => {
  const plain = encodeText("hello hello hello hello hello hello\n");
  for (const [hex, want] of VECTORS) {
    const out = new Uint8Array(plain.length);
    decompressZstd(bytes(hex), out);
    same(out, plain, want);
  }
  const spoiled = bytes(VECTORS[0]![0]);
  spoiled[spoiled.length - 1]! ^= 1;
  assert.throws(() => decompressZstd(spoiled, new Uint8Array(plain.length)), /checksum/);
});

test("a bomb of empty or repeated blocks ends at the unit", () => {
  // Single segment, 4-byte size 512, then RLE blocks of 2 MiB each.
  const bomb = new Uint8Array(9 + 4 * 100000);
  bomb.set(bytes("28b52ffda000020000"));
  for (let i = 0; i < 100000; i++) bomb.set([0x02, 0xff, 0xff, 0x41], 9 + i * 4);
  assert.is(boundedFrame(bomb, 512), null);
  assert.throws(() => decompressZstd(bomb, new Uint8Array(512)), corrupt);
  // Eight raw bytes, then 98,047 sequences whose codes take no bits at all, each a match of 34 bytes.
  const huge = bytes("28b52ffd005840000001020304050607084d000000ffffff5400001f01");
  const started = performance.now();
  assert.throws(() => decompressZstd(huge, new Uint8Array(65536)), /more bytes than expected/);
  assert.ok(performance.now() - started < 200);
});

test("frame headers: window, dictionary, reserved bits, truncation", () => {
  assert.throws(() => readFrameHeader(bytes("28b52ffd00ff"), 0), /window/);
  assert.throws(() => decompressZstd(bytes("28b52ffd21070401000000"), new Uint8Array(4)), corrupt);
  assert.throws(() => readFrameHeader(bytes("28b52ffd0858"), 0), /reserved/);
  assert.throws(() => readFrameHeader(bytes("28b52ffd"), 0), /cut off/);
  assert.is(readFrameHeader(bytes("28b52ffde0ffffffffffffffff010000"), 0).contentSize, Infinity);
});

test("withContentSize leaves other frames alone", () => {
  const frame = bytes("28b52ffd0058010000");
  assert.is(withContentSize(frame, 255), frame);
  assert.equal(withContentSize(frame, 256).subarray(4, 7), Uint8Array.of(0x60, 0, 0));
  assert.equal(withContentSize(frame, 65792).subarray(4, 9), Uint8Array.of(0xa0, 0, 1, 1, 0));
  const sized = bytes("28b52ffd2004210000");
  assert.is(withContentSize(sized, 4096), sized);
});

test("xxh64 known answers", () => {
  assert.is(xxh64Low(new Uint8Array(0)), 0x51d8e999);
  assert.is(xxh64Low(encodeText("a")), 0xa98c6e5b);
  assert.is(xxh64Low(encodeText("abc")), 0xad770999);
});

test.run();
