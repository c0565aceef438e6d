/** Cryptography over node:crypto: one bulk ECB call per run of sectors, hashes and PBKDF2 from OpenSSL. */
import { createCipheriv, createDecipheriv, createHash, pbkdf2, pbkdf2Sync, type Cipher } from "node:crypto";
import { checkKey, checkPbkdf2, type BlockCipher, type Crypto } from "./crypto/crypto.js";
import { portableCrypto } from "./crypto/portable-crypto.js";

/** ECB has no state between blocks: one cipher object per direction serves every call. */
function nodeAes(name: string, key: Uint8Array): BlockCipher {
  const encryptor = createCipheriv(`${name}-ecb`, key, null).setAutoPadding(false);
  const decryptor = createDecipheriv(`${name}-ecb`, key, null).setAutoPadding(false);
  const run = (cipher: { update: Cipher["update"] }) => (from: Uint8Array, into: Uint8Array): void => into.set(cipher.update(from));
  return { encrypt: run(encryptor), decrypt: run(decryptor as unknown as { update: Cipher["update"] }) };
}

export const nodeCrypto: Crypto = {
  blockCipher: (name, key) => {
    checkKey(name, key);
    if (!name.startsWith("aes")) return portableCrypto.blockCipher(name, key);
    try {
      return nodeAes(name, key);
    } catch {
      return portableCrypto.blockCipher(name, key); // a runtime whose node:crypto lacks this cipher
    }
  },
  hash: (name, bytes) => {
    try {
      return Uint8Array.from(createHash(name).update(bytes).digest());
    } catch {
      return portableCrypto.hash(name, bytes); // e.g. ripemd160 without OpenSSL's legacy provider
    }
  },
  pbkdf2Sync: (parameters) => {
    checkPbkdf2(parameters);
    const { hash, password, salt, iterations, length } = parameters;
    try {
      return Uint8Array.from(pbkdf2Sync(password, salt, iterations, length, hash));
    } catch {
      return portableCrypto.pbkdf2Sync(parameters);
    }
  },
  pbkdf2: async (parameters) => {
    checkPbkdf2(parameters);
    const { hash, password, salt, iterations, length } = parameters;
    const derived = await new Promise<Uint8Array | null>((resolve) => {
      try {
        pbkdf2(password, salt, iterations, length, hash, (error, key) => resolve(error === null ? Uint8Array.from(key) : null));
      } catch {
        resolve(null);
      }
    });
    return derived ?? portableCrypto.pbkdf2(parameters);
  },
};
