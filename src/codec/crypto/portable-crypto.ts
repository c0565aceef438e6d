/** Cryptography that runs anywhere: @noble/ciphers and @noble/hashes, and WebCrypto where it is faster and asynchronous. */
import { md5, ripemd160, sha1 } from "@noble/hashes/legacy.js";
import { pbkdf2, pbkdf2Async } from "@noble/hashes/pbkdf2.js";
import { sha224, sha256, sha384, sha512 } from "@noble/hashes/sha2.js";
import { portableAes } from "./aes.js";
import {
  checkKey,
  checkPbkdf2,
  type BlockCipher,
  type CipherName,
  type Crypto,
  type HashName,
  type Pbkdf2Parameters,
} from "./crypto.js";
import { serpent } from "./serpent.js";
import { twofish } from "./twofish.js";

const HASHES = { md5, sha1, sha224, sha256, sha384, sha512, ripemd160 };
const SUBTLE: Partial<Record<HashName, string>> = { sha1: "SHA-1", sha256: "SHA-256", sha384: "SHA-384", sha512: "SHA-512" };

/** A plain array over memory of its own: WebCrypto refuses views on shared memory. */
const own = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => Uint8Array.from(bytes);

function blockCipher(name: CipherName, key: Uint8Array): BlockCipher {
  checkKey(name, key);
  if (name.startsWith("aes")) return portableAes(key);
  return name.startsWith("serpent") ? serpent(key) : twofish(key);
}

export const portableCrypto: Crypto = {
  blockCipher,
  hash: (name, bytes) => HASHES[name](bytes),
  pbkdf2Sync: (parameters) => {
    checkPbkdf2(parameters);
    const { hash, password, salt, iterations, length } = parameters;
    return pbkdf2(HASHES[hash], password, salt, { c: iterations, dkLen: length });
  },
  pbkdf2: async (parameters: Pbkdf2Parameters) => {
    checkPbkdf2(parameters);
    const { hash, password, salt, iterations, length } = parameters;
    const subtle = globalThis.crypto?.subtle; // absent on insecure pages
    const name = SUBTLE[hash];
    if (subtle !== undefined && name !== undefined) {
      try {
        const key = await subtle.importKey("raw", own(password), "PBKDF2", false, ["deriveBits"]);
        return new Uint8Array(
          await subtle.deriveBits({ name: "PBKDF2", hash: name, salt: own(salt), iterations }, key, length * 8),
        );
      } catch {
        // Some runtimes cap the iterations; the portable derivation has no cap.
      }
    }
    return pbkdf2Async(HASHES[hash], password, salt, { c: iterations, dkLen: length });
  },
};
