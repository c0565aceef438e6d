/** Portable AES over the block function of @noble/ciphers. */
import { unsafe } from "@noble/ciphers/aes.js";
import type { BlockCipher } from "./crypto.js";
import { wordCipher } from "./words.js";

export function portableAes(key: Uint8Array): BlockCipher {
  const encryptKeys = unsafe.expandKeyLE(key);
  const decryptKeys = unsafe.expandKeyDecLE(key);
  return wordCipher(
    (words) => {
      for (let i = 0; i < words.length; i += 4) {
        const { s0, s1, s2, s3 } = unsafe.encrypt(encryptKeys, words[i]!, words[i + 1]!, words[i + 2]!, words[i + 3]!);
        words[i] = s0;
        words[i + 1] = s1;
        words[i + 2] = s2;
        words[i + 3] = s3;
      }
    },
    (words) => {
      for (let i = 0; i < words.length; i += 4) {
        const { s0, s1, s2, s3 } = unsafe.decrypt(decryptKeys, words[i]!, words[i + 1]!, words[i + 2]!, words[i + 3]!);
        words[i] = s0;
        words[i + 1] = s1;
        words[i + 2] = s2;
        words[i + 3] = s3;
      }
    },
  );
}
