/**
 * Triple DES (FIPS 46-3, three keys) and CBC, only to unwrap the keys of Apple's encrypted disk images: a few blocks in an image's
 * life, so that it works bit by bit from the tables of the standard.
 */

const S_BOXES: readonly string[] = [
  "e4d12fb83a6c59070f74e2d1a6cb953841e8d62bfc973a50fc8249175b3ea06d",
  "f18e6b34972dc05a3d47f28ec01a69b50e7ba4d158c6932fd8a13f42b67c05e9",
  "a09e63f51dc7b428d709346a285ecbf1d6498f30b12c5ae71ad069874fe3b52c",
  "7de3069a1285bc4fd8b56f03472c1ae9a690cb7df13e52843f06a1d8945bc72e",
  "2c417ab6853fd0e9eb2c47d150fa3986421bad78f9c5630eb8c71e2d6f09a453",
  "c1af92680d34e75baf427c9561de0b389ef528c3704a1db6432c95fabe17608d",
  "4b2ef08d3c975a61d0b7491ae35c2f8614bdc37eaf6805926bd814a7950fe23c",
  "d2846fb1a93e50c71fd8a374c56b0e927b419ce206adf35821e74a8dfc90356b",
];
// Bits are numbered from 0 here, from 1 in the standard.
const from1 = (...bits: number[]): readonly number[] => bits.map((bit) => bit - 1);
const P = from1(
  16,
  7,
  20,
  21,
  29,
  12,
  28,
  17,
  1,
  15,
  23,
  26,
  5,
  18,
  31,
  10,
  2,
  8,
  24,
  14,
  32,
  27,
  3,
  9,
  19,
  13,
  30,
  6,
  22,
  11,
  4,
  25,
);
const KEY_CHOICE_C = from1(
  57,
  49,
  41,
  33,
  25,
  17,
  9,
  1,
  58,
  50,
  42,
  34,
  26,
  18,
  10,
  2,
  59,
  51,
  43,
  35,
  27,
  19,
  11,
  3,
  60,
  52,
  44,
  36,
);
const KEY_CHOICE_D = from1(
  63,
  55,
  47,
  39,
  31,
  23,
  15,
  7,
  62,
  54,
  46,
  38,
  30,
  22,
  14,
  6,
  61,
  53,
  45,
  37,
  29,
  21,
  13,
  5,
  28,
  20,
  12,
  4,
);
const ROUND_KEY = from1(
  ...[14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2],
  ...[41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32],
);
const KEY_BITS: readonly number[] = [...KEY_CHOICE_C, ...KEY_CHOICE_D];
/** Places by which the key has been turned in each round. */
const TURNS: readonly number[] = [1, 2, 4, 6, 8, 10, 12, 14, 15, 17, 19, 21, 23, 25, 27, 28];
const INITIAL: readonly number[] = Array.from({ length: 64 }, (_, i) => (i < 32 ? 57 : 56) + 2 * ((i >> 3) % 4) - 8 * (i & 7));

type Bits = readonly number[];
const select = (bits: Bits, places: Bits): number[] => places.map((place) => bits[place]!);
const bitsOf = (bytes: Uint8Array): number[] =>
  Array.from({ length: bytes.length * 8 }, (_, i) => (bytes[i >> 3]! >> (7 - (i & 7))) & 1);

/** The keys of the 16 rounds of encryption. */
function roundKeys(key: Uint8Array): Bits[] {
  const bits = select(bitsOf(key), KEY_BITS);
  return TURNS.map((turn) => {
    const turned = bits.map((_, i) => bits[i < 28 ? (i + turn) % 28 : 28 + ((i + turn) % 28)]!);
    return select(turned, ROUND_KEY);
  });
}

/** One pass over a block; with the keys in their order it encrypts, with them turned round it decrypts. */
function pass(block: Bits, keys: readonly Bits[]): Bits {
  const mixed = select(block, INITIAL);
  let left = mixed.slice(0, 32);
  let right = mixed.slice(32);
  for (const key of keys) {
    const out: number[] = [];
    for (let box = 0; box < 8; box++) {
      // Six bits with the neighbours' edges: the outer two choose the row.
      const six = Array.from({ length: 6 }, (_, i) => right[(4 * box + i + 31) % 32]! ^ key[6 * box + i]!);
      const row = six[0]! * 2 + six[5]!;
      const column = six[1]! * 8 + six[2]! * 4 + six[3]! * 2 + six[4]!;
      const value = Number.parseInt(S_BOXES[box]![row * 16 + column]!, 16);
      for (let bit = 3; bit >= 0; bit--) out.push((value >> bit) & 1);
    }
    const next = select(out, P).map((bit, i) => bit ^ left[i]!);
    left = right;
    right = next;
  }
  const last = [...right, ...left];
  const result = Array.from({ length: 64 }, () => 0);
  INITIAL.forEach((place, i) => (result[place] = last[i]!));
  return result;
}

/** Decrypts whole blocks of 8 bytes one by one. @param key 24 bytes */
export function tripleDesDecrypt(key: Uint8Array, from: Uint8Array, into: Uint8Array): void {
  const [first, second, third] = [0, 8, 16].map((at) => roundKeys(key.subarray(at, at + 8)));
  for (let at = 0; at < from.length; at += 8) {
    let bits: Bits = bitsOf(from.subarray(at, at + 8));
    for (const keys of [[...third!].reverse(), second!, [...first!].reverse()]) bits = pass(bits, keys);
    for (let i = 0; i < 8; i++) into[at + i] = bits.slice(i * 8, i * 8 + 8).reduce((byte, bit) => byte * 2 + bit, 0);
  }
}
