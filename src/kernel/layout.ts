/**
 * Record layouts, kinds and flags of the kernels: the same names and numbers as `assembly/layout.ts`, which another
 * compiler reads (a test keeps the two equal). All records are little endian; pointers to records are multiples of 8.
 */

// One extent record, as written by scanL2 and scanL2Extended.
export const EXTENT_STRIDE = 24;
export const EXTENT_KIND = 0; // u32, KIND_*
export const EXTENT_FLAGS = 4; // u32, EXTENT_COPIED
export const EXTENT_LENGTH = 8; // u32, clusters (scanL2) or subclusters (scanL2Extended)
export const EXTENT_AUX = 12; // u32, bytes of a compressed area, or INVALID_* of an invalid entry
export const EXTENT_HOST = 16; // f64, host byte offset

export const EXTENT_COPIED = 1;

export const KIND_UNALLOCATED = 0; // nothing here: the backing file shows through
export const KIND_ZERO_PLAIN = 1; // reads as zeros, no host cluster
export const KIND_ZERO_ALLOC = 2; // reads as zeros, a host cluster is kept for it
export const KIND_DATA = 3;
export const KIND_COMPRESSED = 4;
export const KIND_INVALID = 5;
export const KIND_UNALLOCATED_ALLOC = 6; // subcluster without content in a cluster that has a host cluster

export const INVALID_RESERVED_BITS = 1; // only with L2_STRICT
export const INVALID_UNALIGNED = 2; // host offset is not a multiple of the cluster size
export const INVALID_ZERO_IN_V2 = 3; // zero flag in a version 2 image
export const INVALID_COMPRESSED_WITH_DATA_FILE = 4;
export const INVALID_OFFSET_RANGE = 5; // host offset is 2^53 or more
export const INVALID_BITMAP_CONFLICT = 6; // a subcluster is both allocated and zero
export const INVALID_ALLOC_WITHOUT_OFFSET = 7; // subclusters are allocated, but there is no host cluster
export const INVALID_COMPRESSED_WITH_BITMAP = 8;

// Flags of scanL2, scanL2Extended and censusL2.
export const L2_VERSION3 = 1; // bit 0 of a standard descriptor is the zero flag
export const L2_EXTERNAL_DATA = 2; // the image has an external data file
export const L2_MIND_COPIED = 4; // report the COPIED flag, and end a run where it changes
export const L2_STRICT = 8; // reserved bits make an entry invalid (QEMU reads on)
export const L2_EXTENDED = 16; // censusL2 only: 16-byte entries
export const CENSUS_CONTINUE = 32; // censusL2 only: this slice continues the table of the call before

// Statistics of censusL2. Counters are u32 and are added to.
export const CENSUS_STRIDE = 56;
export const CENSUS_ALLOCATED = 0; // clusters with a host cluster or a compressed area
export const CENSUS_COMPRESSED = 4;
export const CENSUS_FRAGMENTED = 8;
export const CENSUS_ZERO_PLAIN = 12;
export const CENSUS_ZERO_ALLOC = 16;
export const CENSUS_UNALLOCATED = 20;
export const CENSUS_CORRUPT = 24; // contradictions to the format, one entry may have several
export const CENSUS_RESERVED = 28; // entries with reserved bits set (also counted as corrupt)
export const CENSUS_OUTSIDE = 32; // entries that touch a host cluster outside of the window
export const CENSUS_ZERO_IN_V2 = 36;
export const CENSUS_NEXT_CONTIGUOUS = 40; // f64, where the next data cluster would continue the last one
export const CENSUS_HOST_END = 48; // f64, end of the highest referenced byte, Infinity from 2^53 on
