/** What encrypted images (LUKS, legacy qcow AES) need of cryptography, and the names QEMU and LUKS use for it. */
import { BlockError } from "../../base/error.js";

/** Ciphers by QEMU's names (QCryptoCipherAlgorithm). */
export type CipherName =
  | "aes-128"
  | "aes-192"
  | "aes-256"
  | "serpent-128"
  | "serpent-192"
  | "serpent-256"
  | "twofish-128"
  | "twofish-192"
  | "twofish-256";

export type HashName = "md5" | "sha1" | "sha224" | "sha256" | "sha384" | "sha512" | "ripemd160";

/** Key sizes in bytes. */
export const CIPHER_KEY_BYTES: Readonly<Record<CipherName, number>> = {
  "aes-128": 16,
  "aes-192": 24,
  "aes-256": 32,
  "serpent-128": 16,
  "serpent-192": 24,
  "serpent-256": 32,
  "twofish-128": 16,
  "twofish-192": 24,
  "twofish-256": 32,
};

/** Digest sizes in bytes. */
export const HASH_BYTES: Readonly<Record<HashName, number>> = {
  md5: 16,
  sha1: 20,
  sha224: 28,
  sha256: 32,
  sha384: 48,
  sha512: 64,
  ripemd160: 20,
};

export const isCipherName = (name: string): name is CipherName => Object.hasOwn(CIPHER_KEY_BYTES, name);
export const isHashName = (name: string): name is HashName => Object.hasOwn(HASH_BYTES, name);

/** The bytes of one block of every cipher here. */
export const BLOCK_BYTES = 16;

/**
 * A keyed 16-byte block cipher over many independent blocks at once (ECB). `from` and `into` have one length, a multiple
 * of 16, and are the same array or do not overlap.
 */
export interface BlockCipher {
  encrypt(from: Uint8Array, into: Uint8Array): void;
  decrypt(from: Uint8Array, into: Uint8Array): void;
}

export interface Pbkdf2Parameters {
  hash: HashName;
  password: Uint8Array;
  salt: Uint8Array;
  /** At least 1. The caller limits what an image may ask for. */
  iterations: number;
  /** Bytes wanted. */
  length: number;
}

/** One runtime's cryptography. All of it works synchronously; `pbkdf2` also off the calling thread where possible. */
export interface Crypto {
  /** ERR_INVALID_ARGUMENT when the key has not the size the cipher wants. */
  blockCipher(name: CipherName, key: Uint8Array): BlockCipher;
  hash(name: HashName, bytes: Uint8Array): Uint8Array;
  pbkdf2Sync(parameters: Pbkdf2Parameters): Uint8Array;
  pbkdf2(parameters: Pbkdf2Parameters): Promise<Uint8Array>;
}

/** Checks `key` against `name`. */
export function checkKey(name: CipherName, key: Uint8Array): void {
  if (key.length !== CIPHER_KEY_BYTES[name])
    throw new BlockError("ERR_INVALID_ARGUMENT", `Cipher key length ${key.length} should be ${CIPHER_KEY_BYTES[name]}`);
}

/** Checks PBKDF2 parameters that no implementation takes. */
export function checkPbkdf2(parameters: Pbkdf2Parameters): void {
  const { iterations, length } = parameters;
  if (!Number.isInteger(iterations) || iterations < 1 || iterations > 0xffffffff)
    throw new BlockError("ERR_INVALID_ARGUMENT", `PBKDF2 iteration count ${iterations} is out of range`);
  if (!Number.isInteger(length) || length < 1 || length > 65536)
    throw new BlockError("ERR_INVALID_ARGUMENT", `PBKDF2 key length ${length} is out of range`);
}
