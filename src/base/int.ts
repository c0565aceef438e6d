/**
 * Arithmetic on byte offsets and sizes.
 *
 * Offsets are safe integers (below 2^53); on disk they are 64-bit. Values an image claims beyond 2^53-1 never become
 * numbers silently: `readU64` returns `Infinity` for them, so that every range check (`> limit`) refuses them.
 */

export const KiB: number = 1024;
export const MiB: number = 1024 * KiB;
export const GiB: number = 1024 * MiB;
export const TiB: number = 1024 * GiB;

const TWO32 = 4294967296;

/** hi:lo as a number; Infinity if it is not a safe integer. */
export function fromHiLo(hi: number, lo: number): number {
  const value = (hi >>> 0) * TWO32 + (lo >>> 0);
  return value <= Number.MAX_SAFE_INTEGER ? value : Infinity;
}

export const hi32 = (value: number): number => Math.floor(value / TWO32) >>> 0;
export const lo32 = (value: number): number => (value % TWO32) >>> 0;

/** Largest multiple of `unit` (any positive integer) that is not above `value`. */
export const alignDown = (value: number, unit: number): number => value - (value % unit);

/** Smallest multiple of `unit` that is not below `value`. */
export const alignUp = (value: number, unit: number): number => {
  const rest = value % unit;
  return rest === 0 ? value : value + (unit - rest);
};

export const divCeil = (value: number, unit: number): number => Math.ceil(value / unit);

export const isPowerOfTwo = (value: number): boolean => {
  if (!Number.isSafeInteger(value) || value <= 0) return false;
  const hi = hi32(value);
  const lo = lo32(value);
  return hi === 0 ? (lo & (lo - 1)) === 0 : lo === 0 && (hi & (hi - 1)) === 0;
};

/** log2 of a power of two below 2^53. */
export const log2 = (value: number): number => {
  const hi = hi32(value);
  return hi === 0 ? 31 - Math.clz32(lo32(value)) : 63 - Math.clz32(hi);
};

export const isOffset = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
