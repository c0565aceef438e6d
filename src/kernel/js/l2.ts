/** TypeScript twin of assembly/map/l2.ts: runs of standard and extended L2 entries. */
import * as L from "../layout.js";

const TWO32 = 4294967296;
/** Host offsets from here on are refused (they would not be safe integers). */
const OFFSET_LIMIT_HI = 0x200000; // high word of 2^53

export const RESERVED_HI = 0x3f000000;
const OFFSET_HI = 0x00ffffff;
const OFFSET_LO = 0xfffffe00;
const COMPRESSED_HI = 0x40000000;
const COPIED_HI = 0x80000000;

/** What one entry says; one object is reused, nothing here nests. */
interface Entry {
  kind: number;
  /** INVALID_* or the bytes of a compressed area. */
  aux: number;
  host: number;
}
const entry: Entry = { kind: 0, aux: 0, host: 0 };

/** Host offset and byte count of a compressed descriptor, into `area`. The offset may be 2^53 or more. */
export interface CompressedArea {
  host: number;
  bytes: number;
}
export const area: CompressedArea = { host: 0, bytes: 0 };

export function readCompressed(hi: number, lo: number, clusterBits: number): void {
  const shift = 70 - clusterBits - 32; // of the sector count, inside the high word
  const sectors = ((hi & 0x3fffffff) >>> shift) + 1;
  const hostHi = shift === 0 ? 0 : hi & ((1 << shift) - 1);
  area.host = (hostHi >>> 0) * TWO32 + (lo >>> 0);
  area.bytes = sectors * 512 - (lo & 511);
}

function setEntry(kind: number, aux: number, host: number): void {
  entry.kind = kind;
  entry.aux = aux;
  entry.host = host;
}

function decodeCompressed(hi: number, lo: number, clusterBits: number, flags: number, bitmapIsZero: boolean): void {
  readCompressed(hi, lo, clusterBits);
  if (flags & L.L2_EXTERNAL_DATA) setEntry(L.KIND_INVALID, L.INVALID_COMPRESSED_WITH_DATA_FILE, area.host);
  else if (!bitmapIsZero) setEntry(L.KIND_INVALID, L.INVALID_COMPRESSED_WITH_BITMAP, area.host);
  else if (flags & L.L2_STRICT && hi & COPIED_HI) setEntry(L.KIND_INVALID, L.INVALID_RESERVED_BITS, area.host);
  else if (area.host >= OFFSET_LIMIT_HI * TWO32) setEntry(L.KIND_INVALID, L.INVALID_OFFSET_RANGE, area.host);
  else setEntry(L.KIND_COMPRESSED, area.bytes, area.host);
}

function decodeStandard(hi: number, lo: number, clusterBits: number, flags: number): void {
  if (hi & COMPRESSED_HI) return decodeCompressed(hi, lo, clusterBits, flags, true);
  const host = (hi & OFFSET_HI) * TWO32 + ((lo & OFFSET_LO) >>> 0);
  const zero = (lo & 1) !== 0;
  if (flags & L.L2_STRICT && (hi & RESERVED_HI || lo & 0x1fe)) return setEntry(L.KIND_INVALID, L.INVALID_RESERVED_BITS, host);
  if (zero && !(flags & L.L2_VERSION3)) return setEntry(L.KIND_INVALID, L.INVALID_ZERO_IN_V2, host);
  if (host === 0) {
    if (zero) return setEntry(L.KIND_ZERO_PLAIN, 0, 0);
    if (!(flags & L.L2_EXTERNAL_DATA && hi & COPIED_HI)) return setEntry(L.KIND_UNALLOCATED, 0, 0);
  }
  if (lo & OFFSET_LO & ((1 << clusterBits) - 1)) return setEntry(L.KIND_INVALID, L.INVALID_UNALIGNED, host);
  if ((hi & OFFSET_HI) >= OFFSET_LIMIT_HI) return setEntry(L.KIND_INVALID, L.INVALID_OFFSET_RANGE, host);
  setEntry(zero ? L.KIND_ZERO_ALLOC : L.KIND_DATA, 0, host);
}

function writeRecord(view: DataView, at: number, kind: number, copied: number, length: number, aux: number, host: number): void {
  view.setUint32(at + L.EXTENT_KIND, kind, true);
  view.setUint32(at + L.EXTENT_FLAGS, copied, true);
  view.setUint32(at + L.EXTENT_LENGTH, length, true);
  view.setUint32(at + L.EXTENT_AUX, aux, true);
  view.setFloat64(at + L.EXTENT_HOST, host, true);
}

export function scanL2(
  view: DataView,
  table: number,
  first: number,
  count: number,
  clusterBits: number,
  flags: number,
  out: number,
  maxOut: number,
): number {
  const step = 2 ** clusterBits;
  const strict = (flags & L.L2_STRICT) !== 0;
  const maskLo = strict ? 0xffffffff : ~0x1fe;
  const maskHi = (strict ? 0x7fffffff : 0x40ffffff) | (flags & L.L2_MIND_COPIED ? COPIED_HI : 0);
  let at = table + first * 8;
  let left = count;
  let records = 0;
  while (left > 0 && records < maxOut) {
    const hi = view.getUint32(at, false);
    const lo = view.getUint32(at + 4, false);
    decodeStandard(hi, lo, clusterBits, flags);
    const { kind, aux, host } = entry;
    const copied =
      flags & L.L2_MIND_COPIED && hi & COPIED_HI && kind !== L.KIND_UNALLOCATED && kind !== L.KIND_ZERO_PLAIN
        ? L.EXTENT_COPIED
        : 0;
    let run = 1;
    if (kind === L.KIND_UNALLOCATED || kind === L.KIND_ZERO_PLAIN) {
      // Only a COPIED flag that makes offset 0 of an external data file "data" matters here.
      const sameHi = kind === L.KIND_UNALLOCATED && flags & L.L2_EXTERNAL_DATA ? maskHi | COPIED_HI : maskHi & 0x7fffffff;
      const wantHi = (hi & sameHi) >>> 0;
      const wantLo = (lo & maskLo) >>> 0;
      while (
        run < left &&
        (view.getUint32(at + run * 8, false) & sameHi) >>> 0 === wantHi &&
        (view.getUint32(at + run * 8 + 4, false) & maskLo) >>> 0 === wantLo
      )
        run++;
    } else if (kind === L.KIND_DATA || kind === L.KIND_ZERO_ALLOC) {
      let wantHi = (hi & maskHi) >>> 0;
      let wantLo = (lo & maskLo) >>> 0;
      let next = host + step;
      while (run < left && next < OFFSET_LIMIT_HI * TWO32) {
        wantLo += step;
        if (wantLo >= TWO32) {
          wantLo -= TWO32;
          wantHi++;
        }
        if (
          (view.getUint32(at + run * 8 + 4, false) & maskLo) >>> 0 !== wantLo ||
          (view.getUint32(at + run * 8, false) & maskHi) >>> 0 !== wantHi
        )
          break;
        next += step;
        run++;
      }
    }
    writeRecord(view, out + records * L.EXTENT_STRIDE, kind, copied, run, aux, host);
    records++;
    at += run * 8;
    left -= run;
  }
  return records;
}

/** Count of trailing one bits. */
function trailingOnes(mask: number): number {
  const inverted = ~mask;
  return inverted === 0 ? 32 : 31 - Math.clz32(inverted & -inverted);
}

function decodeExtended(
  hi: number,
  lo: number,
  zeros: number,
  allocs: number,
  sub: number,
  clusterBits: number,
  flags: number,
): void {
  if (hi & COMPRESSED_HI) return decodeCompressed(hi, lo, clusterBits, flags, (zeros | allocs) === 0);
  const host = (hi & OFFSET_HI) * TWO32 + ((lo & OFFSET_LO) >>> 0);
  const hasHost = host !== 0 || (flags & L.L2_EXTERNAL_DATA && hi & COPIED_HI) !== 0;
  if (flags & L.L2_STRICT && (hi & RESERVED_HI || lo & 0x1fe)) return setEntry(L.KIND_INVALID, L.INVALID_RESERVED_BITS, host);
  if (!hasHost && allocs !== 0) return setEntry(L.KIND_INVALID, L.INVALID_ALLOC_WITHOUT_OFFSET, host);
  if (hasHost && (allocs & zeros) !== 0) return setEntry(L.KIND_INVALID, L.INVALID_BITMAP_CONFLICT, host);
  if (hasHost && lo & OFFSET_LO & ((1 << clusterBits) - 1)) return setEntry(L.KIND_INVALID, L.INVALID_UNALIGNED, host);
  if ((hi & OFFSET_HI) >= OFFSET_LIMIT_HI) return setEntry(L.KIND_INVALID, L.INVALID_OFFSET_RANGE, host);
  const here = hasHost ? host + sub * 2 ** (clusterBits - 5) : 0;
  if ((allocs >>> sub) & 1) setEntry(L.KIND_DATA, 0, here);
  else if ((zeros >>> sub) & 1) setEntry(hasHost ? L.KIND_ZERO_ALLOC : L.KIND_ZERO_PLAIN, 0, here);
  else setEntry(hasHost ? L.KIND_UNALLOCATED_ALLOC : L.KIND_UNALLOCATED, 0, here);
}

export function scanL2Extended(
  view: DataView,
  table: number,
  first: number,
  count: number,
  clusterBits: number,
  flags: number,
  out: number,
  maxOut: number,
): number {
  const subSize = 2 ** (clusterBits - 5);
  let at = table + (first >>> 5) * 16;
  let sub = first & 31;
  let left = count;
  let records = 0;
  // The open run; kind -1 means none.
  let kind = -1;
  let copied = 0;
  let length = 0;
  let aux = 0;
  let host = 0;
  while (left > 0) {
    const hi = view.getUint32(at, false);
    const lo = view.getUint32(at + 4, false);
    const zeros = view.getUint32(at + 8, false);
    const allocs = view.getUint32(at + 12, false);
    decodeExtended(hi, lo, zeros, allocs, sub, clusterBits, flags);
    const now = entry.kind;
    let run = 32 - sub;
    if (now !== L.KIND_COMPRESSED && now !== L.KIND_INVALID) {
      const mask =
        now === L.KIND_DATA ? allocs : now === L.KIND_ZERO_PLAIN || now === L.KIND_ZERO_ALLOC ? zeros : ~(allocs | zeros);
      run = Math.min(run, trailingOnes(mask >>> sub));
    }
    run = Math.min(run, left);
    const plain = now === L.KIND_UNALLOCATED || now === L.KIND_ZERO_PLAIN;
    const flag = flags & L.L2_MIND_COPIED && hi & COPIED_HI && !plain ? L.EXTENT_COPIED : 0;
    const alone = now === L.KIND_COMPRESSED || now === L.KIND_INVALID;
    if (now === kind && !alone && flag === copied && (plain || host + length * subSize === entry.host)) {
      length += run;
    } else {
      if (kind >= 0) {
        writeRecord(view, out + records * L.EXTENT_STRIDE, kind, copied, length, aux, host);
        records++;
        kind = -1;
      }
      if (records === maxOut) break;
      kind = now;
      copied = flag;
      length = run;
      aux = entry.aux;
      host = entry.host;
    }
    left -= run;
    sub += run;
    if (sub === 32) {
      sub = 0;
      at += 16;
    }
  }
  if (kind >= 0 && records < maxOut) {
    writeRecord(view, out + records * L.EXTENT_STRIDE, kind, copied, length, aux, host);
    records++;
  }
  return records;
}
