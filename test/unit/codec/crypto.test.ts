import { createCipheriv } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeText, toHex } from "../../../src/base/bytes.js";
import type { BlockError } from "../../../src/base/error.js";
import { afMerge, afSplit, secureRandom } from "../../../src/codec/crypto/af.js";
import { CIPHER_KEY_BYTES, type CipherName, type Crypto, type HashName } from "../../../src/codec/crypto/crypto.js";
import { portableCrypto } from "../../../src/codec/crypto/portable-crypto.js";
import {
  makeSectorCipher,
  sectorKeyBytes,
  type CipherMode,
  type SectorCipherOptions,
} from "../../../src/codec/crypto/sector-cipher.js";
import { nodeCrypto } from "../../../src/codec/node-crypto.js";
import { same, sample } from "./sample.js";

const bytes = (hex: string): Uint8Array =>
  Uint8Array.from(hex.replace(/ /g, "").match(/../g) ?? [], (pair) => parseInt(pair, 16));
const all: [string, Crypto][] = [
  ["node", nodeCrypto],
  ["portable", portableCrypto],
];
const key = (length: number, salt = 1): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 37 + salt * 101) & 255);

/** cipher, key, plain, encrypted: FIPS 197 appendix C; the Twofish paper; NESSIE's set 1 for Serpent, and libgcrypt's. */
const BLOCKS: [CipherName, string, string, string][] = [
  ["aes-128", "000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"],
  [
    "aes-192",
    "000102030405060708090a0b0c0d0e0f1011121314151617",
    "00112233445566778899aabbccddeeff",
    "dda97ca4864cdfe06eaf70a0ec0d7191",
  ],
  [
    "aes-256",
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "00112233445566778899aabbccddeeff",
    "8ea2b7ca516745bfeafc49904b496089",
  ],
  ["twofish-128", "00".repeat(16), "00".repeat(16), "9f589f5cf6122c32b6bfec2f2ae8c35a"],
  ["twofish-192", "0123456789abcdeffedcba98765432100011223344556677", "00".repeat(16), "cfd1d2e5a9be9cdf501f13b892bd2248"],
  [
    "twofish-256",
    "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
    "00".repeat(16),
    "37527be0052334b89f0cfccae87cfa20",
  ],
  ["serpent-128", "80" + "00".repeat(15), "00".repeat(16), "264e5481eff42a4606abda06c0bfda3d"],
  ["serpent-192", "80" + "00".repeat(23), "00".repeat(16), "9e274ead9b737bb21efcfca548602689"],
  ["serpent-256", "80" + "00".repeat(31), "00".repeat(16), "a223aa1288463c0e2be38ebd825616c0"],
  ["serpent-256", "00".repeat(32), "d095576fcea3e3a7ed98d9f29073d78e", "b90ee5862de69168f2bdd5125b45472b"],
];

for (const [who, crypto] of all) {
  test(`${who}: published blocks`, () => {
    for (const [name, k, plain, encrypted] of BLOCKS) {
      const cipher = crypto.blockCipher(name, bytes(k));
      for (const lead of [0, 1, 4]) {
        // In place and not, aligned and not, several blocks.
        const buffer = new Uint8Array(lead + 48);
        const data = buffer.subarray(lead);
        data.set(bytes(plain + plain + plain));
        cipher.encrypt(data, data);
        assert.is(toHex(data), encrypted.repeat(3), name);
        const out = new Uint8Array(48);
        cipher.decrypt(data, out);
        assert.is(toHex(out), plain.repeat(3), name);
      }
    }
    assert.throws(
      () => crypto.blockCipher("aes-256", key(31)),
      (e: BlockError) => e.code === "ERR_INVALID_ARGUMENT",
    );
  });

  test(`${who}: XTS of IEEE 1619`, () => {
    // Vectors 1, 2 (32 bytes) and 10 (AES-256, first and last 16 bytes of 512).
    const one = makeSectorCipher(crypto, {
      cipher: "aes-128",
      mode: "xts",
      ivgen: "plain64",
      key: new Uint8Array(32),
      sectorSize: 32,
    });
    const data = new Uint8Array(32);
    one.encrypt(data, 0);
    assert.is(toHex(data), "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e");
    const two = makeSectorCipher(crypto, {
      cipher: "aes-128",
      mode: "xts",
      ivgen: "plain64",
      key: bytes("11".repeat(16) + "22".repeat(16)),
      sectorSize: 32,
    });
    data.fill(0x44);
    two.encrypt(data, 0x3333333333);
    assert.is(toHex(data), "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0");
    const ten = makeSectorCipher(crypto, {
      cipher: "aes-256",
      mode: "xts",
      ivgen: "plain64",
      key: bytes(
        "27182818284590452353602874713526624977572470936999595749669676273141592653589793238462643383279502884197169399375105820974944592",
      ),
    });
    const sector = Uint8Array.from({ length: 512 }, (_, i) => i & 255);
    ten.encrypt(sector, 0xff);
    assert.is(toHex(sector.subarray(0, 16)), "1c3b3a102f770386e4836c99e370cf9b");
    ten.decrypt(sector, 0xff);
    same(
      sector,
      Uint8Array.from({ length: 512 }, (_, i) => i & 255),
    );
  });

  test(`${who}: CBC and CTR agree with OpenSSL sector by sector`, () => {
    const plain = sample(512 * 150, 3);
    for (const [mode, ivgen, first] of [
      ["cbc", "plain64", 7],
      ["cbc", "plain64", 2 ** 40 + 5],
      ["cbc", "plain", 2 ** 32 - 2],
      ["cbc", "essiv", 9],
      ["ctr", "plain64", 3],
    ] as const) {
      const k = key(32);
      const cipher = makeSectorCipher(crypto, { cipher: "aes-256", mode, ivgen, ivgenHash: "sha256", key: k });
      const data = Uint8Array.from(plain);
      cipher.encrypt(data, first);
      for (const i of [0, 1, 2, 63, 127, 128, 149]) {
        const iv = new Uint8Array(16);
        const number = BigInt(first + i);
        new DataView(iv.buffer).setBigUint64(0, ivgen === "plain" ? number & 0xffffffffn : number, true);
        if (ivgen === "essiv") crypto.blockCipher("aes-256", crypto.hash("sha256", k)).encrypt(iv, iv);
        const openssl = createCipheriv(`aes-256-${mode}`, k, iv).setAutoPadding(false);
        same(
          data.subarray(i * 512, (i + 1) * 512),
          new Uint8Array(openssl.update(plain.subarray(i * 512, (i + 1) * 512))),
          `${mode} ${ivgen} ${i}`,
        );
      }
      cipher.decrypt(data, first);
      same(data, plain);
    }
  });

  test(`${who}: hashes and PBKDF2`, async () => {
    const abc: [HashName, string][] = [
      ["md5", "900150983cd24fb0d6963f7d28e17f72"],
      ["sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"],
      ["sha224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"],
      ["sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
      ["sha384", "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"],
      ["ripemd160", "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"],
    ];
    for (const [name, digest] of abc) assert.is(toHex(crypto.hash(name, encodeText("abc"))), digest);
    // RFC 6070
    const rfc = {
      hash: "sha1",
      password: encodeText("password"),
      salt: encodeText("salt"),
      iterations: 4096,
      length: 20,
    } as const;
    assert.is(toHex(crypto.pbkdf2Sync(rfc)), "4b007901b765489abead49d926f721d065a429c1");
    for (const hash of ["sha1", "sha256", "sha512", "ripemd160"] as const) {
      const p = { ...rfc, hash, iterations: 500, length: 75 };
      assert.equal(await crypto.pbkdf2(p), crypto.pbkdf2Sync(p));
      assert.equal(crypto.pbkdf2Sync(p), portableCrypto.pbkdf2Sync(p));
    }
    for (const wrong of [{ iterations: 0 }, { iterations: 1.5 }, { length: 0 }])
      assert.throws(
        () => crypto.pbkdf2Sync({ ...rfc, ...wrong }),
        (e: BlockError) => e.code === "ERR_INVALID_ARGUMENT",
      );
  });

  test(`${who}: anti-forensic split and merge`, () => {
    for (const [hash, length, stripes] of [
      ["sha256", 64, 4000],
      ["sha1", 32, 7],
      ["sha512", 48, 1],
      ["ripemd160", 33, 10],
    ] as const) {
      const secret = key(length);
      const material = afSplit(crypto, hash, secret, stripes, secureRandom);
      assert.is(material.length, length * stripes);
      assert.equal(afMerge(crypto, hash, material, stripes), secret);
      if (stripes > 1) {
        material[0]! ^= 1;
        assert.not.equal(afMerge(crypto, hash, material, stripes), secret);
      }
    }
    assert.throws(() => afMerge(crypto, "sha256", new Uint8Array(10), 3), /stripes/);
    assert.throws(
      () => afSplit(crypto, "sha256", key(64), 1e9, secureRandom),
      (e: BlockError) => e.code === "ERR_TOO_LARGE",
    );
  });
}

test("every cipher and mode: node and portable agree, runs split anywhere, decrypt undoes encrypt", () => {
  const plain = sample(512 * 131, 5);
  for (const cipher of Object.keys(CIPHER_KEY_BYTES) as CipherName[])
    for (const mode of ["ecb", "cbc", "ctr", "xts"] as CipherMode[]) {
      const options: SectorCipherOptions = { cipher, mode, ivgen: "plain64", key: key(sectorKeyBytes(cipher, mode)) };
      const one = makeSectorCipher(nodeCrypto, options);
      const two = makeSectorCipher(portableCrypto, options);
      const a = Uint8Array.from(plain);
      const b = Uint8Array.from(plain);
      one.encrypt(a, 1000);
      for (let at = 0, step = 1; at < 131; at += step, step = (step * 2) % 13 || 1)
        two.encrypt(b.subarray(at * 512, Math.min(131, at + step) * 512), 1000 + at);
      same(a, b, `${cipher} ${mode}`);
      assert.not.equal(a, plain);
      two.decrypt(a, 1000);
      same(a, plain, `${cipher} ${mode}`);
      one.decrypt(b, 1000);
      same(b, plain);
    }
});

test("sector cipher options are checked", () => {
  const base: SectorCipherOptions = { cipher: "aes-256", mode: "xts", ivgen: "plain64", key: key(64) };
  const invalid = (options: Partial<SectorCipherOptions>, code = "ERR_INVALID_ARGUMENT"): void =>
    assert.throws(
      () => makeSectorCipher(portableCrypto, { ...base, ...options }),
      (e: BlockError) => e.code === code,
    );
  invalid({ key: key(32) });
  invalid({ sectorSize: 0 });
  invalid({ sectorSize: 520 });
  invalid({ ivgen: "essiv" });
  invalid({ ivgen: "essiv", ivgenHash: "sha1" }, "ERR_UNSUPPORTED");
  const cipher = makeSectorCipher(portableCrypto, base);
  assert.throws(() => cipher.encrypt(new Uint8Array(513), 0), /whole sectors/);
  assert.throws(() => cipher.decrypt(new Uint8Array(512), -1), /whole sectors/);
});

test.run();
