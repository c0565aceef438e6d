/** Refcounts on disk against the census. */
import { getEntry } from "./entry";

export function refCompare(block: usize, first: u32, count: u32, order: u32, counters: usize, out: usize, maxOut: u32): u32 {
  let found: u32 = 0;
  let i: u32 = 0;
  while (i < count && found < maxOut) {
    if (order === 4) {
      // The common width: eight at a time as long as they agree.
      const reverse = v128(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
      let at = block + ((<usize>(first + i)) << 1);
      let counter = counters + ((<usize>i) << 2);
      while (count - i >= 8) {
        const refs = v128.swizzle(v128.load(at), reverse);
        const low = v128.xor(i32x4.extend_low_i16x8_u(refs), v128.load(counter));
        const high = v128.xor(i32x4.extend_high_i16x8_u(refs), v128.load(counter, 16));
        if (v128.any_true(v128.or(low, high))) break;
        i += 8;
        at += 16;
        counter += 32;
      }
    }
    const stop = min(i + 8, count);
    for (; i < stop && found < maxOut; i++) {
      if (getEntry(block, first + i, order) === <u64>load<u32>(counters + ((<usize>i) << 2))) continue;
      store<u32>(out + ((<usize>found) << 2), first + i);
      found++;
    }
  }
  return found;
}
