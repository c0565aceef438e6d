/** Cryptography over node:crypto: one bulk ECB call per run of sectors, hashes and PBKDF2 from OpenSSL. */
import type { Cipher } from "node:crypto";
import { pbkdf2 as portablePbkdf2 } from "@noble/hashes/pbkdf2.js";
import { ripemd160 } from "@noble/hashes/legacy.js";
import { BlockError } from "../base/error.js";
import { checkKey, checkPbkdf2, type BlockCipher, type Crypto, type HashName, type Pbkdf2Parameters } from "./crypto/crypto.js";
import { serpent } from "./crypto/serpent.js";
import { twofish } from "./crypto/twofish.js";

/** Loaded when an encrypted image needs it: most programs never do, and it takes a while. */
const openssl = (): typeof import("node:crypto") => process.getBuiltinModule("node:crypto");

/** ECB has no state between blocks: one cipher object per direction serves every call. */
function nodeAes(name: string, key: Uint8Array): BlockCipher {
  const encryptor = openssl().createCipheriv(`${name}-ecb`, key, null).setAutoPadding(false);
  const decryptor = openssl().createDecipheriv(`${name}-ecb`, key, null).setAutoPadding(false);
  const run =
    (cipher: { update: Cipher["update"] }) =>
    (from: Uint8Array, into: Uint8Array): void =>
      into.set(cipher.update(from));
  return { encrypt: run(encryptor), decrypt: run(decryptor as unknown as { update: Cipher["update"] }) };
}

/** OpenSSL may come without RIPEMD-160 (its legacy provider); every other hash it has. */
function withoutOpenssl(name: HashName, cause: unknown): typeof ripemd160 {
  if (name === "ripemd160") return ripemd160;
  throw new BlockError("ERR_UNSUPPORTED", `This runtime has no hash '${name}'`, { cause });
}

function derivePortably({ hash, password, salt, iterations, length }: Pbkdf2Parameters, cause: unknown): Uint8Array {
  return portablePbkdf2(withoutOpenssl(hash, cause), password, salt, { c: iterations, dkLen: length });
}

export const nodeCrypto: Crypto = {
  blockCipher: (name, key) => {
    checkKey(name, key);
    if (name.startsWith("aes")) return nodeAes(name, key);
    return name.startsWith("serpent") ? serpent(key) : twofish(key);
  },
  hash: (name, bytes) => {
    try {
      return Uint8Array.from(openssl().createHash(name).update(bytes).digest());
    } catch (error) {
      return withoutOpenssl(name, error)(bytes);
    }
  },
  pbkdf2Sync: (parameters) => {
    checkPbkdf2(parameters);
    const { hash, password, salt, iterations, length } = parameters;
    try {
      return Uint8Array.from(openssl().pbkdf2Sync(password, salt, iterations, length, hash));
    } catch (error) {
      return derivePortably(parameters, error);
    }
  },
  pbkdf2: async (parameters) => {
    checkPbkdf2(parameters);
    const { hash, password, salt, iterations, length } = parameters;
    const derived = await new Promise<Uint8Array | Error>((resolve) => {
      try {
        openssl().pbkdf2(password, salt, iterations, length, hash, (error, key) => resolve(error ?? Uint8Array.from(key)));
      } catch (error) {
        resolve(error as Error);
      }
    });
    return derived instanceof Error ? derivePortably(parameters, derived) : derived;
  },
};
