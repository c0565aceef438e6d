/** Adler-32 (RFC 1950). */

/** The largest run for which the second sum can not pass 2^32. */
const RUN = 5552;

/** The checksum of `bytes`; pass what an earlier call returned as `adler` to go on where it ended. Unsigned. */
export function adler32(bytes: Uint8Array, adler = 1): number {
  let a = adler & 0xffff;
  let b = adler >>> 16;
  for (let at = 0; at < bytes.length; ) {
    const stop = Math.min(bytes.length, at + RUN);
    for (; at < stop; at++) {
      a += bytes[at]!;
      b += a;
    }
    a %= 65521;
    b %= 65521;
  }
  return ((b << 16) | a) >>> 0;
}
