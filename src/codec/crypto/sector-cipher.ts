/**
 * Encryption of disk sectors: the modes and initialization vectors of LUKS1 and of QEMU's legacy AES, built on a bulk
 * block cipher. Whole runs of sectors are worked on at once: XTS costs two bulk calls per run, CBC decryption one,
 * and CBC encryption chains all sectors of a run side by side.
 */
import { BlockError } from "../../base/error.js";
import {
  BLOCK_BYTES,
  CIPHER_KEY_BYTES,
  HASH_BYTES,
  isCipherName,
  type BlockCipher,
  type CipherName,
  type Crypto,
  type HashName,
} from "./crypto.js";

export type CipherMode = "ecb" | "cbc" | "ctr" | "xts";
export type IvGenerator = "plain" | "plain64" | "essiv";

export interface SectorCipherOptions {
  cipher: CipherName;
  mode: CipherMode;
  /** Needed by every mode but ecb. */
  ivgen?: IvGenerator;
  /** Digest of the key for essiv. */
  ivgenHash?: HashName;
  /** The whole key: twice the cipher's size for xts. */
  key: Uint8Array;
  /** Bytes with one initialization vector; a multiple of 16. Default 512. */
  sectorSize?: number;
}

export interface SectorCipher {
  readonly sectorSize: number;
  /** Encrypts whole sectors in place; the first is number `sector` (a safe integer). */
  encrypt(bytes: Uint8Array, sector: number): void;
  decrypt(bytes: Uint8Array, sector: number): void;
}

/** How many key bytes an image with this cipher and mode must have. */
export function sectorKeyBytes(cipher: CipherName, mode: CipherMode): number {
  return CIPHER_KEY_BYTES[cipher] * (mode === "xts" ? 2 : 1);
}

/** Bytes worked on at once; what a sector cipher allocates is a small multiple of it. */
const RUN = 65536;

/** Writes the initialization vectors of consecutive sectors, 16 bytes each. */
type WriteIvs = (into: Uint8Array, words: Int32Array, sector: number, count: number) => void;

function plainIvs(wide: boolean): WriteIvs {
  return (_into, words, sector, count) => {
    words.fill(0, 0, count * 4);
    for (let i = 0; i < count; i++) {
      const number = sector + i;
      words[i * 4] = number % 4294967296;
      if (wide) words[i * 4 + 1] = Math.floor(number / 4294967296);
    }
  };
}

function essivIvs(crypto: Crypto, options: SectorCipherOptions): WriteIvs {
  if (options.ivgenHash === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "Hash algorithm is required for essiv");
  const digest = crypto.hash(options.ivgenHash, options.key);
  const name = `${options.cipher.slice(0, options.cipher.indexOf("-"))}-${HASH_BYTES[options.ivgenHash] * 8}`;
  if (!isCipherName(name))
    throw new BlockError(
      "ERR_UNSUPPORTED",
      `No ${options.cipher.replace(/-.*/, "")} cipher with the key size of ${options.ivgenHash} for essiv`,
    );
  const salted = crypto.blockCipher(name, digest);
  const plain = plainIvs(true);
  return (into, words, sector, count) => {
    plain(into, words, sector, count);
    const ivs = into.subarray(0, count * BLOCK_BYTES);
    salted.encrypt(ivs, ivs);
  };
}

function ivWriter(crypto: Crypto, options: SectorCipherOptions): WriteIvs {
  if (options.ivgen === "essiv") return essivIvs(crypto, options);
  if (options.ivgen === undefined)
    throw new BlockError("ERR_INVALID_ARGUMENT", `An IV generator is required for ${options.mode}`);
  return plainIvs(options.ivgen === "plain64");
}

/** data ^= mask over `words` 32-bit words. */
function xor(data: Int32Array, mask: Int32Array, words: number): void {
  for (let i = 0; i < words; i++) data[i]! ^= mask[i]!;
}

/** A transformation of `count` sectors, beginning with number `sector`, that fill `data`. */
type Transform = (data: Run, sector: number, count: number) => void;

interface Run {
  bytes: Uint8Array;
  words: Int32Array;
}
const newRun = (length: number): Run => {
  const bytes = new Uint8Array(length);
  return { bytes, words: new Int32Array(bytes.buffer) };
};

/**
 * data ^= tweaks: each sector's begins with its encrypted vector, each block's is twice the one before in GF(2^128). The tweaks
 * are computed in passing, before and after the cipher: cheaper than keeping them.
 */
function xorTweaks(ivs: Int32Array, data: Int32Array, blocks: number, count: number): void {
  let at = 0;
  for (let i = 0; i < count; i++) {
    let a = ivs[i * 4]!,
      b = ivs[i * 4 + 1]!,
      c = ivs[i * 4 + 2]!,
      d = ivs[i * 4 + 3]!;
    for (let block = 0; block < blocks; block++) {
      data[at]! ^= a;
      data[at + 1]! ^= b;
      data[at + 2]! ^= c;
      data[at + 3]! ^= d;
      at += 4;
      const carry = (d >> 31) & 0x87;
      d = (d << 1) | (c >>> 31);
      c = (c << 1) | (b >>> 31);
      b = (b << 1) | (a >>> 31);
      a = (a << 1) ^ carry;
    }
  }
}

function xts(
  main: BlockCipher,
  tweak: BlockCipher,
  writeIvs: WriteIvs,
  sectorSize: number,
  runSectors: number,
): [Transform, Transform] {
  const blocks = sectorSize / BLOCK_BYTES;
  const ivs = newRun(runSectors * BLOCK_BYTES);
  const transform =
    (direction: "encrypt" | "decrypt"): Transform =>
    (data, sector, count) => {
      writeIvs(ivs.bytes, ivs.words, sector, count);
      const used = ivs.bytes.subarray(0, count * BLOCK_BYTES);
      tweak.encrypt(used, used);
      xorTweaks(ivs.words, data.words, blocks, count);
      main[direction](data.bytes, data.bytes);
      xorTweaks(ivs.words, data.words, blocks, count);
    };
  return [transform("encrypt"), transform("decrypt")];
}

function cbc(main: BlockCipher, writeIvs: WriteIvs, sectorSize: number, runSectors: number): [Transform, Transform] {
  const sectorWords = sectorSize >> 2;
  const ivs = newRun(runSectors * BLOCK_BYTES);
  const before = newRun(runSectors * sectorSize);
  /** Block number `block` of every sector goes through the cipher in one call: `ivs` holds the chains' ends. */
  const encrypt: Transform = (data, sector, count) => {
    writeIvs(ivs.bytes, ivs.words, sector, count);
    const chain = ivs.words;
    const used = ivs.bytes.subarray(0, count * BLOCK_BYTES);
    const words = data.words;
    for (let block = 0; block < sectorWords; block += 4) {
      for (let i = 0, at = block; i < count * 4; i += 4, at += sectorWords) {
        chain[i]! ^= words[at]!;
        chain[i + 1]! ^= words[at + 1]!;
        chain[i + 2]! ^= words[at + 2]!;
        chain[i + 3]! ^= words[at + 3]!;
      }
      main.encrypt(used, used);
      for (let i = 0, at = block; i < count * 4; i += 4, at += sectorWords) {
        words[at] = chain[i]!;
        words[at + 1] = chain[i + 1]!;
        words[at + 2] = chain[i + 2]!;
        words[at + 3] = chain[i + 3]!;
      }
    }
  };
  const decrypt: Transform = (data, sector, count) => {
    writeIvs(ivs.bytes, ivs.words, sector, count);
    const words = count * sectorWords;
    // `before` becomes what each block is chained to: the block before it, or the sector's vector.
    before.words.set(data.words.subarray(0, words - 4), 4);
    for (let i = 0; i < count; i++) before.words.set(ivs.words.subarray(i * 4, i * 4 + 4), i * sectorWords);
    main.decrypt(data.bytes, data.bytes);
    xor(data.words, before.words, words);
  };
  return [encrypt, decrypt];
}

function ctr(main: BlockCipher, writeIvs: WriteIvs, sectorSize: number, runSectors: number): [Transform, Transform] {
  const ivs = newRun(runSectors * BLOCK_BYTES);
  const mask = newRun(runSectors * sectorSize);
  const transform: Transform = (data, sector, count) => {
    writeIvs(ivs.bytes, ivs.words, sector, count);
    for (let i = 0; i < count; i++) {
      const counter = ivs.bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES);
      for (let at = i * sectorSize; at < (i + 1) * sectorSize; at += BLOCK_BYTES) {
        mask.bytes.set(counter, at);
        for (let byte = BLOCK_BYTES - 1; byte >= 0; byte--) {
          counter[byte]!++;
          if (counter[byte] !== 0) break;
        }
      }
    }
    const used = mask.bytes.subarray(0, count * sectorSize);
    main.encrypt(used, used);
    xor(data.words, mask.words, (count * sectorSize) >> 2);
  };
  return [transform, transform];
}

function ecb(main: BlockCipher): [Transform, Transform] {
  const transform =
    (direction: "encrypt" | "decrypt"): Transform =>
    (data) => {
      main[direction](data.bytes, data.bytes);
    };
  return [transform("encrypt"), transform("decrypt")];
}

/** Builds the cipher of an image. ERR_INVALID_ARGUMENT for a key of the wrong size or options that do not fit together. */
export function makeSectorCipher(crypto: Crypto, options: SectorCipherOptions): SectorCipher {
  const { cipher, mode, key, sectorSize = 512 } = options;
  if (!Number.isInteger(sectorSize) || sectorSize < BLOCK_BYTES || sectorSize > 1 << 20 || sectorSize % BLOCK_BYTES !== 0)
    throw new BlockError("ERR_INVALID_ARGUMENT", `Sector size ${sectorSize} can not be encrypted`);
  if (key.length !== sectorKeyBytes(cipher, mode))
    throw new BlockError("ERR_INVALID_ARGUMENT", `Cipher key length ${key.length} should be ${sectorKeyBytes(cipher, mode)}`);
  const runSectors = Math.max(1, Math.floor(RUN / sectorSize));
  const half = mode === "xts" ? key.length / 2 : key.length;
  const main = crypto.blockCipher(cipher, key.subarray(0, half));
  let pair: [Transform, Transform];
  if (mode === "ecb") pair = ecb(main);
  else {
    const writeIvs = ivWriter(crypto, options);
    if (mode === "xts") pair = xts(main, crypto.blockCipher(cipher, key.subarray(half)), writeIvs, sectorSize, runSectors);
    else if (mode === "cbc") pair = cbc(main, writeIvs, sectorSize, runSectors);
    else pair = ctr(main, writeIvs, sectorSize, runSectors);
  }
  const over =
    (transform: Transform) =>
    (bytes: Uint8Array, sector: number): void => {
      if (bytes.length % sectorSize !== 0 || !Number.isSafeInteger(sector) || sector < 0)
        throw new BlockError("ERR_INVALID_ARGUMENT", "Only whole sectors can be encrypted");
      for (let at = 0; at < bytes.length; at += runSectors * sectorSize) {
        const part = bytes.subarray(at, at + runSectors * sectorSize);
        const aligned = (part.byteOffset & 3) === 0;
        const run = aligned ? part : part.slice();
        transform(
          { bytes: run, words: new Int32Array(run.buffer, run.byteOffset, run.length >> 2) },
          sector + at / sectorSize,
          run.length / sectorSize,
        );
        if (!aligned) part.set(run);
      }
    };
  return { sectorSize, encrypt: over(pair[0]), decrypt: over(pair[1]) };
}
