/** CRC-64 of ECMA-182, reflected, as xz uses it; the value is a pair of 32-bit halves. */

const POLYNOMIAL_HI = 0xc96c5795 | 0;
const POLYNOMIAL_LO = 0xd7870f42 | 0;
let table: Int32Array | null = null;

function build(): Int32Array {
  const t = new Int32Array(512);
  for (let byte = 0; byte < 256; byte++) {
    let hi = 0;
    let lo = byte;
    for (let i = 0; i < 8; i++) {
      const bit = lo & 1;
      lo = (lo >>> 1) | (hi << 31);
      hi >>>= 1;
      if (bit !== 0) {
        hi ^= POLYNOMIAL_HI;
        lo ^= POLYNOMIAL_LO;
      }
    }
    t[byte * 2] = hi;
    t[byte * 2 + 1] = lo;
  }
  return t;
}

/** Whether the CRC-64 of `bytes` is hi:lo (as signed 32-bit halves). */
export function crc64Matches(bytes: Uint8Array, wantHi: number, wantLo: number): boolean {
  const t = (table ??= build());
  let hi = -1;
  let lo = -1;
  for (let i = 0; i < bytes.length; i++) {
    const index = ((lo ^ bytes[i]!) & 255) * 2;
    lo = ((lo >>> 8) | (hi << 24)) ^ t[index + 1]!;
    hi = (hi >>> 8) ^ t[index]!;
  }
  return ~hi === wantHi && ~lo === wantLo;
}
