/** Numbers of the qcow2 format (QEMU docs/interop/qcow2.txt) and the limits we hold images to. */
import { MiB } from "../../base/int.js";

export const MAGIC = 0x514649fb;
export const MIN_CLUSTER_BITS = 9;
export const MAX_CLUSTER_BITS = 21;
export const MIN_EXTENDED_L2_CLUSTER_BITS = 14;

export const V2_HEADER_LENGTH = 72;
/** Header length we write for version 3: up to and including the compression type, padded to 8. */
export const V3_HEADER_LENGTH = 112;
export const V3_MIN_HEADER_LENGTH = 104;

// Limits (bytes or entries) that QEMU has too.
export const MAX_L1_BYTES: number = 32 * MiB;
export const MAX_REFTABLE_BYTES: number = 8 * MiB;
export const MAX_BACKING_NAME = 1023;
export const MAX_SNAPSHOTS = 65536;
export const MAX_SNAPSHOT_TABLE_BYTES: number = 64 * MiB;
export const MAX_BITMAPS = 65535;
export const MAX_BITMAP_DIRECTORY_BYTES: number = 64 * MiB;

// High words of table entries (bits 32 to 63).
export const COPIED_HI = 0x80000000;
export const COMPRESSED_HI = 0x40000000;
/** Bits 9 to 55 of L1 and L2 entries hold an offset. */
export const OFFSET_HI = 0x00ffffff;
export const OFFSET_LO = 0xfffffe00;
/** L2: reads as zeros (standard entries, version 3). */
export const ZERO_LO = 1;
/** L1: bits that must be zero. */
export const L1_RESERVED_HI = 0x7f000000;
export const L1_RESERVED_LO = 0x1ff;

export const Incompatible = { dirty: 1, corrupt: 2, dataFile: 4, compression: 8, extendedL2: 16 } as const;
export const INCOMPATIBLE_KNOWN = 31;
export const Compatible = { lazyRefcounts: 1 } as const;
export const Autoclear = { bitmaps: 1, rawDataFile: 2 } as const;

export const Extension = {
  end: 0,
  backingFormat: 0xe2792aca,
  featureNames: 0x6803f857,
  cryptoHeader: 0x0537be77,
  bitmaps: 0x23852875,
  dataFile: 0x44415441,
} as const;

export const CryptMethod = { none: 0, aes: 1, luks: 2 } as const;

/** Feature names as the feature name table of a new image lists them: type (0 incompatible, 1 compatible, 2 autoclear), bit, name. */
export const FEATURE_NAMES: readonly (readonly [number, number, string])[] = [
  [0, 0, "dirty bit"],
  [0, 1, "corrupt bit"],
  [0, 2, "external data file"],
  [0, 3, "compression type"],
  [0, 4, "extended L2 entries"],
  [1, 0, "lazy refcounts"],
  [2, 0, "bitmaps"],
  [2, 1, "raw external data"],
];
