/** Who references which host cluster: the counters of `check`. */
import {
  CENSUS_ALLOCATED,
  CENSUS_COMPRESSED,
  CENSUS_CONTINUE,
  CENSUS_CORRUPT,
  CENSUS_FRAGMENTED,
  CENSUS_HOST_END,
  CENSUS_NEXT_CONTIGUOUS,
  CENSUS_OUTSIDE,
  CENSUS_RESERVED,
  CENSUS_UNALLOCATED,
  CENSUS_ZERO_ALLOC,
  CENSUS_ZERO_IN_V2,
  CENSUS_ZERO_PLAIN,
  L2_EXTENDED,
  L2_EXTERNAL_DATA,
  L2_VERSION3,
} from "../layout";
import { COMPRESSED, COPIED, OFFSET_LIMIT, OFFSET_MASK, RESERVED, ZERO, compressedBytes, compressedHost } from "../map/entry";

/** Adds to counters [first, end), which are inside; saturates. */
function addInside(counters: usize, first: u32, end: u32, amount: u32): void {
  for (let i = first; i < end; i++) {
    const at = counters + ((<usize>i) << 2);
    const sum = <u64>load<u32>(at) + amount;
    store<u32>(at, sum > 0xffffffff ? 0xffffffff : <u32>sum);
  }
}

export function censusAdd(counters: usize, n: u32, first: f64, clusters: f64, amount: u32): u32 {
  const start = max<f64>(first, 0);
  const end = min<f64>(first + clusters, <f64>n);
  if (end <= start) return 0;
  addInside(counters, <u32>start, <u32>end, amount);
  return <u32>(end - start);
}

function count(stats: usize, field: usize): void {
  store<u32>(stats + field, load<u32>(stats + field) + 1);
}

/** Counts bytes [host, host+bytes), which is not empty. */
function reference(host: u64, bytes: u32, clusterBits: u32, counters: usize, base: u64, n: u32, stats: usize): void {
  if (host >= OFFSET_LIMIT) {
    store<f64>(stats + CENSUS_HOST_END, Infinity);
    count(stats, CENSUS_OUTSIDE);
    return;
  }
  const end = host + bytes;
  if (<f64>end > load<f64>(stats + CENSUS_HOST_END)) store<f64>(stats + CENSUS_HOST_END, <f64>end);
  const first = <i64>((host >> clusterBits) - base);
  const stop = <i64>(((end - 1) >> clusterBits) - base) + 1;
  const inFirst = max<i64>(first, 0);
  const inStop = min<i64>(stop, n);
  if (inFirst < inStop) addInside(counters, <u32>inFirst, <u32>inStop, 1);
  if (inFirst !== first || inStop !== stop) count(stats, CENSUS_OUTSIDE);
}

export function censusL2(
  table: usize,
  entries: u32,
  clusterBits: u32,
  flags: u32,
  counters: usize,
  baseCluster: f64,
  n: u32,
  stats: usize,
): void {
  const clusterSize: u64 = (<u64>1) << clusterBits;
  const base = <u64>baseCluster;
  const extended = (flags & L2_EXTENDED) !== 0;
  const external = (flags & L2_EXTERNAL_DATA) !== 0;
  const stride: usize = extended ? 16 : 8;
  let next: u64 = flags & CENSUS_CONTINUE ? <u64>load<f64>(stats + CENSUS_NEXT_CONTIGUOUS) : 0;
  let at = table;
  for (let i: u32 = 0; i < entries; i++, at += stride) {
    if (!extended && load<u64>(at) === 0) {
      // Gaps are the most common thing in sparse tables: all of it at once.
      let last = i;
      while (entries - last > 4 && !v128.any_true(v128.or(v128.load(at + 8), v128.load(at + 24)))) {
        last += 4;
        at += 32;
      }
      while (entries - last > 1 && load<u64>(at + 8) === 0) {
        last++;
        at += 8;
      }
      store<u32>(stats + CENSUS_UNALLOCATED, load<u32>(stats + CENSUS_UNALLOCATED) + (last - i + 1));
      i = last;
      continue;
    }
    const entry = bswap(load<u64>(at));
    const bitmap: u64 = extended ? bswap(load<u64>(at, 8)) : 0;
    const allocs = <u32>bitmap;
    const zeros = <u32>(bitmap >> 32);
    if (entry & COMPRESSED) {
      if (entry & COPIED) count(stats, CENSUS_CORRUPT); // never COPIED
      if (external || bitmap !== 0) {
        count(stats, CENSUS_CORRUPT);
        continue;
      }
      count(stats, CENSUS_ALLOCATED);
      count(stats, CENSUS_COMPRESSED);
      count(stats, CENSUS_FRAGMENTED); // compressed clusters always are
      reference(compressedHost(entry, clusterBits), compressedBytes(entry, clusterBits), clusterBits, counters, base, n, stats);
      continue;
    }
    if (entry & RESERVED) {
      count(stats, CENSUS_RESERVED);
      count(stats, CENSUS_CORRUPT);
    }
    const host = entry & OFFSET_MASK;
    const zero = !extended && (entry & ZERO) !== 0;
    if (zero && !(flags & L2_VERSION3)) count(stats, CENSUS_ZERO_IN_V2);
    if (host === 0 && (zero || !(external && entry & COPIED))) {
      if (allocs !== 0) count(stats, CENSUS_CORRUPT);
      count(stats, zero || (zeros === 0xffffffff && allocs === 0) ? CENSUS_ZERO_PLAIN : CENSUS_UNALLOCATED);
      continue;
    }
    if (zeros & allocs) count(stats, CENSUS_CORRUPT);
    if (host & (clusterSize - 1)) count(stats, CENSUS_CORRUPT);
    count(stats, CENSUS_ALLOCATED);
    if (zero || (extended && allocs === 0)) count(stats, CENSUS_ZERO_ALLOC);
    if (next !== 0 && host !== next) count(stats, CENSUS_FRAGMENTED);
    next = host + clusterSize;
    if (!external) reference(host, <u32>clusterSize, clusterBits, counters, base, n, stats);
  }
  store<f64>(stats + CENSUS_NEXT_CONTIGUOUS, <f64>next);
}
