/** TypeScript twin of assembly/refcount/census.ts: who references which host cluster. */
import * as L from "../layout.js";
import { RESERVED_HI, area, readCompressed } from "./l2.js";

const TWO32 = 4294967296;
const OFFSET_LIMIT = 2 ** 53;

export function censusAdd(view: DataView, counters: number, n: number, first: number, clusters: number, amount: number): number {
  const start = Math.max(first, 0);
  const end = Math.min(first + clusters, n);
  for (let i = start; i < end; i++) {
    const at = counters + i * 4;
    view.setUint32(at, Math.min(view.getUint32(at, true) + amount, 0xffffffff), true);
  }
  return Math.max(end - start, 0);
}

export function censusL2(
  view: DataView,
  table: number,
  count: number,
  clusterBits: number,
  flags: number,
  counters: number,
  baseCluster: number,
  n: number,
  stats: number,
): void {
  const clusterSize = 2 ** clusterBits;
  const extended = (flags & L.L2_EXTENDED) !== 0;
  const stride = extended ? 16 : 8;
  const add = (field: number): void => view.setUint32(stats + field, view.getUint32(stats + field, true) + 1, true);
  let next = flags & L.CENSUS_CONTINUE ? view.getFloat64(stats + L.CENSUS_NEXT_CONTIGUOUS, true) : 0;
  let hostEnd = view.getFloat64(stats + L.CENSUS_HOST_END, true);

  const reference = (host: number, bytes: number): void => {
    if (host >= OFFSET_LIMIT) {
      hostEnd = Infinity;
      add(L.CENSUS_OUTSIDE);
      return;
    }
    const end = host + bytes;
    if (end > hostEnd) hostEnd = end;
    const firstCluster = Math.floor(host / clusterSize) - baseCluster;
    const clusters = Math.floor((end - 1) / clusterSize) - baseCluster - firstCluster + 1;
    if (censusAdd(view, counters, n, firstCluster, clusters, 1) !== clusters) add(L.CENSUS_OUTSIDE);
  };

  for (let i = 0, at = table; i < count; i++, at += stride) {
    const hi = view.getUint32(at, false);
    const lo = view.getUint32(at + 4, false);
    const zeros = extended ? view.getUint32(at + 8, false) : 0;
    const allocs = extended ? view.getUint32(at + 12, false) : 0;
    if (hi & 0x40000000) {
      if (hi & 0x80000000) add(L.CENSUS_CORRUPT); // never COPIED
      if (flags & L.L2_EXTERNAL_DATA || zeros !== 0 || allocs !== 0) {
        add(L.CENSUS_CORRUPT);
        continue;
      }
      add(L.CENSUS_ALLOCATED);
      add(L.CENSUS_COMPRESSED);
      add(L.CENSUS_FRAGMENTED); // compressed clusters always are
      readCompressed(hi, lo, clusterBits);
      reference(area.host, area.bytes);
      continue;
    }
    if (hi & RESERVED_HI || lo & 0x1fe) {
      add(L.CENSUS_RESERVED);
      add(L.CENSUS_CORRUPT);
    }
    const host = (hi & 0xffffff) * TWO32 + ((lo & 0xfffffe00) >>> 0);
    const zero = !extended && (lo & 1) !== 0;
    if (zero && !(flags & L.L2_VERSION3)) add(L.CENSUS_ZERO_IN_V2);
    if (host === 0 && (zero || !(flags & L.L2_EXTERNAL_DATA && hi & 0x80000000))) {
      if (allocs !== 0) add(L.CENSUS_CORRUPT);
      add(zero || (zeros === 0xffffffff && allocs === 0) ? L.CENSUS_ZERO_PLAIN : L.CENSUS_UNALLOCATED);
      continue;
    }
    if (zeros & allocs) add(L.CENSUS_CORRUPT);
    if (host % clusterSize !== 0) add(L.CENSUS_CORRUPT);
    add(L.CENSUS_ALLOCATED);
    if (zero || (extended && allocs === 0)) add(L.CENSUS_ZERO_ALLOC);
    if (next !== 0 && host !== next) add(L.CENSUS_FRAGMENTED);
    next = host + clusterSize;
    if (!(flags & L.L2_EXTERNAL_DATA)) reference(host, clusterSize);
  }
  view.setFloat64(stats + L.CENSUS_NEXT_CONTIGUOUS, next, true);
  view.setFloat64(stats + L.CENSUS_HOST_END, hostEnd, true);
}
