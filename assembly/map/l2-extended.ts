/** Runs of subclusters in extended L2 entries. Like QEMU, they do not look at bit 0, the zero flag of standard entries. */
import {
  EXTENT_COPIED,
  EXTENT_STRIDE,
  INVALID_ALLOC_WITHOUT_OFFSET,
  INVALID_BITMAP_CONFLICT,
  INVALID_COMPRESSED_WITH_BITMAP,
  INVALID_COMPRESSED_WITH_DATA_FILE,
  INVALID_OFFSET_RANGE,
  INVALID_RESERVED_BITS,
  INVALID_UNALIGNED,
  KIND_COMPRESSED,
  KIND_DATA,
  KIND_INVALID,
  KIND_UNALLOCATED,
  KIND_UNALLOCATED_ALLOC,
  KIND_ZERO_ALLOC,
  KIND_ZERO_PLAIN,
  L2_EXTERNAL_DATA,
  L2_MIND_COPIED,
  L2_STRICT,
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

const NONE: u32 = 0xffffffff;

/** Number of 16-byte entries from `at` (at most `max`) that equal `expect`, with `step` added to the first field each time. */
function uniformClusters(at: usize, max: u32, entry: u64, bitmap: u64, mask: u64, step: u64): u32 {
  const reverse = v128(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
  const masks = i64x2(mask, -1);
  const steps = i64x2(step, 0);
  let want = i64x2.replace_lane(i64x2.splat(entry & mask), 1, bitmap);
  let n: u32 = 0;
  for (; n < max; n++, at += 16) {
    want = i64x2.add(want, steps);
    if (v128.any_true(v128.xor(v128.and(v128.swizzle(v128.load(at), reverse), masks), want))) break;
  }
  return n;
}

export function scanL2Extended(table: usize, first: u32, count: u32, clusterBits: u32, flags: u32, out: usize, maxOut: u32): u32 {
  const clusterSize: u64 = (<u64>1) << clusterBits;
  const subBits = clusterBits - 5;
  const external = (flags & L2_EXTERNAL_DATA) !== 0;
  const strict = (flags & L2_STRICT) !== 0;
  const copiedMask: u64 = flags & L2_MIND_COPIED ? COPIED : 0;
  let at = table + ((<usize>(first >> 5)) << 4);
  let sub = first & 31;
  let left = count;
  let records: u32 = 0;
  // The open run.
  let kind: u32 = NONE;
  let copied: u32 = 0;
  let length: u32 = 0;
  let aux: u32 = 0;
  let host: u64 = 0;
  while (left !== 0) {
    const entry = bswap(load<u64>(at));
    const bitmap = bswap(load<u64>(at, 8));
    const allocs = <u32>bitmap;
    const zeros = <u32>(bitmap >> 32);
    let now: u32 = KIND_INVALID;
    let nowAux: u32 = 0;
    let nowHost: u64 = 0;
    let flag: u32 = entry & copiedMask ? EXTENT_COPIED : 0;
    let run: u32 = 32 - sub;
    let plain = false; // kinds without a host offset
    let mergeable = false;
    if (entry & COMPRESSED) {
      nowHost = compressedHost(entry, clusterBits);
      if (external) nowAux = INVALID_COMPRESSED_WITH_DATA_FILE;
      else if (bitmap !== 0) nowAux = INVALID_COMPRESSED_WITH_BITMAP;
      else if (strict && entry & COPIED) nowAux = INVALID_RESERVED_BITS;
      else if (nowHost >= OFFSET_LIMIT) nowAux = INVALID_OFFSET_RANGE;
      else {
        now = KIND_COMPRESSED;
        nowAux = compressedBytes(entry, clusterBits);
      }
    } else {
      nowHost = entry & OFFSET_MASK;
      const hasHost = nowHost !== 0 || (external && (entry & COPIED) !== 0);
      if (strict && entry & RESERVED) nowAux = INVALID_RESERVED_BITS;
      else if (!hasHost && allocs !== 0) nowAux = INVALID_ALLOC_WITHOUT_OFFSET;
      else if (hasHost && (allocs & zeros) !== 0) nowAux = INVALID_BITMAP_CONFLICT;
      else if (nowHost & (clusterSize - 1)) nowAux = INVALID_UNALIGNED;
      else if (nowHost >= OFFSET_LIMIT) nowAux = INVALID_OFFSET_RANGE;
      else {
        mergeable = true;
        plain = !hasHost;
        let same: u32 = 0;
        if ((allocs >> sub) & 1) {
          now = KIND_DATA;
          same = allocs;
        } else if ((zeros >> sub) & 1) {
          now = hasHost ? KIND_ZERO_ALLOC : KIND_ZERO_PLAIN;
          same = zeros;
        } else {
          now = hasHost ? KIND_UNALLOCATED_ALLOC : KIND_UNALLOCATED;
          same = ~(allocs | zeros);
        }
        run = <u32>ctz<i32>(~(same >> sub));
        if (run > 32 - sub) run = 32 - sub;
        if (plain) flag = 0;
        else nowHost += (<u64>sub) << subBits;
      }
    }
    const whole = mergeable && run === 32;
    if (run > left) run = left;
    if (whole && left >= 64) {
      // A uniform cluster: see how many more like it follow.
      let max = (left >> 5) - 1;
      let mask: u64 = strict ? ~(COPIED | ZERO) : ~(COPIED | RESERVED | ZERO);
      let step: u64 = 0;
      if (plain) {
        if (external) mask |= COPIED;
      } else {
        mask |= copiedMask;
        step = clusterSize;
        const room = (OFFSET_LIMIT - nowHost - 1) >> clusterBits;
        if (<u64>max > room) max = <u32>room;
      }
      run += uniformClusters(at + 16, max, entry, bitmap, mask, step) << 5;
    }
    if (mergeable && now === kind && flag === copied && (plain || host + ((<u64>length) << subBits) === nowHost)) {
      length += run;
    } else {
      if (kind !== NONE) {
        writeRecord(out, kind, copied, length, aux, host);
        out += EXTENT_STRIDE;
        records++;
        kind = NONE;
      }
      if (records === maxOut) break;
      kind = now;
      copied = flag;
      length = run;
      aux = nowAux;
      host = nowHost;
    }
    left -= run;
    sub += run;
    at += (<usize>(sub >> 5)) << 4;
    sub &= 31;
  }
  if (kind !== NONE && records < maxOut) {
    writeRecord(out, kind, copied, length, aux, host);
    records++;
  }
  return records;
}
