import { deflateRawSync, deflateSync } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../src/base/error.js";
import type { Codecs } from "../../../src/codec/codec.js";
import { nodeCodecs } from "../../../src/codec/node-codecs.js";
import { portableCodecs } from "../../../src/codec/portable.js";
import { damaged, padded, random, same, sample } from "./sample.js";

const SEED = Number(process.env["SEED"] ?? 20261121);
console.log(`deflate.test seed ${SEED}`);
const all: [string, Codecs][] = [
  ["node", nodeCodecs],
  ["portable", portableCodecs],
];
const SIZES = [1, 511, 512, 4096, 65536, 262144];

for (const [who, codecs] of all) {
  for (const name of ["deflate", "zlib"] as const) {
    const { sync, async } = codecs.decompressor(name);
    const compressor = codecs.compressor(name);
    test(`${who} ${name}: what is compressed comes back, padding or not, sync and async`, async () => {
      for (const size of SIZES) {
        const plain = sample(size, SEED + size);
        const packed = compressor.sync!(plain, size + 1024)!;
        assert.ok(packed !== null);
        for (const tail of [0, 1, 511]) {
          const out = new Uint8Array(size);
          sync!(padded(packed, tail), out);
          same(out, plain);
          out.fill(0);
          await async!(padded(packed, tail), out);
          same(out, plain);
        }
        same((await compressor.async!(plain, size + 1024))!, packed);
      }
    });
    test(`${who} ${name}: null when the result would be too long`, async () => {
      const plain = sample(65536, SEED);
      const length = compressor.sync!(plain, 65536)!.length;
      assert.ok(compressor.sync!(plain, length) !== null);
      assert.is(compressor.sync!(plain, length - 1), null);
      assert.is(await compressor.async!(plain, length - 1), null);
      assert.is(compressor.sync!(plain, 0), null);
    });
    test(`${who} ${name}: of a longer stream the first unit is delivered, a shorter one is refused`, async () => {
      const plain = sample(65536, SEED + 1);
      const packed = compressor.sync!(plain, 1 << 20)!;
      const out = new Uint8Array(4096);
      sync!(packed, out);
      same(out, plain.subarray(0, 4096));
      await async!(packed, out.fill(0));
      same(out, plain.subarray(0, 4096));
      assert.throws(
        () => sync!(packed, new Uint8Array(65537)),
        (e: BlockError) => e.code === "ERR_CORRUPT",
      );
      const failure = await async!(packed, new Uint8Array(65537)).then(
        () => null,
        (e: BlockError) => e,
      );
      assert.is(failure?.code, "ERR_CORRUPT");
      assert.throws(
        () => sync!(new Uint8Array(0), new Uint8Array(1)),
        (e: BlockError) => e.code === "ERR_CORRUPT",
      );
    });
    test(`${who} ${name}: a bomb costs one unit`, () => {
      const bomb = (name === "zlib" ? deflateSync : deflateRawSync)(new Uint8Array(64 << 20), { level: 9 });
      const before = process.memoryUsage().rss;
      const out = new Uint8Array(512).fill(1);
      sync!(bomb, out);
      assert.is(Math.max(...out), 0);
      assert.ok(process.memoryUsage().rss - before < 16 << 20);
    });
    test(`${who} ${name}: damage is ERR_CORRUPT or harmless, never another error`, () => {
      const next = random(SEED);
      const plain = sample(65536, SEED + 2);
      const packed = compressor.sync!(plain, 1 << 20)!;
      let refused = 0;
      for (let i = 0; i < 300; i++) {
        try {
          sync!(damaged(packed, next), new Uint8Array(65536));
        } catch (error) {
          assert.instance(error, BlockError);
          assert.is((error as BlockError).code, "ERR_CORRUPT");
          refused++;
        }
      }
      assert.ok(refused > 100, `${refused} refused`);
    });
  }
  test(`${who} deflate: the window stays within 4 KiB`, () => {
    // Two equal random 3 KiB stretches 6 KiB apart: only a window above 4 KiB could use the repetition.
    const next = random(SEED + 3);
    const plain = Uint8Array.from({ length: 12288 }, () => Math.floor(next() * 256));
    plain.copyWithin(6144, 0, 3072);
    assert.ok(codecs.compressor("deflate").sync!(plain, 20000)!.length > 12000);
    assert.ok(codecs.compressor("deflate", { windowBits: 15 }).sync!(plain, 20000)!.length < 10000);
  });
  test(`${who}: options are checked`, () => {
    for (const level of [-1, 10, 1.5, NaN])
      assert.throws(
        () => codecs.compressor("deflate", { level }),
        (e: BlockError) => e.code === "ERR_INVALID_ARGUMENT",
      );
    assert.throws(
      () => codecs.compressor("deflate", { windowBits: 8 }),
      (e: BlockError) => e.code === "ERR_INVALID_ARGUMENT",
    );
    assert.throws(
      () => codecs.compressor("adc"),
      (e: BlockError) => e.code === "ERR_UNSUPPORTED",
    );
  });
}

test.run();
