/** CRC-32C over a structure whose own checksum field counts as zero. */
import { viewOf } from "../../base/bytes.js";
import { crc32c } from "../../codec/checksum/crc32c.js";

const FIELD = 4;
const ZERO = new Uint8Array(4);

/** All structures have their checksum in bytes 4 to 7. */
export function checksumOf(bytes: Uint8Array): number {
  return crc32c(bytes.subarray(8), crc32c(ZERO, crc32c(bytes.subarray(0, FIELD))));
}
export function hasValidChecksum(bytes: Uint8Array): boolean {
  return viewOf(bytes).getUint32(FIELD, true) === checksumOf(bytes);
}
export function setChecksum(bytes: Uint8Array): void {
  viewOf(bytes).setUint32(FIELD, checksumOf(bytes), true);
}
