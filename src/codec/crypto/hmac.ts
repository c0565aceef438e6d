/** HMAC (RFC 2104) over the hashes that a runtime has. */
import type { Crypto, HashName } from "./crypto.js";

/** Bytes that the hashes here take at a time, SHA-384 and SHA-512 apart. */
const BLOCK = 64;

/** @param key of at most 64 bytes */
export function hmac(
  crypto: Crypto,
  name: Exclude<HashName, "sha384" | "sha512">,
  key: Uint8Array,
  message: Uint8Array,
): Uint8Array {
  const keyed = (mask: number, bytes: Uint8Array): Uint8Array => {
    const whole = new Uint8Array(BLOCK + bytes.length).fill(mask, 0, BLOCK);
    for (let i = 0; i < key.length; i++) whole[i]! ^= key[i]!;
    whole.set(bytes, BLOCK);
    return crypto.hash(name, whole);
  };
  return keyed(0x5c, keyed(0x36, message));
}
