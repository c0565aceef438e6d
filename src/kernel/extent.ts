/** Reads the extent records and the census statistics that the kernels write. */
import * as L from "./layout.js";

/** One run of clusters (scanL2) or subclusters (scanL2Extended). */
export interface ExtentRecord {
  /** KIND_* of layout.ts. */
  kind: number;
  /** The COPIED flag; always false without L2_MIND_COPIED. */
  copied: boolean;
  length: number;
  /** Bytes of a compressed area; INVALID_* of an invalid entry; otherwise 0. */
  aux: number;
  /** Host offset in bytes (of an invalid entry: what its offset field says); 0 for kinds without one. */
  host: number;
}

export function newExtentRecord(): ExtentRecord {
  return { kind: 0, copied: false, length: 0, aux: 0, host: 0 };
}

/** Reads record `index` of the list at `out` into `into` (reused on hot paths) and returns it. */
export function readExtent(view: DataView, out: number, index: number, into: ExtentRecord): ExtentRecord {
  const at = out + index * L.EXTENT_STRIDE;
  into.kind = view.getUint32(at + L.EXTENT_KIND, true);
  into.copied = (view.getUint32(at + L.EXTENT_FLAGS, true) & L.EXTENT_COPIED) !== 0;
  into.length = view.getUint32(at + L.EXTENT_LENGTH, true);
  into.aux = view.getUint32(at + L.EXTENT_AUX, true);
  into.host = view.getFloat64(at + L.EXTENT_HOST, true);
  return into;
}

/** What censusL2 has counted so far; see CENSUS_* of layout.ts. */
export interface CensusStatistics {
  allocated: number;
  compressed: number;
  fragmented: number;
  zeroPlain: number;
  zeroAllocated: number;
  unallocated: number;
  corrupt: number;
  reserved: number;
  outside: number;
  zeroInV2: number;
  hostEnd: number;
}

export function readCensus(view: DataView, stats: number): CensusStatistics {
  const u32 = (field: number): number => view.getUint32(stats + field, true);
  return {
    allocated: u32(L.CENSUS_ALLOCATED),
    compressed: u32(L.CENSUS_COMPRESSED),
    fragmented: u32(L.CENSUS_FRAGMENTED),
    zeroPlain: u32(L.CENSUS_ZERO_PLAIN),
    zeroAllocated: u32(L.CENSUS_ZERO_ALLOC),
    unallocated: u32(L.CENSUS_UNALLOCATED),
    corrupt: u32(L.CENSUS_CORRUPT),
    reserved: u32(L.CENSUS_RESERVED),
    outside: u32(L.CENSUS_OUTSIDE),
    zeroInV2: u32(L.CENSUS_ZERO_IN_V2),
    hostEnd: view.getFloat64(stats + L.CENSUS_HOST_END, true),
  };
}
