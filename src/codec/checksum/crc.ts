/** Reflected 32-bit CRCs, eight bytes per step ("slicing by 8"). */

/** A CRC over `bytes`; pass what an earlier call returned as `crc` to go on where it ended. The result is unsigned. */
export type Crc = (bytes: Uint8Array, crc?: number) => number;

/** Builds the CRC of a reflected polynomial, with the usual inversion before and after. Tables are made on first use. */
export function makeCrc(polynomial: number): Crc {
  let table: Int32Array | null = null;
  const build = (): Int32Array => {
    const t = new Int32Array(8 * 256);
    for (let i = 0; i < 256; i++) {
      let value = i;
      for (let bit = 0; bit < 8; bit++) value = (value & 1) !== 0 ? (value >>> 1) ^ polynomial : value >>> 1;
      t[i] = value;
    }
    for (let i = 256; i < t.length; i++) t[i] = (t[i - 256]! >>> 8) ^ t[t[i - 256]! & 255]!;
    return t;
  };
  return (bytes, crc = 0) => {
    const t = (table ??= build());
    let value = ~crc;
    let at = 0;
    const whole = bytes.length - 7;
    for (; at < whole; at += 8) {
      value ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
      value =
        t[1792 + (value & 255)]! ^
        t[1536 + ((value >>> 8) & 255)]! ^
        t[1280 + ((value >>> 16) & 255)]! ^
        t[1024 + (value >>> 24)]! ^
        t[768 + bytes[at + 4]!]! ^
        t[512 + bytes[at + 5]!]! ^
        t[256 + bytes[at + 6]!]! ^
        t[bytes[at + 7]!]!;
    }
    for (; at < bytes.length; at++) value = (value >>> 8) ^ t[(value ^ bytes[at]!) & 255]!;
    return ~value >>> 0;
  };
}
