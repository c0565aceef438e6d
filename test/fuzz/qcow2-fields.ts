/** Where the fields of a qcow2 image are, found by walking its structures, and what to put into them. */
import { viewOf } from "../../src/base/bytes.js";
import type { Random } from "../support/random.js";

/** A field of the image: `length` bytes (1 to 8), big-endian. */
export interface Field {
  readonly name: string;
  readonly at: number;
  readonly length: number;
}

/** Entries of one table that are taken as fields at most: those at the beginning, where small images have theirs. */
const ENTRIES = 24;

/** All fields of a sound image. */
export function fieldsOf(bytes: Uint8Array): Field[] {
  const fields: Field[] = [];
  const view = viewOf(bytes);
  const add = (name: string, at: number, length: number): void => {
    if (at >= 0 && at + length <= bytes.length) fields.push({ name, at, length });
  };
  const u64 = (at: number): number => (at + 8 <= bytes.length ? view.getUint32(at) * 4294967296 + view.getUint32(at + 4) : 0);
  const u32 = (at: number): number => (at + 4 <= bytes.length ? view.getUint32(at) : 0);
  const offset = (at: number): number => (u64(at) % 2 ** 56) - (u64(at) % 512);
  const table = (name: string, at: number, entries: number, each?: (entry: number) => void): void => {
    for (let i = 0; i < Math.min(entries, ENTRIES); i++) {
      add(`${name}[${i}]`, at + i * 8, 8);
      if (each !== undefined && offset(at + i * 8) > 0) each(offset(at + i * 8));
    }
  };
  const version = u32(4);
  const size = 2 ** u32(20);
  const extended = version >= 3 && (u32(76) & 16) !== 0;
  for (const [name, at, length] of HEADER) if (version >= 3 || at < 72) add(`header.${name}`, at, length);
  const l2 = (at: number): void => table("l2", at, extended ? size / 16 : size / 8);
  table("l1", u64(40), u32(36), l2);
  table("reftable", u64(48), (u32(56) * size) / 8, (block) => table("refblock", block, size / 8));

  // Header extensions, and the bitmaps that one of them leads to.
  for (let at = version >= 3 ? u32(100) : 72; u32(at) !== 0 && at + 8 < size;) {
    const length = u32(at + 4);
    add("extension.type", at, 4);
    add("extension.length", at + 4, 4);
    for (let i = 0; i + 4 <= Math.min(length, 24); i += 4) add("extension.data", at + 8 + i, 4);
    if (u32(at) === 0x23852875) bitmaps(u64(at + 24), u32(at + 8));
    at += 8 + Math.ceil(length / 8) * 8;
  }
  function bitmaps(directory: number, count: number): void {
    for (let at = directory, i = 0; i < count; i++) {
      for (const [name, from, length] of BITMAP) add(`bitmap${i}.${name}`, at + from, length);
      table(`bitmap${i}.table`, u64(at), u32(at + 8));
      at += Math.ceil((24 + view.getUint16(at + 18)) / 8) * 8;
    }
  }
  for (let at = u64(64), i = 0; i < u32(60); i++) {
    for (const [name, from, length] of SNAPSHOT) add(`snapshot${i}.${name}`, at + from, length);
    table(`snapshot${i}.l1`, u64(at), u32(at + 8), l2);
    at += Math.ceil((40 + u32(at + 36) + view.getUint16(at + 12) + view.getUint16(at + 14)) / 8) * 8;
  }
  return fields;
}

type Layout = readonly (readonly [name: string, at: number, length: number])[];
const HEADER: Layout = [
  ["version", 4, 4],
  ["backing_offset", 8, 8],
  ["backing_size", 16, 4],
  ["cluster_bits", 20, 4],
  ["size", 24, 8],
  ["crypt_method", 32, 4],
  ["l1_size", 36, 4],
  ["l1_offset", 40, 8],
  ["reftable_offset", 48, 8],
  ["reftable_clusters", 56, 4],
  ["snapshots", 60, 4],
  ["snapshots_offset", 64, 8],
  ["incompatible", 72, 8],
  ["compatible", 80, 8],
  ["autoclear", 88, 8],
  ["refcount_order", 96, 4],
  ["header_length", 100, 4],
  ["compression_type", 104, 1],
];
const SNAPSHOT: Layout = [
  ["l1_offset", 0, 8],
  ["l1_size", 8, 4],
  ["id_size", 12, 2],
  ["name_size", 14, 2],
  ["vm_clock", 24, 8],
  ["vm_state_size", 32, 4],
  ["extra_size", 36, 4],
  ["vm_state_large", 40, 8],
  ["disk_size", 48, 8],
];
const BITMAP: Layout = [
  ["table_offset", 0, 8],
  ["table_size", 8, 4],
  ["flags", 12, 4],
  ["type", 16, 1],
  ["granularity_bits", 17, 1],
  ["name_size", 18, 2],
  ["extra_size", 20, 4],
];

/** Puts something else into a field; returns what was done, for the report. */
export function damage(bytes: Uint8Array, field: Field, fields: readonly Field[], choose: Random): string {
  const { at, length } = field;
  const old = bytes.slice(at, at + length);
  const part = bytes.subarray(at, at + length);
  const kind = choose.int(9);
  switch (kind) {
    case 0:
      part.fill(0);
      break;
    case 1:
      part.fill(0xff);
      break;
    case 2: // one bit
      part[choose.int(length)]! ^= 1 << choose.int(8);
      break;
    case 3: // one more or less, at some place value
      part[length - 1 - choose.int(Math.min(3, length))]! += choose.chance(0.5) ? 1 : 0xff;
      break;
    case 4: // the sign, or close to it
      part.fill(choose.chance(0.5) ? 0 : 0xff);
      part[0] = choose.chance(0.5) ? 0x80 : 0x7f;
      break;
    case 5: {
      // what another field of this width has: tables that are each other's
      const others = fields.filter((other) => other.length === length);
      const other = choose.pick(others);
      part.set(bytes.slice(other.at, other.at + length));
      break;
    }
    case 6: // far away, but aligned
      part.fill(0);
      part[choose.int(length)] = 1 << choose.int(8);
      break;
    case 7: // close to the end of the file
      part.fill(0);
      if (length >= 4) viewOf(part).setUint32(length - 4, Math.max(0, bytes.length - 512 * choose.int(3)));
      break;
    default:
      part.set(choose.bytes(length));
  }
  const hex = (from: Uint8Array): string => Array.from(from, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${field.name} at ${at}: ${hex(old)} -> ${hex(part)}`;
}
