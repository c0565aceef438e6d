/** The anti-forensic splitter of LUKS1: a key is spread over many stripes so that losing one destroys it. */
import { BlockError } from "../../base/error.js";
import { viewOf } from "../../base/bytes.js";
import { HASH_BYTES, type Crypto, type HashName } from "./crypto.js";

/** What a LUKS header may claim is limited by its caller; this bounds what is worked on at all. */
const MATERIAL_MAX = 1 << 26;

/** Replaces each digest-sized piece of `block` by the digest of its number and itself. */
function diffuse(crypto: Crypto, hash: HashName, block: Uint8Array): void {
  const size = HASH_BYTES[hash];
  for (let at = 0, number = 0; at < block.length; at += size, number++) {
    const piece = block.subarray(at, at + size);
    const numbered = new Uint8Array(4 + piece.length);
    viewOf(numbered).setUint32(0, number, false);
    numbered.set(piece, 4);
    piece.set(crypto.hash(hash, numbered).subarray(0, piece.length));
  }
}

function xorInto(block: Uint8Array, other: Uint8Array): void {
  for (let i = 0; i < block.length; i++) block[i]! ^= other[i]!;
}

function checkSizes(length: number, stripes: number): void {
  if (length < 1 || !Number.isInteger(stripes) || stripes < 1 || length * stripes > MATERIAL_MAX)
    throw new BlockError("ERR_TOO_LARGE", `Split key of ${length} bytes in ${stripes} stripes is not supported`);
}

/** The key that `material` (`stripes` stripes of `material.length / stripes` bytes) was split from. */
export function afMerge(crypto: Crypto, hash: HashName, material: Uint8Array, stripes: number): Uint8Array {
  const length = material.length / stripes;
  if (!Number.isInteger(length))
    throw new BlockError("ERR_INVALID_ARGUMENT", "Split key material is not a whole number of stripes");
  checkSizes(length, stripes);
  const block = new Uint8Array(length);
  for (let i = 0; i < stripes - 1; i++) {
    xorInto(block, material.subarray(i * length, (i + 1) * length));
    diffuse(crypto, hash, block);
  }
  xorInto(block, material.subarray((stripes - 1) * length));
  return block;
}

/** Splits `key` into stripes; `fillRandom` supplies all but the last. */
export function afSplit(
  crypto: Crypto,
  hash: HashName,
  key: Uint8Array,
  stripes: number,
  fillRandom: (bytes: Uint8Array) => void,
): Uint8Array {
  checkSizes(key.length, stripes);
  const material = new Uint8Array(key.length * stripes);
  const last = (stripes - 1) * key.length;
  fillRandom(material.subarray(0, last));
  const block = new Uint8Array(key.length);
  for (let at = 0; at < last; at += key.length) {
    xorInto(block, material.subarray(at, at + key.length));
    diffuse(crypto, hash, block);
  }
  xorInto(block, key);
  material.set(block, last);
  return material;
}

/** `fillRandom` from the runtime's secure generator, which takes at most 64 KiB per call. */
export function secureRandom(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += 65536) {
    const part = new Uint8Array(Math.min(65536, bytes.length - at));
    globalThis.crypto.getRandomValues(part);
    bytes.set(part, at);
  }
}
