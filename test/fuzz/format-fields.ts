/** Where the fields of images are that are not qcow2's; the checksums that some formats have over them. */
import { startsWith, viewOf } from "../../src/base/bytes.js";
import { setChecksum } from "../../src/formats/vhdx/checksum.js";
import { FieldList, type Field, type Layout } from "./fields.js";

/** The fields of a sound image; `seal` makes checksums right again after damage. */
export interface Anatomy {
  fields(bytes: Uint8Array): Field[];
  seal?(bytes: Uint8Array): void;
}

/** A directory of tables: `entries` of them, `width` bytes each, in units of `unit` bytes. */
function tables(list: FieldList, at: number, entries: number, width: number, unit: number, each: (table: number) => void): void {
  list.table("directory", at, entries, width, (entry) => {
    const offset = (width === 8 ? list.u64(entry) : list.u32(entry)) * unit;
    if (offset > 0) each(offset);
  });
}

const vdi: Anatomy = {
  fields(bytes) {
    const list = new FieldList(bytes, "little");
    list.layout("header", 0, VDI);
    list.table("map", list.u32(340), list.u32(384), 4);
    return list.fields;
  },
};
const VDI: Layout = [
  ["version", 68, 4],
  ["header_size", 72, 4],
  ["type", 76, 4],
  ["flags", 80, 4],
  ["map_offset", 340, 4],
  ["data_offset", 344, 4],
  ["sector_size", 360, 4],
  ["disk_size", 368, 8],
  ["block_size", 376, 4],
  ["block_extra", 380, 4],
  ["blocks", 384, 4],
  ["allocated", 388, 4],
  ["uuid_link", 424, 8],
  ["uuid_parent", 440, 8],
];

const vpc: Anatomy = {
  fields(bytes) {
    const list = new FieldList(bytes, "big");
    const footer = bytes.length - 512;
    list.layout("footer", footer, VPC_FOOTER);
    if (list.u32(footer + 60) === 2) return list.fields;
    list.layout("copy", 0, VPC_FOOTER);
    list.layout("dynamic", 512, VPC_DYNAMIC);
    list.table("bat", list.u64(512 + 16), list.u32(512 + 28), 4);
    return list.fields;
  },
  seal(bytes) {
    const view = viewOf(bytes);
    for (const [at, length, place] of [
      [0, 512, 64],
      [bytes.length - 512, 512, 64],
      [512, 1024, 36],
    ] as const) {
      if (at < 0 || at + length > bytes.length || !startsWith(bytes, length === 512 ? "conectix" : "cxsparse", at)) continue;
      view.setUint32(at + place, 0);
      view.setUint32(at + place, ~bytes.subarray(at, at + length).reduce((sum, byte) => sum + byte, 0));
    }
  },
};
const VPC_FOOTER: Layout = [
  ["features", 8, 4],
  ["version", 12, 4],
  ["data_offset", 16, 8],
  ["creator", 28, 4],
  ["original_size", 40, 8],
  ["size", 48, 8],
  ["cylinders", 56, 2],
  ["heads", 58, 1],
  ["sectors", 59, 1],
  ["type", 60, 4],
  ["checksum", 64, 4],
];
const VPC_DYNAMIC: Layout = [
  ["next", 8, 8],
  ["table_offset", 16, 8],
  ["version", 24, 4],
  ["entries", 28, 4],
  ["block_size", 32, 4],
  ["checksum", 36, 4],
  ["parent_name", 64, 4],
  ["locator.code", 576, 4],
  ["locator.space", 580, 4],
  ["locator.length", 584, 4],
  ["locator.offset", 592, 8],
];

const parallels: Anatomy = {
  fields(bytes) {
    const list = new FieldList(bytes, "little");
    list.layout("header", 0, PARALLELS);
    list.table("bat", 64, list.u32(32), 4);
    return list.fields;
  },
};
const PARALLELS: Layout = [
  ["version", 16, 4],
  ["heads", 20, 4],
  ["cylinders", 24, 4],
  ["tracks", 28, 4],
  ["entries", 32, 4],
  ["sectors", 36, 8],
  ["in_use", 44, 4],
  ["data_offset", 48, 4],
  ["flags", 52, 4],
  ["extension_offset", 56, 8],
];

const qed: Anatomy = {
  fields(bytes) {
    const list = new FieldList(bytes, "little");
    list.layout("header", 0, QED);
    const entries = (list.u32(4) * list.u32(8)) / 8;
    tables(list, list.u64(40), entries, 8, 1, (l2) => list.table("l2", l2, entries, 8));
    return list.fields;
  },
};
const QED: Layout = [
  ["cluster_size", 4, 4],
  ["table_size", 8, 4],
  ["header_size", 12, 4],
  ["features", 16, 8],
  ["compatible", 24, 8],
  ["autoclear", 32, 8],
  ["l1_offset", 40, 8],
  ["size", 48, 8],
  ["backing_offset", 56, 4],
  ["backing_length", 60, 4],
];

const qcow: Anatomy = {
  fields(bytes) {
    const list = new FieldList(bytes, "big");
    list.layout("header", 0, QCOW);
    const clusterBits = bytes[32]!;
    const l2Entries = 2 ** bytes[33]!;
    const entries = Math.ceil(list.u64(24) / (l2Entries * 2 ** clusterBits));
    tables(list, list.u64(40), entries, 8, 1, (l2) => list.table("l2", l2, l2Entries, 8));
    return list.fields;
  },
};
const QCOW: Layout = [
  ["version", 4, 4],
  ["backing_offset", 8, 8],
  ["backing_length", 16, 4],
  ["size", 24, 8],
  ["cluster_bits", 32, 1],
  ["l2_bits", 33, 1],
  ["crypt_method", 36, 4],
  ["l1_offset", 40, 8],
];

const cow: Anatomy = {
  fields(bytes) {
    const list = new FieldList(bytes, "big");
    list.add("version", 4, 4);
    list.text("backing", 8, 1024);
    list.add("mtime", 1032, 4);
    list.add("size", 1040, 8);
    list.add("sector_size", 1048, 4);
    list.table("bitmap", 4096, 8, 1);
    return list.fields;
  },
};

const bochs: Anatomy = {
  fields(bytes) {
    const list = new FieldList(bytes, "little");
    list.layout("header", 0, [
      ["version", 64, 4],
      ["header", 68, 4],
      ["catalog", 72, 4],
      ["bitmap", 76, 4],
      ["extent", 80, 4],
      ["size_1", 84, 8],
      ["size", 88, 8],
    ]);
    list.table("catalog", list.u32(68), list.u32(72), 4);
    return list.fields;
  },
};

const cloop: Anatomy = {
  fields(bytes) {
    const list = new FieldList(bytes, "big");
    list.add("block_size", 128, 4);
    list.add("blocks", 132, 4);
    list.table("offsets", 136, list.u32(132) + 1, 8);
    return list.fields;
  },
};

/** One with its tables in a resource fork, where they are no base64. */
const dmg: Anatomy = {
  fields(bytes) {
    const list = new FieldList(bytes, "big");
    const trailer = bytes.length - 512;
    list.layout("trailer", trailer, DMG);
    const fork = list.u64(trailer + 0x28);
    list.layout("fork", fork, [
      ["data", 0, 4],
      ["map", 4, 4],
      ["data_length", 8, 4],
      ["length", 16, 4],
    ]);
    const table = fork + 20;
    list.layout("table", table, [
      ["first_sector", 8, 8],
      ["sectors", 16, 8],
      ["data_offset", 24, 8],
      ["count", 200, 4],
    ]);
    for (let i = 0; i < Math.min(8, list.u32(table + 200)); i++) list.layout(`chunk${i}`, table + 204 + i * 40, CHUNK);
    return list.fields;
  },
};
const DMG: Layout = [
  ["data_offset", 0x18, 8],
  ["data_length", 0x20, 8],
  ["resource_offset", 0x28, 8],
  ["resource_length", 0x30, 8],
  ["list_offset", 0xd8, 8],
  ["list_length", 0xe0, 8],
  ["sectors", 0x1ec, 8],
];
const CHUNK: Layout = [
  ["type", 0, 4],
  ["sector", 8, 8],
  ["sectors", 16, 8],
  ["offset", 24, 8],
  ["length", 32, 8],
];

const luks: Anatomy = {
  fields(bytes) {
    const list = new FieldList(bytes, "big");
    list.add("version", 6, 2);
    for (const [name, at] of [
      ["cipher", 8],
      ["mode", 40],
      ["hash", 72],
    ] as const)
      list.text(name, at, 32);
    list.add("payload", 104, 4);
    list.add("key_bytes", 108, 4);
    // Without the iterations: large ones are work, not harm, up to a limit that the outside images try.
    for (let at = 208, i = 0; i < 8; i++, at += 48)
      list.layout(`slot${i}`, at, [
        ["active", 0, 4],
        ["key_offset", 40, 4],
        ["stripes", 44, 4],
      ]);
    return list.fields;
  },
};

const vmdk: Anatomy = {
  fields(bytes) {
    const list = new FieldList(bytes, "little");
    if (startsWith(bytes, "COWD")) return serverFields(list);
    if (list.u32(0) === 0xcafebabe) return seSparseFields(list);
    if (!startsWith(bytes, "KDMV")) {
      list.text("descriptor", 0, bytes.length);
      return list.fields;
    }
    list.layout("header", 0, VMDK);
    list.text("descriptor", list.u64(28) * 512, list.u64(36) * 512);
    const entries = list.u32(44);
    const count = Math.ceil(list.u64(12) / (entries * list.u64(20)));
    for (const directory of [list.u64(48), list.u64(56)])
      tables(list, directory * 512, count, 4, 512, (table) => list.table("grains", table, entries, 4));
    // Markers of a stream: where a sector begins with a number and a small size and type.
    for (let at = 512; at + 512 <= bytes.length && (list.u32(8) & 0x20000) !== 0; at += 512) {
      if (list.u32(at + 8) > 65536 || list.u32(at + 12) > 3) continue;
      list.add("marker.value", at, 8);
      list.add("marker.size", at + 8, 4);
      list.add("marker.type", at + 12, 4);
    }
    // The footer of a stream: the header once more, before the end marker.
    if (startsWith(bytes, "KDMV", bytes.length - 1024)) list.layout("footer", bytes.length - 1024, VMDK);
    return list.fields;
  },
};
const VMDK: Layout = [
  ["version", 4, 4],
  ["flags", 8, 4],
  ["capacity", 12, 8],
  ["grain", 20, 8],
  ["descriptor_offset", 28, 8],
  ["descriptor_size", 36, 8],
  ["table_entries", 44, 4],
  ["redundant", 48, 8],
  ["directory", 56, 8],
  ["overhead", 64, 8],
  ["compress", 77, 2],
];
function serverFields(list: FieldList): Field[] {
  list.table("header", 4, 6, 4);
  tables(list, list.u32(4 * 4) * 512, 1, 4, 512, (table) => list.table("grains", table, 5, 4));
  return list.fields;
}
function seSparseFields(list: FieldList): Field[] {
  list.table("header", 8, 30, 8);
  list.table("volatile", 512, 8, 8);
  list.table("directory", list.u64(16 * 8) * 512, 4, 8);
  list.table("grains", list.u64(18 * 8) * 512, 6, 8);
  return list.fields;
}

const vhdx: Anatomy = {
  fields(bytes) {
    const list = new FieldList(bytes, "little");
    for (const at of [65536, 131072]) list.layout("header", at, VHDX_HEADER);
    for (const table of [196608, 262144]) {
      list.add("regions.count", table + 8, 4);
      for (let i = 0, at = table + 16; i < 2; i++, at += 32) list.layout(`region${i}`, at, VHDX_REGION);
    }
    // The first region is the block table, the second the metadata, as our own images have them.
    const [bat, metadata] = [list.u64(196608 + 32), list.u64(196608 + 64)];
    list.table("bat", bat, 24, 8);
    list.add("metadata.count", metadata + 10, 2);
    for (let i = 0, at = metadata + 32; i < list.u32(metadata + 8) >>> 16; i++, at += 32) {
      list.layout(`item${i}`, at, VHDX_ITEM);
      list.add(`item${i}.value`, metadata + list.u32(at + 16), 4);
      list.add(`item${i}.next`, metadata + list.u32(at + 16) + 4, 4);
    }
    for (const entry of logEntries(bytes)) {
      list.layout("log", entry, VHDX_LOG);
      for (let i = 0, at = entry + 64; i < Math.min(4, list.u32(entry + 24)); i++, at += 32)
        list.layout(`descriptor${i}`, at, VHDX_DESCRIPTOR);
    }
    return list.fields;
  },
  seal(bytes) {
    const seal = (at: number, length: number): void => {
      if (at + length <= bytes.length) setChecksum(bytes.subarray(at, at + length));
    };
    for (const at of [65536, 131072]) seal(at, 4096);
    for (const at of [196608, 262144]) seal(at, 65536);
    for (const at of logEntries(bytes)) {
      const length = viewOf(bytes).getUint32(at + 8, true);
      if (length >= 64 && length <= 1048576) seal(at, length);
    }
  },
};
/** Where the log of an image of ours has entries: at its beginning. */
function logEntries(bytes: Uint8Array): number[] {
  const found: number[] = [];
  for (let at = 1048576; at < 1048576 + 65536; at += 4096) if (startsWith(bytes, "loge", at)) found.push(at);
  return found;
}
const VHDX_HEADER: Layout = [
  ["sequence", 8, 8],
  ["log_guid", 48, 8],
  ["log_version", 64, 2],
  ["version", 66, 2],
  ["log_length", 68, 4],
  ["log_offset", 72, 8],
];
const VHDX_REGION: Layout = [
  ["guid", 0, 4],
  ["offset", 16, 8],
  ["length", 24, 4],
  ["required", 28, 4],
];
const VHDX_ITEM: Layout = [
  ["guid", 0, 4],
  ["offset", 16, 4],
  ["length", 20, 4],
  ["bits", 24, 4],
];
const VHDX_LOG: Layout = [
  ["length", 8, 4],
  ["tail", 12, 4],
  ["sequence", 16, 8],
  ["descriptors", 24, 4],
  ["flushed", 48, 8],
  ["last", 56, 8],
];
const VHDX_DESCRIPTOR: Layout = [
  ["signature", 0, 4],
  ["trailing", 4, 4],
  ["leading", 8, 8],
  ["offset", 16, 8],
  ["sequence", 24, 8],
];

export type FormatName =
  | "vdi"
  | "vpc"
  | "parallels"
  | "qed"
  | "qcow"
  | "cow"
  | "bochs"
  | "cloop"
  | "dmg"
  | "luks"
  | "vmdk"
  | "vhdx";
export const anatomies: Readonly<Record<FormatName, Anatomy>> = {
  vdi,
  vpc,
  parallels,
  qed,
  qcow,
  cow,
  bochs,
  cloop,
  dmg,
  luks,
  vmdk,
  vhdx,
};
