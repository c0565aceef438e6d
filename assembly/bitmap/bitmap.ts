/** Bitmaps with bit i in bit (i & 7) of byte i >> 3. Bit numbers are doubles at the border, because 2^32 is one of them. */

/** Bits [from, to) of a byte, 0 <= from < to <= 8. */
function byteMask(from: u32, to: u32): u32 {
  return (0xff << from) & (0xff >> (8 - to));
}

/** Flips the masked bits that are not yet `value` (0 or 0xff) and returns how many that were. */
function writeByte(at: usize, mask: u32, value: u32): u32 {
  const old: u32 = load<u8>(at);
  const flip = (old ^ value) & mask;
  store<u8>(at, <u8>(old ^ flip));
  return popcnt<u32>(flip);
}

/** Sets all bits of the range to those of `value` (0 or 0xff). */
function writeRange(bitmap: usize, first: u64, count: u64, value: u32): u64 {
  if (count === 0) return 0;
  const last = first + count;
  let at = bitmap + <usize>(first >> 3);
  const end = bitmap + <usize>(last >> 3); // first byte that is not in the range as a whole
  const head = <u32>first & 7;
  const tail = <u32>last & 7;
  if (at === end) return writeByte(at, byteMask(head, tail), value);
  let changed: u64 = 0;
  if (head !== 0) {
    changed += writeByte(at, byteMask(head, 8), value);
    at++;
  }
  const word: u64 = value ? <u64>-1 : 0;
  for (; end - at >= 8; at += 8) {
    changed += popcnt<u64>(load<u64>(at) ^ word);
    store<u64>(at, word);
  }
  for (; at < end; at++) changed += writeByte(at, 0xff, value);
  if (tail !== 0) changed += writeByte(at, byteMask(0, tail), value);
  return changed;
}

export function bitSetRange(bitmap: usize, first: f64, count: f64): f64 {
  return <f64>writeRange(bitmap, <u64>first, <u64>count, 0xff);
}

export function bitClearRange(bitmap: usize, first: f64, count: f64): f64 {
  return <f64>writeRange(bitmap, <u64>first, <u64>count, 0);
}

export function bitCount(bitmap: usize, first: f64, count: f64): f64 {
  if (count <= 0) return 0;
  const start = <u64>first;
  const last = start + <u64>count;
  let at = bitmap + <usize>(start >> 3);
  const end = bitmap + <usize>(last >> 3);
  const head = <u32>start & 7;
  const tail = <u32>last & 7;
  if (at === end) return <f64>popcnt<u32>(<u32>load<u8>(at) & byteMask(head, tail));
  let bits: u64 = 0;
  if (head !== 0) {
    bits += popcnt<u32>(<u32>load<u8>(at) & byteMask(head, 8));
    at++;
  }
  for (; end - at >= 8; at += 8) bits += popcnt<u64>(load<u64>(at));
  for (; at < end; at++) bits += popcnt<u32>(<u32>load<u8>(at));
  if (tail !== 0) bits += popcnt<u32>(<u32>load<u8>(at) & byteMask(0, tail));
  return <f64>bits;
}

/** First bit of the range that differs from `skip` (0 or 0xff), or -1. */
function findOther(bitmap: usize, first: f64, count: f64, skip: u32): f64 {
  if (count <= 0) return -1;
  const start = <u64>first;
  const last = start + <u64>count;
  let at = bitmap + <usize>(start >> 3);
  const end = bitmap + <usize>((last + 7) >> 3);
  let other = (<u32>load<u8>(at) ^ skip) & ((0xff << (<u32>start & 7)) & 0xff);
  if (other === 0) {
    at++;
    const skips = i8x16.splat(<i8>skip);
    while (end - at >= 64) {
      const low = v128.or(v128.xor(v128.load(at), skips), v128.xor(v128.load(at, 16), skips));
      const high = v128.or(v128.xor(v128.load(at, 32), skips), v128.xor(v128.load(at, 48), skips));
      if (v128.any_true(v128.or(low, high))) break;
      at += 64;
    }
    for (; at < end; at++) {
      other = <u32>load<u8>(at) ^ skip;
      if (other !== 0) break;
    }
    if (at >= end) return -1;
  }
  const found = ((<u64>(at - bitmap)) << 3) + ctz<u32>(other);
  return found < last ? <f64>found : -1; // the last byte may go on beyond the range
}

export function bitFindSet(bitmap: usize, first: f64, count: f64): f64 {
  return findOther(bitmap, first, count, 0);
}

export function bitFindClear(bitmap: usize, first: f64, count: f64): f64 {
  return findOther(bitmap, first, count, 0xff);
}

export function bitOr(target: usize, source: usize, bytes: u32): void {
  let i: u32 = 0;
  for (; bytes - i >= 16; i += 16) v128.store(target + i, v128.or(v128.load(target + i), v128.load(source + i)));
  for (; i < bytes; i++) store<u8>(target + i, load<u8>(target + i) | load<u8>(source + i));
}

export function bitAnd(target: usize, source: usize, bytes: u32): void {
  let i: u32 = 0;
  for (; bytes - i >= 16; i += 16) v128.store(target + i, v128.and(v128.load(target + i), v128.load(source + i)));
  for (; i < bytes; i++) store<u8>(target + i, load<u8>(target + i) & load<u8>(source + i));
}

export function bitAndNot(target: usize, source: usize, bytes: u32): void {
  let i: u32 = 0;
  for (; bytes - i >= 16; i += 16) v128.store(target + i, v128.andnot(v128.load(target + i), v128.load(source + i)));
  for (; i < bytes; i++) store<u8>(target + i, load<u8>(target + i) & ~load<u8>(source + i));
}
