/** Ranges of a refcount block. */
import { anyZeroField, fieldOnes, getEntry, maxEntry, setEntry } from "./entry";

/** Entries a vector holds. */
function perVector(order: u32): u32 {
  return 128 >> order;
}

/** Whether entry `index` starts a byte. */
function startsByte(index: u32, order: u32): bool {
  return order >= 3 || (index & ((8 >> order) - 1)) === 0;
}

function byteOf(block: usize, index: u32, order: u32): usize {
  return order >= 3 ? block + ((<usize>index) << (order - 3)) : block + (index >> (3 - order));
}

/** First entry in [first, end) that is zero after XOR with `flip` (0, or all ones to look for full entries), or `end`. */
function findZero(block: usize, first: u32, end: u32, order: u32, flip: u64): u32 {
  const flips = i64x2.splat(flip);
  const full = flip & maxEntry(order);
  const step = perVector(order);
  let i = first;
  while (i < end) {
    if (startsByte(i, order)) {
      let at = byteOf(block, i, order);
      while (end - i >= step && !anyZeroField(v128.xor(v128.load(at), flips), order)) {
        i += step;
        at += 16;
      }
      if (i === end) break;
    }
    // Either the vector at i has such an entry, or less than a vector is left: one by one to the next byte start.
    do {
      if (getEntry(block, i, order) === full) return i;
      i++;
    } while (i < end && !startsByte(i, order));
  }
  return end;
}

/** First entry in [first, end) that is not zero, or `end`. */
function findUsed(block: usize, first: u32, end: u32, order: u32): u32 {
  const step = perVector(order);
  let i = first;
  while (i < end) {
    if (startsByte(i, order)) {
      let at = byteOf(block, i, order);
      while (end - i >= step && !v128.any_true(v128.load(at))) {
        i += step;
        at += 16;
      }
      if (i === end) break;
    }
    do {
      if (getEntry(block, i, order) !== 0) return i;
      i++;
    } while (i < end && !startsByte(i, order));
  }
  return end;
}

/** delta for all fields of one vector; the caller knows that none over- or underflows. */
function addFields(v: v128, order: u32, up: bool): v128 {
  if (order <= 3) {
    const ones = fieldOnes(order);
    return up ? i64x2.add(v, ones) : i64x2.sub(v, ones); // no carry leaves a field
  }
  const delta: i32 = up ? 1 : -1;
  if (order === 4) {
    const reverse = v128(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    return v128.swizzle(i16x8.add(v128.swizzle(v, reverse), i16x8.splat(<i16>delta)), reverse);
  }
  if (order === 5) {
    const reverse = v128(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    return v128.swizzle(i32x4.add(v128.swizzle(v, reverse), i32x4.splat(delta)), reverse);
  }
  const reverse = v128(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
  return v128.swizzle(i64x2.add(v128.swizzle(v, reverse), i64x2.splat(<i64>delta)), reverse);
}

export function refAddRange(block: usize, first: u32, count: u32, order: u32, delta: i32): i32 {
  const end = first + count;
  const up = delta > 0;
  const bad = findZero(block, first, end, order, up ? <u64>-1 : 0);
  if (bad !== end) return bad;
  const step = perVector(order);
  let i = first;
  while (i < end && !startsByte(i, order)) {
    setEntry(block, i, order, getEntry(block, i, order) + <i64>delta);
    i++;
  }
  let at = byteOf(block, i, order);
  while (end - i >= step) {
    v128.store(at, addFields(v128.load(at), order, up));
    i += step;
    at += 16;
  }
  for (; i < end; i++) setEntry(block, i, order, getEntry(block, i, order) + <i64>delta);
  return -1;
}

export function refFindFree(block: usize, first: u32, count: u32, order: u32): i32 {
  const found = findZero(block, first, first + count, order, 0);
  return found === first + count ? -1 : found;
}

export function refFindUsed(block: usize, first: u32, count: u32, order: u32): i32 {
  const found = findUsed(block, first, first + count, order);
  return found === first + count ? -1 : found;
}

export function refLastUsed(block: usize, first: u32, count: u32, order: u32): i32 {
  const step = perVector(order);
  let i = first + count;
  while (i > first) {
    if (startsByte(i, order)) {
      while (i - first >= step && !v128.any_true(v128.load(byteOf(block, i - step, order)))) i -= step;
      if (i === first) break;
    }
    do {
      i--;
      if (getEntry(block, i, order) !== 0) return i;
    } while (i > first && !startsByte(i, order));
  }
  return -1;
}

export function refFindFreeRun(block: usize, first: u32, count: u32, order: u32, want: u32): i32 {
  const end = first + count;
  let start = first;
  while (end - start >= want) {
    start = findZero(block, start, end, order, 0);
    if (end - start < want) break;
    const stop = start + want;
    const used = findUsed(block, start, stop, order);
    if (used === stop) return start;
    start = used + 1;
  }
  return -1;
}

export function refCountUsed(block: usize, first: u32, count: u32, order: u32): u32 {
  const end = first + count;
  const perWord: u32 = 64 >> order;
  const width: u32 = 1 << order;
  const lowest: u64 = <u64>-1 / (<u64>-1 >> (64 - width)); // 1 in every field
  let used: u32 = 0;
  let i = first;
  for (; i < end && !startsByte(i, order); i++) used += getEntry(block, i, order) !== 0 ? 1 : 0;
  let at = byteOf(block, i, order);
  while (end - i >= perWord) {
    let word = load<u64>(at);
    for (let shift = width >> 1; shift !== 0; shift >>= 1) word |= word >> shift;
    used += <u32>popcnt<u64>(word & lowest);
    i += perWord;
    at += 8;
  }
  for (; i < end; i++) used += getEntry(block, i, order) !== 0 ? 1 : 0;
  return used;
}
