/** Zeros, differences and byte order of plain bytes. Unaligned addresses are fine everywhere. */

export function findNonZero(at: usize, length: u32): u32 {
  const end = at + length;
  let p = at;
  while (end - p >= 64) {
    const low = v128.or(v128.load(p), v128.load(p, 16));
    const high = v128.or(v128.load(p, 32), v128.load(p, 48));
    if (v128.any_true(v128.or(low, high))) break;
    p += 64;
  }
  while (end - p >= 8) {
    const word = load<u64>(p);
    if (word !== 0) return <u32>(p - at) + (<u32>ctz<u64>(word) >> 3);
    p += 8;
  }
  for (; p < end; p++) if (load<u8>(p) !== 0) return <u32>(p - at);
  return length;
}

export function zeroRun(at: usize, length: u32, granularity: u32): u32 {
  const zeros = findNonZero(at, length);
  return zeros === length ? length : zeros - (zeros % granularity);
}

export function dataRun(at: usize, length: u32, granularity: u32): u32 {
  let done: u32 = 0;
  while (done < length) {
    const piece = min(granularity, length - done);
    if (findNonZero(at + done, piece) === piece) break;
    done += piece;
  }
  return done;
}

export function firstDifference(a: usize, b: usize, length: u32): u32 {
  let i: u32 = 0;
  while (length - i >= 64) {
    const p = a + i;
    const q = b + i;
    const low = v128.or(v128.xor(v128.load(p), v128.load(q)), v128.xor(v128.load(p, 16), v128.load(q, 16)));
    const high = v128.or(v128.xor(v128.load(p, 32), v128.load(q, 32)), v128.xor(v128.load(p, 48), v128.load(q, 48)));
    if (v128.any_true(v128.or(low, high))) break;
    i += 64;
  }
  while (length - i >= 8) {
    const different = load<u64>(a + i) ^ load<u64>(b + i);
    if (different !== 0) return i + (<u32>ctz<u64>(different) >> 3);
    i += 8;
  }
  for (; i < length; i++) if (load<u8>(a + i) !== load<u8>(b + i)) return i;
  return length;
}

export function swap64(at: usize, count: u32): void {
  const reverse = v128(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
  let left = count;
  for (; left >= 8; left -= 8, at += 64) {
    v128.store(at, v128.swizzle(v128.load(at), reverse));
    v128.store(at, v128.swizzle(v128.load(at, 16), reverse), 16);
    v128.store(at, v128.swizzle(v128.load(at, 32), reverse), 32);
    v128.store(at, v128.swizzle(v128.load(at, 48), reverse), 48);
  }
  for (; left !== 0; left--, at += 8) store<u64>(at, bswap(load<u64>(at)));
}
