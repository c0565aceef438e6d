/**
 * What a kernel is: an object that owns one fixed memory and offers pure functions on it.
 *
 * Pointers are byte offsets in `memory`. Host offsets are safe integers in doubles. Arguments come from our own geometry
 * code: a pointer outside of the memory is our bug (WebAssembly traps, the twin may return nonsense). Table *content* may
 * be anything. Both flavours give identical results and leave identical bytes behind.
 */
export interface Kernel {
  readonly flavour: "wasm" | "js";
  /** The whole memory. Its size never changes, so views on it stay valid for life. */
  readonly memory: Uint8Array;
  readonly view: DataView;

  /**
   * Walks `count` standard L2 entries (8 bytes, big endian) from index `first` of the table at `table`, and writes runs as
   * extent records (src/kernel/extent.ts reads them) at `out`; lengths are clusters. Data and zero-allocated clusters
   * form a run only when their host clusters follow each other; compressed and invalid entries stand alone.
   * Stops after `maxOut` records or `count` entries; the records' lengths tell how far it came.
   * @param flags L2_VERSION3 | L2_EXTERNAL_DATA | L2_MIND_COPIED | L2_STRICT
   * @returns number of records
   */
  scanL2(table: number, first: number, count: number, clusterBits: number, flags: number, out: number, maxOut: number): number;
  /**
   * The same for extended L2 entries (16 bytes, 32 subclusters per cluster). `first`, `count` and the records' lengths are
   * in subclusters; the host offset is that of the run's first subcluster (of a compressed cluster: its compressed area).
   */
  scanL2Extended(
    table: number,
    first: number,
    count: number,
    clusterBits: number,
    flags: number,
    out: number,
    maxOut: number,
  ): number;

  /** Refcount `index` of a block with entries of 2^order bits (order 0 to 6). 64-bit values above 2^53-1 come as Infinity. */
  refGet(block: number, index: number, order: number): number;
  /** Stores a refcount; `value` is a safe integer that fits the width. */
  refSet(block: number, index: number, order: number, value: number): void;
  /**
   * Adds `delta` (+1 or -1) to `count` refcounts.
   * @returns -1, or the index of the first entry that would over- or underflow; then nothing has been changed
   */
  refAddRange(block: number, first: number, count: number, order: number, delta: number): number;
  /** Index of the first refcount that is 0 in [first, first+count), or -1. */
  refFindFree(block: number, first: number, count: number, order: number): number;
  /** Index of the first refcount that is not 0 in [first, first+count), or -1. */
  refFindUsed(block: number, first: number, count: number, order: number): number;
  /** Index of the last refcount that is not 0 in [first, first+count), or -1. */
  refLastUsed(block: number, first: number, count: number, order: number): number;
  /** Index where the first run of `want` (at least 1) free entries inside [first, first+count) starts, or -1. */
  refFindFreeRun(block: number, first: number, count: number, order: number, want: number): number;
  /** Number of free entries at the very end of [first, first+count): how long a run is that may go on in the next block. */
  refFreeTail(block: number, first: number, count: number, order: number): number;
  refCountUsed(block: number, first: number, count: number, order: number): number;
  /**
   * Compares `count` refcounts from index `first` with `count` census counters (u32) and writes the block indexes that
   * differ as u32 at `out`, at most `maxOut`.
   * @returns number of indexes written
   */
  refCompare(block: number, first: number, count: number, order: number, counters: number, out: number, maxOut: number): number;

  /**
   * Adds `amount` to the u32 counters of host clusters [first, first+clusters) (relative to the window, may be outside of
   * it in part or whole, safe integers), saturating at 2^32-1. `n` is the number of counters.
   * @returns number of clusters that were inside
   */
  censusAdd(counters: number, n: number, first: number, clusters: number, amount: number): number;
  /**
   * Adds 1 to the counter of every host cluster in the window [baseCluster, baseCluster+n) for each reference an L2 table
   * (or a slice of it, with CENSUS_CONTINUE) holds to it, and adds to the statistics at `stats` (CENSUS_*; zeroed by the
   * caller before the first call). Corruption and fragmentation are counted as `qemu-img check` counts them.
   */
  censusL2(
    table: number,
    count: number,
    clusterBits: number,
    flags: number,
    counters: number,
    baseCluster: number,
    n: number,
    stats: number,
  ): void;

  isZero(at: number, length: number): boolean;
  /** Index of the first byte that is not 0, or `length`. */
  findNonZero(at: number, length: number): number;
  /** Bytes of the leading run of all-zero pieces of `granularity` bytes; the last piece may be short. */
  zeroRun(at: number, length: number, granularity: number): number;
  /** Bytes of the leading run of pieces that hold at least one byte that is not 0. */
  dataRun(at: number, length: number, granularity: number): number;
  /** Index of the first byte that differs, or `length`. */
  firstDifference(a: number, b: number, length: number): number;
  /** Reverses the bytes of `count` 64-bit fields in place. */
  swap64(at: number, count: number): void;

  // Bitmaps: bit i is bit (i & 7) of byte i >> 3; indexes and counts are up to 2^32.
  /** Sets a range of bits. @returns number of bits that were clear */
  bitSetRange(bitmap: number, first: number, count: number): number;
  /** Clears a range of bits. @returns number of bits that were set */
  bitClearRange(bitmap: number, first: number, count: number): number;
  bitCount(bitmap: number, first: number, count: number): number;
  /** Index of the first set bit in [first, first+count), or -1. */
  bitFindSet(bitmap: number, first: number, count: number): number;
  /** Index of the first clear bit in [first, first+count), or -1. */
  bitFindClear(bitmap: number, first: number, count: number): number;
  /** target |= source, `bytes` long. */
  bitOr(target: number, source: number, bytes: number): void;
  /** target &= source, `bytes` long. */
  bitAnd(target: number, source: number, bytes: number): void;
  /** target &= ~source, `bytes` long. */
  bitAndNot(target: number, source: number, bytes: number): void;
}
