/** Runs of standard L2 entries. */
import {
  EXTENT_COPIED,
  EXTENT_STRIDE,
  INVALID_COMPRESSED_WITH_DATA_FILE,
  INVALID_OFFSET_RANGE,
  INVALID_RESERVED_BITS,
  INVALID_UNALIGNED,
  INVALID_ZERO_IN_V2,
  KIND_COMPRESSED,
  KIND_DATA,
  KIND_INVALID,
  KIND_UNALLOCATED,
  KIND_ZERO_ALLOC,
  KIND_ZERO_PLAIN,
  L2_EXTERNAL_DATA,
  L2_MIND_COPIED,
  L2_STRICT,
  L2_VERSION3,
} from "../layout";
import {
  COMPRESSED,
  COPIED,
  OFFSET_LIMIT,
  OFFSET_MASK,
  RESERVED,
  ZERO,
  compressedBytes,
  compressedHost,
  writeRecord,
} from "./entry";

/**
 * Number of big-endian entries from `at` (at most `max`) of which the masked values are expect, expect+step, expect+2*step …
 * Two lanes a vector, four vectors a round.
 */
function runLength(at: usize, max: u32, expect: u64, mask: u64, step: u64): u32 {
  // Fragmented tables mostly end the run right here.
  if (max === 0 || (bswap(load<u64>(at)) & mask) !== expect) return 0;
  let n: u32 = 1;
  if (max >= 9) {
    const reverse = v128(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
    const masks = i64x2.splat(mask);
    const steps = i64x2.splat(step + step);
    let want = i64x2.replace_lane(i64x2.splat(expect + step), 1, expect + step + step);
    while (n + 8 <= max) {
      const p = at + ((<usize>n) << 3);
      const want1 = i64x2.add(want, steps);
      const want2 = i64x2.add(want1, steps);
      const want3 = i64x2.add(want2, steps);
      const wrong0 = v128.xor(v128.and(v128.swizzle(v128.load(p), reverse), masks), want);
      const wrong1 = v128.xor(v128.and(v128.swizzle(v128.load(p, 16), reverse), masks), want1);
      const wrong2 = v128.xor(v128.and(v128.swizzle(v128.load(p, 32), reverse), masks), want2);
      const wrong3 = v128.xor(v128.and(v128.swizzle(v128.load(p, 48), reverse), masks), want3);
      if (v128.any_true(v128.or(v128.or(wrong0, wrong1), v128.or(wrong2, wrong3)))) break;
      want = i64x2.add(want3, steps);
      n += 8;
    }
  }
  let next = expect + step * n;
  while (n < max && (bswap(load<u64>(at + ((<usize>n) << 3))) & mask) === next) {
    next += step;
    n++;
  }
  return n;
}

export function scanL2(table: usize, first: u32, count: u32, clusterBits: u32, flags: u32, out: usize, maxOut: u32): u32 {
  const clusterSize: u64 = (<u64>1) << clusterBits;
  const external = (flags & L2_EXTERNAL_DATA) !== 0;
  const strict = (flags & L2_STRICT) !== 0;
  const copiedMask: u64 = flags & L2_MIND_COPIED ? COPIED : 0;
  const mask: u64 = strict ? ~COPIED : ~(COPIED | RESERVED);
  let at = table + ((<usize>first) << 3);
  let left = count;
  let records: u32 = 0;
  while (left !== 0 && records < maxOut) {
    const entry = bswap(load<u64>(at));
    let kind: u32 = KIND_INVALID;
    let aux: u32 = 0;
    let run: u32 = 1;
    let copied: u32 = entry & copiedMask ? EXTENT_COPIED : 0;
    let host: u64 = 0;
    if (entry & COMPRESSED) {
      host = compressedHost(entry, clusterBits);
      if (external) aux = INVALID_COMPRESSED_WITH_DATA_FILE;
      else if (strict && entry & COPIED) aux = INVALID_RESERVED_BITS;
      else if (host >= OFFSET_LIMIT) aux = INVALID_OFFSET_RANGE;
      else {
        kind = KIND_COMPRESSED;
        aux = compressedBytes(entry, clusterBits);
      }
    } else {
      host = entry & OFFSET_MASK;
      const zero = (entry & ZERO) !== 0;
      if (strict && entry & RESERVED) aux = INVALID_RESERVED_BITS;
      else if (zero && !(flags & L2_VERSION3)) aux = INVALID_ZERO_IN_V2;
      else if (host === 0 && (zero || !(external && entry & COPIED))) {
        kind = zero ? KIND_ZERO_PLAIN : KIND_UNALLOCATED;
        copied = 0;
        // With an external data file, COPIED turns offset 0 into data; elsewhere it says nothing here.
        const same = !zero && external ? mask | COPIED : mask;
        run += runLength(at + 8, left - 1, entry & same, same, 0);
      } else if (host & (clusterSize - 1)) aux = INVALID_UNALIGNED;
      else if (host >= OFFSET_LIMIT) aux = INVALID_OFFSET_RANGE;
      else {
        kind = zero ? KIND_ZERO_ALLOC : KIND_DATA;
        const same = mask | copiedMask;
        const room = (OFFSET_LIMIT - host - 1) >> clusterBits; // further clusters below the limit
        const max: u32 = <u64>(left - 1) > room ? <u32>room : left - 1;
        run += runLength(at + 8, max, (entry & same) + clusterSize, same, clusterSize);
      }
    }
    writeRecord(out, kind, copied, run, aux, host);
    out += EXTENT_STRIDE;
    records++;
    at += (<usize>run) << 3;
    left -= run;
  }
  return records;
}
