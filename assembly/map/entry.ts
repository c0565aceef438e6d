/** The fields of an L2 entry (already in host byte order) and of an extent record. */
import { EXTENT_AUX, EXTENT_FLAGS, EXTENT_HOST, EXTENT_KIND, EXTENT_LENGTH } from "../layout";

export const COPIED: u64 = 0x8000000000000000;
export const COMPRESSED: u64 = 0x4000000000000000;
export const OFFSET_MASK: u64 = 0x00fffffffffffe00;
export const RESERVED: u64 = 0x3f000000000001fe;
export const ZERO: u64 = 1;

/** Host offsets from here on are refused: JavaScript could not hold them exactly. */
export const OFFSET_LIMIT: u64 = 0x20000000000000;

/** Host byte offset of a compressed descriptor. */
export function compressedHost(entry: u64, clusterBits: u32): u64 {
  return entry & (((<u64>1) << (70 - clusterBits)) - 1);
}

/** Bytes from that offset to the end of the last sector of the area. */
export function compressedBytes(entry: u64, clusterBits: u32): u32 {
  const sectors = <u32>((entry & 0x3fffffffffffffff) >> (70 - clusterBits)) + 1;
  return sectors * 512 - (<u32>entry & 511);
}

export function writeRecord(at: usize, kind: u32, copied: u32, length: u32, aux: u32, host: u64): void {
  store<u32>(at + EXTENT_KIND, kind);
  store<u32>(at + EXTENT_FLAGS, copied);
  store<u32>(at + EXTENT_LENGTH, length);
  store<u32>(at + EXTENT_AUX, aux);
  store<f64>(at + EXTENT_HOST, <f64>host);
}
