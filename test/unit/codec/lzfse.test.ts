import { test } from "uvu";
import * as assert from "uvu/assert";
import { concatBytes, encodeText } from "../../../src/base/bytes.js";
import { BlockError } from "../../../src/base/error.js";
import { decompressLzfse } from "../../../src/codec/lzfse/decoder.js";
import { decodeLzvn } from "../../../src/codec/lzfse/lzvn.js";
import { lzfseBlock, parse } from "./lzfse-encoder.js";
import { damaged, padded, random, same, sample } from "./sample.js";

const SEED = Number(process.env["SEED"] ?? 20261121);
console.log(`lzfse.test seed ${SEED}`);
const END = encodeText("bvx$");
const corrupt = (error: BlockError): boolean => error instanceof BlockError && error.code === "ERR_CORRUPT";

function block(magic: string, ...words: (number | Uint8Array)[]): Uint8Array {
  return concatBytes([
    encodeText(magic),
    ...words.map((word) => (typeof word === "number" ? new Uint8Array(Uint32Array.of(word).buffer) : word)),
  ]);
}

test("LZFSE blocks come back", () => {
  for (const size of [1, 3, 300, 5000, 40000]) {
    const plain = sample(size, SEED + size);
    const stream = concatBytes([lzfseBlock(parse(plain), size), END]);
    const out = new Uint8Array(size);
    decompressLzfse(padded(stream, 50), out);
    same(out, plain, `size ${size}`);
    assert.throws(() => decompressLzfse(stream, new Uint8Array(size + 1)), corrupt);
    assert.throws(() => decompressLzfse(stream, new Uint8Array(size - 1)), corrupt);
  }
});

test("blocks of all kinds follow each other, matches reach into earlier blocks", () => {
  const plain = sample(2000, SEED);
  const again = lzfseBlock(
    [
      { literals: Uint8Array.of(), match: 1000, distance: 2000 },
      { literals: Uint8Array.of(7), match: 5, distance: 0 },
    ],
    1006,
  );
  const lzvn = Uint8Array.of(0xe3, 97, 98, 99, 0x00 | (4 << 3) | 0, 3, 0x06, 0, 0, 0, 0, 0, 0, 0);
  const stream = concatBytes([block("bvx-", 2000, plain), again, block("bvxn", 10, lzvn.length, lzvn), END]);
  const out = new Uint8Array(3016);
  decompressLzfse(stream, out);
  same(out.subarray(0, 3006), concatBytes([plain, plain.subarray(0, 1000), Uint8Array.of(7), plain.subarray(1001, 1006)]));
  assert.is(new TextDecoder().decode(out.subarray(3006)), "abcabcabca");
});

test("LZVN opcodes", () => {
  const decode = (ops: number[], size: number): string => {
    const out = new Uint8Array(size);
    const from = Uint8Array.from([...ops, 6, 0, 0, 0, 0, 0, 0, 0]);
    assert.is(decodeLzvn(from, 0, from.length, out, 0, size), size);
    return new TextDecoder().decode(out);
  };
  assert.is(decode([0xc8, 3, 97, 98, 99], 7), "abcabca", "short distance: 3 literals, match of 4");
  assert.is(decode([0xc7, 3, 0, 97, 98, 99], 6), "abcabc", "long distance");
  assert.is(decode([0xb8, 0x0d, 0x00, 97, 98, 99], 7), "abcabca", "medium distance: match 3 + 1");
  assert.is(decode([0xe3, 97, 98, 99, 0x00, 2, 0x46, 33, 0xf2], 12), "abcbcb!b!b!b", "repeated distances");
  assert.is(
    decode([0xe0, 0, ...Array<number>(16).fill(120), 0x0e, 0x16, 0x00, 1, 0xf0, 1], 36),
    "x".repeat(36),
    "large literal and match, nops",
  );
  for (const bad of [0x1e, 0x26, 0x3e, 0x70, 0x7f, 0xd0, 0xdf])
    assert.throws(() => decode([0xe3, 1, 2, 3, bad, 1, 1], 9), /not defined/);
  assert.throws(() => decode([0x00, 1], 3), /before the beginning/);
  assert.throws(() => decode([0xf3], 3), /before the beginning/);
  assert.throws(() => decodeLzvn(Uint8Array.of(0xe3, 1), 0, 2, new Uint8Array(9), 0, 9), /cut off/);
});

test("damage is ERR_CORRUPT or harmless", () => {
  const plain = sample(20000, SEED + 9);
  const stream = concatBytes([lzfseBlock(parse(plain), plain.length), END]);
  const next = random(SEED);
  let refused = 0;
  for (let i = 0; i < 1000; i++)
    try {
      decompressLzfse(damaged(stream, next), new Uint8Array(plain.length));
    } catch (error) {
      assert.ok(corrupt(error as BlockError), String(error));
      refused++;
    }
  assert.ok(refused > 300, `${refused} refused`);
});

test.run();
