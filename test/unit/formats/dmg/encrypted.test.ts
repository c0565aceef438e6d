/** Encrypted DMG images, written here with OpenSSL as published readers of the format expect them: no image of Apple's was at hand. */
import { createCipheriv, createHmac, pbkdf2Sync } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BlockError } from "../../../../src/base/error.js";
import { read } from "../../../../src/block/io.js";
import type { Node } from "../../../../src/block/node.js";
import { tripleDesDecrypt } from "../../../../src/codec/crypto/triple-des.js";
import { dmg } from "../../../../src/formats/dmg/dmg.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { memoryStorage } from "../../../../src/storage/memory.js";
import { dmgOf } from "../../../support/foreign-images.js";
import { chooseSeed, random } from "../../../support/random.js";
import { makeWorld, MODES, type Mode, type World } from "../../../support/world.js";

const PASSWORD = "corréct horse";
const DATA_OFFSET = 122_368;
const seed = chooseSeed();
console.log(`SEED=${seed}`);
const chance = random(seed);

interface Kind {
  keyBits: 128 | 256;
  wrap: "des-ede3-cbc" | "aes-128-cbc" | "aes-256-cbc";
  blockSize: number;
}
const kinds: readonly Kind[] = [
  { keyBits: 128, wrap: "des-ede3-cbc", blockSize: 4096 },
  { keyBits: 256, wrap: "des-ede3-cbc", blockSize: 512 },
  { keyBits: 128, wrap: "aes-128-cbc", blockSize: 512 },
  { keyBits: 256, wrap: "aes-256-cbc", blockSize: 4096 },
];

function encrypt(plain: Uint8Array, { keyBits, wrap, blockSize }: Kind): Uint8Array {
  const [key, vectorKey, salt, iv] = [keyBits / 8, 20, 20, 8].map((length) => chance.bytes(length)) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  const [wrapBits, algorithm, ivLength] = wrap === "des-ede3-cbc" ? [192, 17, 8] : [Number(wrap.slice(4, 7)), 0x80000001, 16];
  const derived = pbkdf2Sync(PASSWORD, salt, 1000, wrapBits / 8, "sha1");
  const wrapper = createCipheriv(wrap, derived, Buffer.concat([iv, Buffer.alloc(ivLength - 8)]));
  const wrapped = Buffer.concat([wrapper.update(Buffer.concat([key, vectorKey, Buffer.from("CKIE\0")])), wrapper.final()]);
  const head = Buffer.alloc(DATA_OFFSET);
  head.write("encrcdsa");
  for (const [at, value] of [
    [8, 2],
    [12, 16],
    [16, 5],
    [20, 0x80000001],
    [24, keyBits],
    [28, 91],
    [32, 160],
    [52, blockSize],
    [72, 1],
    [76, 1],
    [84, 96],
    [92, 616],
    [96, 103],
    [104, 1000],
    [108, 20],
    [144, 8],
    [180, wrapBits],
    [184, algorithm],
    [188, 7],
    [192, 6],
    [196, wrapped.length],
  ] as const)
    head.writeUInt32BE(value, at);
  head.writeBigUInt64BE(BigInt(plain.length), 56);
  head.writeBigUInt64BE(BigInt(DATA_OFFSET), 64);
  head.set(salt, 112);
  head.set(iv, 148);
  head.set(wrapped, 200);
  const blocks: Buffer[] = [head];
  for (let at = 0; at < plain.length; at += blockSize) {
    const number = Buffer.alloc(4);
    number.writeUInt32BE(at / blockSize);
    const vector = createHmac("sha1", vectorKey).update(number).digest().subarray(0, 16);
    const cipher = createCipheriv(`aes-${keyBits}-cbc`, key, vector).setAutoPadding(false);
    const block = Buffer.alloc(blockSize);
    block.set(plain.subarray(at, at + blockSize));
    blocks.push(Buffer.concat([cipher.update(block), cipher.final()]));
  }
  return new Uint8Array(Buffer.concat(blocks));
}

const content = new Uint8Array(700 * 512);
for (let at = 0; at < content.length; at += 5000) content.set(chance.bytes(Math.min(3000, content.length - at)), at);

const worldOf = (bytes: Uint8Array, mode: Mode = "sync"): World => {
  const world = makeWorld({ mode, drivers: [raw, dmg], secrets: { right: PASSWORD, wrong: "correct horse" } });
  world.files.set("image", memoryStorage(bytes, { name: "image" }));
  return world;
};
const openWith = (world: World, secret?: string): Promise<Node> =>
  world.open(null, "image", {}, secret === undefined ? {} : { "key-secret": secret });
async function failure(work: Promise<unknown>): Promise<BlockError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof BlockError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

for (const kind of kinds) {
  for (const mode of MODES) {
    test(`AES-${kind.keyBits}, keys wrapped with ${kind.wrap}, blocks of ${kind.blockSize} (${mode})`, async () => {
      for (const plain of [dmgOf(content), content]) {
        const world = worldOf(encrypt(plain, kind), mode);
        const node = await openWith(world, "right");
        assert.is(node.driver.name, "dmg");
        assert.is(node.size, content.length);
        for (const [offset, length] of [
          [0, content.length],
          [1, 511],
          [4095, 4098],
          [content.length - 700, 700],
        ] as const) {
          const seen = new Uint8Array(length);
          await world.run(read(node, seen, offset));
          assert.is(Buffer.compare(seen, content.subarray(offset, offset + length)), 0, `${length} bytes at ${offset}`);
        }
        await world.close(node);
      }
    });
  }
}

test("without the passphrase, with another one, and what lies inside", async () => {
  const bytes = encrypt(dmgOf(content), kinds[0]!);
  assert.is((await failure(openWith(worldOf(bytes)))).message, "Parameter 'key-secret' is required for cipher");
  assert.is((await failure(openWith(worldOf(bytes), "wrong"))).code, "ERR_ENCRYPTED");
  assert.is((await failure(openWith(worldOf(bytes), "none"))).message, "No secret with id 'none'");
  const sparse = content.slice();
  sparse.set(Buffer.from("sprs"));
  assert.match((await failure(openWith(worldOf(encrypt(sparse, kinds[0]!)), "right"))).message, /sparse image of the old kind/);
  assert.match(
    (await failure(openWith(worldOf(bytes.slice(0, bytes.length - 5000)), "right"))).message,
    /lies outside of the file/,
  );
});

test("damaged headers are refused in words or read", async () => {
  const whole = encrypt(dmgOf(content), kinds[0]!);
  for (let i = 0; i < 150; i++) {
    const bytes = whole.slice();
    const at = 8 + chance.int(256);
    bytes[at] = chance.pick([0, 0xff, 0x80, bytes[at]! ^ 1]);
    // Many iterations are work, not harm.
    bytes.set([0, 0], 104);
    const world = worldOf(bytes);
    try {
      const node = await openWith(world, "right");
      await world.run(read(node, new Uint8Array(4096), 0));
      await world.close(node);
    } catch (error) {
      assert.instance(error, BlockError, `byte ${at}: ${(error as Error).stack}`);
    }
  }
  const many = whole.slice();
  many.fill(0xff, 104, 108);
  assert.is((await failure(openWith(worldOf(many), "right"))).code, "ERR_TOO_LARGE");
});

test("triple DES is OpenSSL's", () => {
  for (let i = 0; i < 20; i++) {
    const [key, plain] = [chance.bytes(24), chance.bytes(64)];
    const cipher = createCipheriv("des-ede3-ecb", key, null).setAutoPadding(false);
    const seen = new Uint8Array(64);
    tripleDesDecrypt(key, Buffer.concat([cipher.update(plain), cipher.final()]), seen);
    assert.equal(seen, plain);
  }
});

test.run();
