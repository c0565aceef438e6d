/**
 * L2 entries the slow and obvious way, in BigInt and one (sub)cluster at a time, written from the format's description
 * alone: neither kernel flavour shares code with it.
 */
import * as L from "../../../src/kernel/layout.js";
import type { ExtentRecord } from "../../../src/kernel/extent.js";

const bit = (value: bigint, index: number): boolean => ((value >> BigInt(index)) & 1n) === 1n;
const bits = (value: bigint, from: number, to: number): bigint => (value >> BigInt(from)) & ((1n << BigInt(to - from + 1)) - 1n);

function field(bytes: Uint8Array, at: number): bigint {
  let value = 0n;
  for (let i = 0; i < 8; i++) value = (value << 8n) | BigInt(bytes[at + i]!);
  return value;
}

/** One unit (cluster, or subcluster when `sub` is a number) as a record of length 1. */
function unit(entry: bigint, bitmap: bigint, sub: number | null, clusterBits: number, flags: number): ExtentRecord {
  const external = (flags & L.L2_EXTERNAL_DATA) !== 0;
  const strict = (flags & L.L2_STRICT) !== 0;
  const copied = bit(entry, 63) && (flags & L.L2_MIND_COPIED) !== 0;
  const record = (kind: number, host: bigint, aux = 0): ExtentRecord => ({
    kind,
    aux,
    host: Number(host),
    length: 1,
    copied: copied && kind !== L.KIND_UNALLOCATED && kind !== L.KIND_ZERO_PLAIN,
  });
  const invalid = (host: bigint, reason: number): ExtentRecord => record(L.KIND_INVALID, host, reason);
  if (bit(entry, 62)) {
    const x = 62 - (clusterBits - 8);
    const host = bits(entry, 0, x - 1);
    const sectors = Number(bits(entry, x, 61)) + 1;
    if (external) return invalid(host, L.INVALID_COMPRESSED_WITH_DATA_FILE);
    if (bitmap !== 0n) return invalid(host, L.INVALID_COMPRESSED_WITH_BITMAP);
    if (strict && bit(entry, 63)) return invalid(host, L.INVALID_RESERVED_BITS);
    if (host >= 1n << 53n) return invalid(host, L.INVALID_OFFSET_RANGE);
    return record(L.KIND_COMPRESSED, host, sectors * 512 - Number(host % 512n));
  }
  const host = bits(entry, 9, 55) << 9n;
  const zeroFlag = bit(entry, 0);
  const there = host !== 0n || (external && bit(entry, 63));
  const reserved = bits(entry, 1, 8) !== 0n || bits(entry, 56, 61) !== 0n;
  if (strict && reserved) return invalid(host, L.INVALID_RESERVED_BITS);
  const badHost = (): ExtentRecord | null =>
    host % (1n << BigInt(clusterBits)) !== 0n
      ? invalid(host, L.INVALID_UNALIGNED)
      : host >= 1n << 53n
        ? invalid(host, L.INVALID_OFFSET_RANGE)
        : null;
  if (sub === null) {
    if (zeroFlag && !(flags & L.L2_VERSION3)) return invalid(host, L.INVALID_ZERO_IN_V2);
    if (zeroFlag) return host === 0n ? record(L.KIND_ZERO_PLAIN, 0n) : (badHost() ?? record(L.KIND_ZERO_ALLOC, host));
    return there ? (badHost() ?? record(L.KIND_DATA, host)) : record(L.KIND_UNALLOCATED, 0n);
  }
  const allocs = bits(bitmap, 0, 31);
  const zeros = bits(bitmap, 32, 63);
  if (!there) {
    if (allocs !== 0n) return invalid(host, L.INVALID_ALLOC_WITHOUT_OFFSET);
    return record(bit(zeros, sub) ? L.KIND_ZERO_PLAIN : L.KIND_UNALLOCATED, 0n);
  }
  if ((allocs & zeros) !== 0n) return invalid(host, L.INVALID_BITMAP_CONFLICT);
  const bad = badHost();
  if (bad !== null) return bad;
  const here = host + (BigInt(sub) << BigInt(clusterBits - 5));
  return record(bit(allocs, sub) ? L.KIND_DATA : bit(zeros, sub) ? L.KIND_ZERO_ALLOC : L.KIND_UNALLOCATED_ALLOC, here);
}

/** What scanL2 (extended: scanL2Extended) should write for the table `bytes`. */
export function oracleScan(
  bytes: Uint8Array,
  extended: boolean,
  first: number,
  count: number,
  clusterBits: number,
  flags: number,
  maxOut: number,
): ExtentRecord[] {
  const out: ExtentRecord[] = [];
  const unitSize = 2 ** (extended ? clusterBits - 5 : clusterBits);
  let previousCluster = -1;
  for (let i = first; i < first + count; i++) {
    const cluster = extended ? i >> 5 : i;
    const now = extended
      ? unit(field(bytes, cluster * 16), field(bytes, cluster * 16 + 8), i & 31, clusterBits, flags)
      : unit(field(bytes, i * 8), 0n, null, clusterBits, flags);
    const last = out.at(-1);
    const alone = now.kind === L.KIND_COMPRESSED || now.kind === L.KIND_INVALID;
    const plain = now.kind === L.KIND_UNALLOCATED || now.kind === L.KIND_ZERO_PLAIN;
    const joins =
      last !== undefined &&
      last.kind === now.kind &&
      (alone
        ? cluster === previousCluster
        : last.copied === now.copied && (plain || last.host + last.length * unitSize === now.host));
    if (joins) last.length++;
    else if (out.length === maxOut) break;
    else out.push(now);
    previousCluster = cluster;
  }
  return out;
}
