/** Twofish (Schneier et al., 1998) with 128, 192 and 256-bit keys, in the full-keying form: four key-dependent tables. */
import type { BlockCipher } from "./crypto.js";
import { wordCipher } from "./words.js";

/** The four 4-bit permutations each of q0 and q1 is made of, as hexadecimal digits. */
const Q_NIBBLES = [
  ["817d6f320b59eca4", "ecb81235f4a6709d", "ba5e6d90c8f32471", "d7f4126e9b3085ca"],
  ["28bdf76e31940ac5", "1e2b4c376da5f908", "4c75169a0ed82b3f", "b951c3de647f208a"],
];

function permutation(nibbles: readonly string[]): Uint8Array {
  const t = nibbles.map((digits) => Uint8Array.from(digits, (digit) => parseInt(digit, 16)));
  const [t0, t1, t2, t3] = t as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  /** b rotated right by one within four bits, mixed with a. */
  const mix = (a: number, b: number): number => (a ^ ((b >> 1) | (b << 3)) ^ (a << 3)) & 15;
  return Uint8Array.from({ length: 256 }, (_, x) => {
    let a = x >> 4;
    let b = x & 15;
    let a1 = a ^ b;
    let b1 = mix(a, b);
    a = t0[a1]!;
    b = t1[b1]!;
    a1 = a ^ b;
    b1 = mix(a, b);
    return (t3[b1]! << 4) | t2[a1]!;
  });
}

const MDS_POLYNOMIAL = 0x169;
const RS_POLYNOMIAL = 0x14d;

function multiply(a: number, b: number, polynomial: number): number {
  let product = 0;
  for (; b !== 0; b >>= 1) {
    if ((b & 1) !== 0) product ^= a;
    a <<= 1;
    if ((a & 0x100) !== 0) a ^= polynomial;
  }
  return product;
}

const MDS = [
  [0x01, 0xef, 0x5b, 0x5b],
  [0x5b, 0xef, 0xef, 0x01],
  [0xef, 0x5b, 0x01, 0xef],
  [0xef, 0x01, 0xef, 0x5b],
];
const RS = [
  [0x01, 0xa4, 0x55, 0x87, 0x5a, 0x58, 0xdb, 0x9e],
  [0xa4, 0x56, 0x82, 0xf3, 0x1e, 0xc6, 0x68, 0xe5],
  [0x02, 0xa1, 0xfc, 0xc1, 0x47, 0xae, 0x3d, 0x19],
  [0xa4, 0x55, 0x87, 0x5a, 0x58, 0xdb, 0x9e, 0x03],
];

interface Tables {
  /** mds[lane][byte]: what that byte contributes to the product with the MDS matrix. */
  readonly mds: readonly Int32Array[];
  /** Which permutation each byte lane goes through before the key words L3, L2, L1, L0 and after the last. */
  readonly order: readonly (readonly Uint8Array[])[];
}
let made: Tables | null = null;

/** Made with the first key: most programs never see one. */
function tables(): Tables {
  if (made !== null) return made;
  const q0 = permutation(Q_NIBBLES[0]!);
  const q1 = permutation(Q_NIBBLES[1]!);
  made = {
    mds: [0, 1, 2, 3].map((lane) =>
      Int32Array.from({ length: 256 }, (_, byte) =>
        MDS.reduce((word, row, i) => word | (multiply(byte, row[lane]!, MDS_POLYNOMIAL) << (8 * i)), 0),
      ),
    ),
    order: [
      [q1, q1, q0, q0, q1],
      [q0, q1, q1, q0, q0],
      [q0, q0, q0, q1, q1],
      [q1, q0, q1, q1, q0],
    ],
  };
  return made;
}

/** One byte lane of the function h: `key` holds one byte per key word, first word first. */
function lane(orders: Tables["order"], index: number, byte: number, key: readonly number[]): number {
  const order = orders[index]!;
  let value = byte;
  for (let i = key.length - 1; i >= 0; i--) value = order[3 - i]![value]! ^ key[i]!;
  return order[4]![value]!;
}

const rotl = (value: number, bits: number): number => (value << bits) | (value >>> (32 - bits));

export function twofish(key: Uint8Array): BlockCipher {
  const { mds, order } = tables();
  const k = key.length / 8;
  const even: number[][] = [];
  const odd: number[][] = [];
  const s: number[][] = [];
  for (let i = 0; i < k; i++) {
    const at = i * 8;
    even.push([...key.subarray(at, at + 4)]);
    odd.push([...key.subarray(at + 4, at + 8)]);
    // The S key words run backwards.
    s.unshift(RS.map((row) => row.reduce((sum, factor, j) => sum ^ multiply(key[at + j]!, factor, RS_POLYNOMIAL), 0)));
  }
  const h = (byte: number, words: number[][]): number => {
    let result = 0;
    for (let i = 0; i < 4; i++)
      result ^=
        mds[i]![
          lane(
            order,
            i,
            byte,
            words.map((word) => word[i]!),
          )
        ]!;
    return result;
  };
  const keys = new Int32Array(40);
  for (let i = 0; i < 20; i++) {
    const a = h(2 * i, even);
    const b = rotl(h(2 * i + 1, odd), 8);
    keys[2 * i] = a + b;
    keys[2 * i + 1] = rotl((a + 2 * b) | 0, 9);
  }
  const table = (index: number): Int32Array => {
    const bytes = s.map((word) => word[index]!);
    return Int32Array.from({ length: 256 }, (_, byte) => mds[index]![lane(order, index, byte, bytes)]!);
  };
  const s0 = table(0),
    s1 = table(1),
    s2 = table(2),
    s3 = table(3);

  const encrypt = (words: Int32Array): void => {
    for (let at = 0; at < words.length; at += 4) {
      let a = words[at]! ^ keys[0]!;
      let b = words[at + 1]! ^ keys[1]!;
      let c = words[at + 2]! ^ keys[2]!;
      let d = words[at + 3]! ^ keys[3]!;
      for (let round = 8; round < 40; round += 4) {
        let t0 = s0[a & 255]! ^ s1[(a >>> 8) & 255]! ^ s2[(a >>> 16) & 255]! ^ s3[a >>> 24]!;
        let t1 = s0[b >>> 24]! ^ s1[b & 255]! ^ s2[(b >>> 8) & 255]! ^ s3[(b >>> 16) & 255]!;
        c ^= t0 + t1 + keys[round]!;
        c = (c >>> 1) | (c << 31);
        d = ((d << 1) | (d >>> 31)) ^ (t0 + 2 * t1 + keys[round + 1]!);
        t0 = s0[c & 255]! ^ s1[(c >>> 8) & 255]! ^ s2[(c >>> 16) & 255]! ^ s3[c >>> 24]!;
        t1 = s0[d >>> 24]! ^ s1[d & 255]! ^ s2[(d >>> 8) & 255]! ^ s3[(d >>> 16) & 255]!;
        a ^= t0 + t1 + keys[round + 2]!;
        a = (a >>> 1) | (a << 31);
        b = ((b << 1) | (b >>> 31)) ^ (t0 + 2 * t1 + keys[round + 3]!);
      }
      words[at] = c ^ keys[4]!;
      words[at + 1] = d ^ keys[5]!;
      words[at + 2] = a ^ keys[6]!;
      words[at + 3] = b ^ keys[7]!;
    }
  };
  const decrypt = (words: Int32Array): void => {
    for (let at = 0; at < words.length; at += 4) {
      let c = words[at]! ^ keys[4]!;
      let d = words[at + 1]! ^ keys[5]!;
      let a = words[at + 2]! ^ keys[6]!;
      let b = words[at + 3]! ^ keys[7]!;
      for (let round = 36; round >= 8; round -= 4) {
        let t0 = s0[c & 255]! ^ s1[(c >>> 8) & 255]! ^ s2[(c >>> 16) & 255]! ^ s3[c >>> 24]!;
        let t1 = s0[d >>> 24]! ^ s1[d & 255]! ^ s2[(d >>> 8) & 255]! ^ s3[(d >>> 16) & 255]!;
        a = ((a << 1) | (a >>> 31)) ^ (t0 + t1 + keys[round + 2]!);
        b ^= t0 + 2 * t1 + keys[round + 3]!;
        b = (b >>> 1) | (b << 31);
        t0 = s0[a & 255]! ^ s1[(a >>> 8) & 255]! ^ s2[(a >>> 16) & 255]! ^ s3[a >>> 24]!;
        t1 = s0[b >>> 24]! ^ s1[b & 255]! ^ s2[(b >>> 8) & 255]! ^ s3[(b >>> 16) & 255]!;
        c = ((c << 1) | (c >>> 31)) ^ (t0 + t1 + keys[round]!);
        d ^= t0 + 2 * t1 + keys[round + 1]!;
        d = (d >>> 1) | (d << 31);
      }
      words[at] = a ^ keys[0]!;
      words[at + 1] = b ^ keys[1]!;
      words[at + 2] = c ^ keys[2]!;
      words[at + 3] = d ^ keys[3]!;
    }
  };
  return wordCipher(encrypt, decrypt);
}
