/** Where the fields of a qcow2 image are, found by walking its structures. */
import { viewOf } from "../../src/base/bytes.js";
import { FieldList, type Field, type Layout } from "./fields.js";

/** All fields of a sound image. */
export function fieldsOf(bytes: Uint8Array): Field[] {
  const list = new FieldList(bytes, "big");
  const view = viewOf(bytes);
  const add = list.add.bind(list);
  const u32 = list.u32.bind(list);
  const u64 = list.u64.bind(list);
  const offset = (at: number): number => (u64(at) % 2 ** 56) - (u64(at) % 512);
  const table = (name: string, at: number, entries: number, each?: (table: number) => void): void =>
    list.table(name, at, entries, 8, (entry) => void (offset(entry) > 0 && each?.(offset(entry))));
  const version = u32(4);
  const size = 2 ** u32(20);
  const extended = version >= 3 && (u32(76) & 16) !== 0;
  list.layout(
    "header",
    0,
    HEADER.filter(([, at]) => version >= 3 || at < 72),
  );
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
      list.layout(`bitmap${i}`, at, BITMAP);
      table(`bitmap${i}.table`, u64(at), u32(at + 8));
      at += Math.ceil((24 + view.getUint16(at + 18)) / 8) * 8;
    }
  }
  for (let at = u64(64), i = 0; i < u32(60); i++) {
    list.layout(`snapshot${i}`, at, SNAPSHOT);
    table(`snapshot${i}.l1`, u64(at), u32(at + 8), l2);
    at += Math.ceil((40 + u32(at + 36) + view.getUint16(at + 12) + view.getUint16(at + 14)) / 8) * 8;
  }
  return list.fields;
}

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
