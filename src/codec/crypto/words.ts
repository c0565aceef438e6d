/** Block ciphers work on 32-bit little-endian words; this runs one over the words of any byte array. */
import type { BlockCipher } from "./crypto.js";

/** Transforms whole blocks of four words in place. */
export type WordCipher = (words: Int32Array) => void;

function run(cipher: WordCipher, from: Uint8Array, into: Uint8Array): void {
  if (into !== from) into.set(from);
  if ((into.byteOffset & 3) === 0) {
    cipher(new Int32Array(into.buffer, into.byteOffset, into.length >> 2));
    return;
  }
  const aligned = Uint8Array.from(into);
  cipher(new Int32Array(aligned.buffer));
  into.set(aligned);
}

export function wordCipher(encrypt: WordCipher, decrypt: WordCipher): BlockCipher {
  return { encrypt: (from, into) => run(encrypt, from, into), decrypt: (from, into) => run(decrypt, from, into) };
}
