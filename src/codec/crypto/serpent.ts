/**
 * Serpent (Anderson, Biham, Knudsen, 1998) with 128, 192 and 256-bit keys, on 32 bit lanes at once.
 *
 * The S-box lines are the algebraic normal forms of the published tables with common variables factored out; `a` is the
 * least significant bit of a table's index, `w` of its value.
 */
import { viewOf } from "../../base/bytes.js";
import type { BlockCipher } from "./crypto.js";
import { wordCipher } from "./words.js";

const rotl = (value: number, bits: number): number => (value << bits) | (value >>> (32 - bits));

/** The eight S-boxes as tables, for the key schedule. */
const BOXES = [
  "38f1a65bed42709c",
  "fc27905a1be86d34",
  "86793cafd1e40b52",
  "0fb8c963d124a75e",
  "1f83c0b6254a9e7d",
  "f52b4a9c03e8d671",
  "72c5846be91fd3a0",
  "1df0e82b74ca9356",
].map((digits) => Uint8Array.from(digits, (digit) => parseInt(digit, 16)));

/** 33 round keys of four words. */
function schedule(key: Uint8Array): Int32Array {
  const padded = new Uint8Array(32);
  padded.set(key);
  if (key.length < 32) padded[key.length] = 1;
  const view = viewOf(padded);
  const w = new Int32Array(140);
  for (let i = 0; i < 8; i++) w[i] = view.getInt32(i * 4, true);
  for (let i = 8; i < 140; i++) w[i] = rotl(w[i - 8]! ^ w[i - 5]! ^ w[i - 3]! ^ w[i - 1]! ^ 0x9e3779b9 ^ (i - 8), 11);
  const keys = new Int32Array(132);
  for (let round = 0; round < 33; round++) {
    const box = BOXES[(35 - round) & 7]!;
    const at = 8 + round * 4;
    for (let bit = 0; bit < 32; bit++) {
      const index =
        ((w[at]! >>> bit) & 1) |
        (((w[at + 1]! >>> bit) & 1) << 1) |
        (((w[at + 2]! >>> bit) & 1) << 2) |
        (((w[at + 3]! >>> bit) & 1) << 3);
      const value = box[index]!;
      for (let i = 0; i < 4; i++) keys[round * 4 + i]! |= ((value >> i) & 1) << bit;
    }
  }
  return keys;
}

function encrypt(keys: Int32Array, words: Int32Array): void {
  for (let at = 0; at < words.length; at += 4) {
    let a = words[at]!,
      b = words[at + 1]!,
      c = words[at + 2]!,
      d = words[at + 3]!;
    let w = 0,
      x = 0,
      y = 0,
      z = 0;
    for (let round = 0; round < 32; round++) {
      a ^= keys[round * 4]!;
      b ^= keys[round * 4 + 1]!;
      c ^= keys[round * 4 + 2]!;
      d ^= keys[round * 4 + 3]!;
      switch (round & 7) {
        case 0:
          w = ~((c & ~((a & ~(b ^ d)) ^ (b & ~d))) ^ (a & ~b) ^ d);
          x = ~((c & ((a & ~(b ^ d)) ^ (b & ~d))) ^ (b & d) ^ a);
          y = (b & ~((c & (a ^ d)) ^ a ^ d)) ^ (a & c) ^ d;
          z = (a & ~d) ^ b ^ c ^ d;
          break;
        case 1:
          w = ~((c & ((d & ~(a ^ b)) ^ b)) ^ (a & ~d) ^ b);
          x = ~((a & ~((d & (b ^ c)) ^ b ^ c)) ^ (b & ((c & d) ^ d)) ^ c ^ d);
          y = ~((a & b) ^ b ^ c ^ d);
          z = ~((a & ((d & ~(b ^ c)) ^ c)) ^ (b & ~(c & d)) ^ d);
          break;
        case 2:
          w = (a & c) ^ b ^ c ^ d;
          x = (a & ~((b & (c ^ d)) ^ (c & d) ^ d)) ^ (c & ~(b ^ d)) ^ b;
          y = (d & ~((a & (b ^ c)) ^ b ^ c)) ^ (b & ~c) ^ a;
          z = ~((b & ~((a & c) ^ d)) ^ a ^ c);
          break;
        case 3:
          w = (c & ((d & ~(a ^ b)) ^ b)) ^ (a & ~d) ^ b ^ d;
          x = (a & ~((d & ~(b ^ c)) ^ c)) ^ (c & d) ^ b;
          y = (b & ((a & ~(c ^ d)) ^ d)) ^ a ^ c ^ d;
          z = (a & ~((c & ~(b ^ d)) ^ b)) ^ (c & ~d) ^ b ^ d;
          break;
        case 4:
          w = ~((a & (b ^ d)) ^ (b & ~d) ^ c ^ d);
          x = (c & ((d & ~(a ^ b)) ^ a ^ b)) ^ (b & d) ^ a ^ d;
          y = (b & ((a & ~(c ^ d)) ^ (c & ~d) ^ d)) ^ (c & ~d) ^ a;
          z = (b & ~((a & d) ^ c ^ d)) ^ (a & ~d) ^ c;
          break;
        case 5:
          w = ~((a & (b ^ d)) ^ (b & ~d) ^ c ^ d);
          x = ~((b & ((a & ~d) ^ d)) ^ (c & ~d) ^ a ^ d);
          y = ~((c & ((d & ~(a ^ b)) ^ a)) ^ (a & (b & d)) ^ b ^ d);
          z = ~((a & ~((c & (b ^ d)) ^ d)) ^ b ^ c ^ d);
          break;
        case 6:
          w = ~((b & ~((a & (c ^ d)) ^ (c & ~d))) ^ (a & ~c) ^ c ^ d);
          x = ~((a & d) ^ b ^ c);
          y = ~((b & ((a & ~(c ^ d)) ^ (c & ~d) ^ d)) ^ (c & ~d) ^ a);
          z = (c & ~((b & (a ^ d)) ^ a ^ d)) ^ (a & b) ^ b ^ d;
          break;
        case 7:
          w = ~((d & ((c & ~(a ^ b)) ^ a ^ b)) ^ (a & b) ^ c);
          x = (a & ((d & ~(b ^ c)) ^ b ^ c)) ^ (b & ~c) ^ c ^ d;
          y = (b & ~((a & (c ^ d)) ^ (c & d) ^ d)) ^ (a & ~d) ^ c ^ d;
          z = (a & ~((b & c) ^ c ^ d)) ^ b ^ c;
          break;
      }
      if (round === 31) break;
      w = (w << 13) | (w >>> 19);
      y = (y << 3) | (y >>> 29);
      x ^= w ^ y;
      z ^= y ^ (w << 3);
      b = (x << 1) | (x >>> 31);
      d = (z << 7) | (z >>> 25);
      w ^= b ^ d;
      y ^= d ^ (b << 7);
      a = (w << 5) | (w >>> 27);
      c = (y << 22) | (y >>> 10);
    }
    words[at] = w ^ keys[128]!;
    words[at + 1] = x ^ keys[129]!;
    words[at + 2] = y ^ keys[130]!;
    words[at + 3] = z ^ keys[131]!;
  }
}

function decrypt(keys: Int32Array, words: Int32Array): void {
  for (let at = 0; at < words.length; at += 4) {
    let a = words[at]! ^ keys[128]!,
      b = words[at + 1]! ^ keys[129]!,
      c = words[at + 2]! ^ keys[130]!,
      d = words[at + 3]! ^ keys[131]!;
    let w = 0,
      x = 0,
      y = 0,
      z = 0;
    for (let round = 31; round >= 0; round--) {
      switch (round & 7) {
        case 0:
          w = ~((d & ((a & ~(b ^ c)) ^ (b & ~c) ^ c)) ^ (b & (a ^ c)) ^ c);
          x = (c & ~((d & (a ^ b)) ^ a)) ^ (b & ~d) ^ a;
          y = ~((a & ~b) ^ b ^ c ^ d);
          z = ~((c & ((d & ~(a ^ b)) ^ b)) ^ (a & ~(b & d)) ^ d);
          break;
        case 1:
          w = ~((b & ~((c & (a ^ d)) ^ a ^ d)) ^ (a & ~(c & d)));
          x = (d & ~((c & (a ^ b)) ^ a ^ b)) ^ (a & (b & c)) ^ b ^ c;
          y = ~((c & ((a & ~(b ^ d)) ^ b)) ^ a ^ b ^ d);
          z = (b & d) ^ a ^ c ^ d;
          break;
        case 2:
          w = (b & ~(c ^ d)) ^ a ^ c;
          x = (a & ((d & ~(b ^ c)) ^ b)) ^ (c & ~d) ^ b;
          y = ~((a & ~((d & ~(b ^ c)) ^ b)) ^ (b & d) ^ c ^ d);
          z = ~((a & ((c & (b ^ d)) ^ b)) ^ (b & c) ^ d);
          break;
        case 3:
          w = (b & ((c & ~d) ^ d)) ^ (a & ~d) ^ c ^ d;
          x = (c & ~((a & (b ^ d)) ^ (b & ~d))) ^ (a & d) ^ b ^ d;
          y = (a & ((d & ~(b ^ c)) ^ b ^ c)) ^ (b & (c ^ d)) ^ (c & d);
          z = (a & ~((b & (c ^ d)) ^ c ^ d)) ^ (c & ~d) ^ b;
          break;
        case 4:
          w = ~((d & ~((a & ~(b ^ c)) ^ c)) ^ a ^ b ^ c);
          x = (a & ((c & ~d) ^ b ^ d)) ^ c ^ d;
          y = ~((a & ~((b & ~(c ^ d)) ^ c)) ^ (b & ~d) ^ c ^ d);
          z = (a & ((b & ~d) ^ d)) ^ (c & ~d) ^ b;
          break;
        case 5:
          w = (b & ((a & d) ^ c)) ^ a ^ d;
          x = (a & ~((b & (c ^ d)) ^ c ^ d)) ^ (b & ~c) ^ d;
          y = (a & ~((d & (b ^ c)) ^ b)) ^ (b & d) ^ c;
          z = ~((a & ((b & ~c) ^ d)) ^ b ^ c);
          break;
        case 6:
          w = ~((b & ((a & ~(c ^ d)) ^ (c & ~d))) ^ (a & ~c) ^ d);
          x = ~((a & c) ^ b ^ c ^ d);
          y = ~((b & ~((d & ~(a ^ c)) ^ c)) ^ (c & d) ^ a);
          z = ~((b & ~((a & ~(c ^ d)) ^ (c & ~d))) ^ (d & ~(a ^ c)) ^ c);
          break;
        case 7:
          w = ~((b & ~((d & ~(a ^ c)) ^ c)) ^ (c & d) ^ a);
          x = ~((d & ~((c & (a ^ b)) ^ a ^ b)) ^ (b & c) ^ a ^ c);
          y = (a & ((d & (b ^ c)) ^ c)) ^ (c & d) ^ b ^ d;
          z = (a & ((b & ~(c ^ d)) ^ d)) ^ (b & d) ^ c;
          break;
      }
      w ^= keys[round * 4]!;
      x ^= keys[round * 4 + 1]!;
      y ^= keys[round * 4 + 2]!;
      z ^= keys[round * 4 + 3]!;
      if (round === 0) break;
      y = (y << 10) | (y >>> 22);
      w = (w << 27) | (w >>> 5);
      y ^= z ^ (x << 7);
      w ^= x ^ z;
      z = (z << 25) | (z >>> 7);
      x = (x << 31) | (x >>> 1);
      d = z ^ y ^ (w << 3);
      b = x ^ w ^ y;
      c = (y << 29) | (y >>> 3);
      a = (w << 19) | (w >>> 13);
    }
    words[at] = w;
    words[at + 1] = x;
    words[at + 2] = y;
    words[at + 3] = z;
  }
}

export function serpent(key: Uint8Array): BlockCipher {
  const keys = schedule(key);
  return wordCipher(
    (words) => encrypt(keys, words),
    (words) => decrypt(keys, words),
  );
}
