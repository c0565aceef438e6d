/** The low 32 bits of XXH64 with seed 0, which zstd frames carry as checksum. 64-bit values are hi:lo pairs of int32. */

// The five primes of XXH64, split.
const P1H = 0x9e3779b1,
  P1L = 0x85ebca87;
const P2H = 0xc2b2ae3d,
  P2L = 0x27d4eb4f;
const P3H = 0x165667b1,
  P3L = 0x9e3779f9;
const P4H = 0x85ebca77,
  P4L = 0xc2b2ae63;
const P5H = 0x27d4eb2f,
  P5L = 0x165667c5;

// The value at hand; every step works on it in place.
let hi = 0;
let lo = 0;

function set(h: number, l: number): void {
  hi = h | 0;
  lo = l | 0;
}
function add(h: number, l: number): void {
  const sum = (lo >>> 0) + (l >>> 0);
  hi = (hi + h + (sum > 0xffffffff ? 1 : 0)) | 0;
  lo = sum | 0;
}
function multiply(h: number, l: number): void {
  const a = lo >>> 0;
  const b = l >>> 0;
  const a0 = a & 0xffff,
    a1 = a >>> 16,
    b0 = b & 0xffff,
    b1 = b >>> 16;
  const low = a0 * b0;
  const middle = a1 * b0 + (low >>> 16);
  const other = a0 * b1 + (middle % 65536);
  const top = a1 * b1 + Math.floor(middle / 65536) + Math.floor(other / 65536);
  hi = (top + Math.imul(hi, l) + Math.imul(lo, h)) | 0;
  lo = Math.imul(a, b);
}
function rotate(bits: number): void {
  const h = hi,
    l = lo;
  if (bits === 32) set(l, h);
  else if (bits < 32) set((h << bits) | (l >>> (32 - bits)), (l << bits) | (h >>> (32 - bits)));
  else set((l << (bits - 32)) | (h >>> (64 - bits)), (h << (bits - 32)) | (l >>> (64 - bits)));
}
function xor(h: number, l: number): void {
  hi ^= h;
  lo ^= l;
}
/** value ^= value >>> bits */
function xorShift(bits: number): void {
  if (bits >= 32) lo ^= hi >>> (bits - 32);
  else {
    const h = hi >>> bits;
    lo ^= (lo >>> bits) | (hi << (32 - bits));
    hi ^= h;
  }
}

/** rotate(accumulator + input * P2, 31) * P1, with the accumulator at hand. */
function round(inputHi: number, inputLo: number): void {
  const h = hi,
    l = lo;
  set(inputHi, inputLo);
  multiply(P2H, P2L);
  add(h, l);
  rotate(31);
  multiply(P1H, P1L);
}

export function xxh64Low(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = bytes.length;
  let at = 0;
  if (length >= 32) {
    set(P1H, P1L);
    add(P2H, P2L);
    const lanes = Int32Array.of(hi, lo, P2H, P2L, 0, 0, 0, 0);
    set(0, 0);
    add(~P1H, ~P1L);
    add(0, 1);
    lanes[6] = hi;
    lanes[7] = lo;
    for (; at + 32 <= length; at += 32) {
      for (let lane = 0; lane < 4; lane++) {
        set(lanes[lane * 2]!, lanes[lane * 2 + 1]!);
        round(view.getInt32(at + lane * 8 + 4, true), view.getInt32(at + lane * 8, true));
        lanes[lane * 2] = hi;
        lanes[lane * 2 + 1] = lo;
      }
    }
    let sumHi = 0,
      sumLo = 0;
    for (let lane = 0; lane < 4; lane++) {
      set(lanes[lane * 2]!, lanes[lane * 2 + 1]!);
      rotate([1, 7, 12, 18][lane]!);
      add(sumHi, sumLo);
      sumHi = hi;
      sumLo = lo;
    }
    for (let lane = 0; lane < 4; lane++) {
      set(0, 0);
      round(lanes[lane * 2]!, lanes[lane * 2 + 1]!);
      xor(sumHi, sumLo);
      multiply(P1H, P1L);
      add(P4H, P4L);
      sumHi = hi;
      sumLo = lo;
    }
  } else set(P5H, P5L);
  add(Math.floor(length / 4294967296), length);
  for (; at + 8 <= length; at += 8) {
    const h = hi,
      l = lo;
    set(0, 0);
    round(view.getInt32(at + 4, true), view.getInt32(at, true));
    xor(h, l);
    rotate(27);
    multiply(P1H, P1L);
    add(P4H, P4L);
  }
  if (at + 4 <= length) {
    const h = hi,
      l = lo;
    set(0, view.getInt32(at, true));
    multiply(P1H, P1L);
    xor(h, l);
    rotate(23);
    multiply(P2H, P2L);
    add(P3H, P3L);
    at += 4;
  }
  for (; at < length; at++) {
    const h = hi,
      l = lo;
    set(0, bytes[at]!);
    multiply(P5H, P5L);
    xor(h, l);
    rotate(11);
    multiply(P1H, P1L);
  }
  xorShift(33);
  multiply(P2H, P2L);
  xorShift(29);
  multiply(P3H, P3L);
  xorShift(32);
  return lo >>> 0;
}
