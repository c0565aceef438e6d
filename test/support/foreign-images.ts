/** Images of formats that nobody here writes: DMG, cloop, Bochs, VMware servers' extents. */
import { deflateSync } from "node:zlib";
import { concatBytes, encodeText, viewOf, writeU64BE, writeU64LE } from "../../src/base/bytes.js";

const SECTOR = 512;

/** A chunk of a DMG. */
export interface DmgPart {
  type: number;
  sector: number;
  sectors: number;
  bytes: Uint8Array;
  /** Claimed instead of the real ones. */
  packed?: number;
  host?: number;
}

/**
 * A DMG as Apple's tools lay it out: data fork, property list with one block table, trailer. Older ones have the table in a resource
 * fork.
 */
export function makeDmg(parts: readonly DmgPart[], sectors: number, tableIn: "list" | "fork" = "list"): Uint8Array {
  const data = Buffer.concat(parts.map((part) => part.bytes));
  const table = new Uint8Array(204 + 40 * (parts.length + 1));
  const view = viewOf(table);
  table.set(encodeText("mish"));
  view.setUint32(4, 1);
  writeU64BE(view, 16, sectors);
  view.setUint32(200, parts.length + 1);
  let host = 0;
  parts.forEach((part, i) => {
    const at = 204 + 40 * i;
    view.setUint32(at, part.type);
    writeU64BE(view, at + 8, part.sector);
    writeU64BE(view, at + 16, part.sectors);
    writeU64BE(view, at + 24, part.host ?? host);
    writeU64BE(view, at + 32, part.packed ?? part.bytes.length);
    host += part.bytes.length;
  });
  view.setUint32(204 + 40 * parts.length, 0xffffffff);
  const head = new Uint8Array(20);
  viewOf(head).setUint32(0, 16);
  viewOf(head).setUint32(8, 4 + table.length);
  viewOf(head).setUint32(16, table.length);
  const fork = tableIn === "fork" ? concatBytes([head, table]) : new Uint8Array(0);
  const list = Buffer.from(
    `<plist><dict><key>blkx</key><array><dict><key>Data</key><data>\n${Buffer.from(table).toString("base64")}\n</data></dict></array></dict></plist>`,
  );
  const trailer = new Uint8Array(512);
  const end = viewOf(trailer);
  trailer.set(encodeText("koly"));
  writeU64BE(end, 0x20, data.length);
  if (tableIn === "fork") {
    writeU64BE(end, 0x28, data.length);
    writeU64BE(end, 0x30, fork.length);
  } else {
    writeU64BE(end, 0xd8, data.length);
    writeU64BE(end, 0xe0, list.length);
  }
  writeU64BE(end, 0x1ec, sectors);
  return Buffer.concat([data, tableIn === "fork" ? fork : list, trailer]);
}

/** The content (whole sectors) in zlib chunks of 256 KiB; those of zeros take no space. */
export function dmgOf(content: Uint8Array, tableIn: "list" | "fork" = "list"): Uint8Array {
  const parts: DmgPart[] = [];
  for (let at = 0; at < content.length; at += 262144) {
    const plain = content.subarray(at, at + 262144);
    const zero = plain.every((byte) => byte === 0);
    parts.push({
      type: zero ? 0 : 0x80000005,
      sector: at / SECTOR,
      sectors: plain.length / SECTOR,
      bytes: zero ? new Uint8Array(0) : deflateSync(plain),
    });
  }
  return makeDmg(parts, content.length / SECTOR, tableIn);
}

/** The content (whole blocks) as a compressed loop image; `change` gets the header and the table of offsets. */
export function cloopOf(content: Uint8Array, blockSize: number, change: (view: DataView) => void = () => {}): Uint8Array {
  const count = content.length / blockSize;
  const blocks = Array.from(
    { length: count },
    (_, i) => new Uint8Array(deflateSync(content.subarray(i * blockSize, (i + 1) * blockSize))),
  );
  const head = new Uint8Array(136 + (count + 1) * 8);
  head.set(encodeText("#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"));
  const view = viewOf(head);
  view.setUint32(128, blockSize);
  view.setUint32(132, count);
  let offset = head.length;
  blocks.forEach((block, i) => {
    writeU64BE(view, 136 + i * 8, offset);
    offset += block.length;
  });
  writeU64BE(view, 136 + count * 8, offset);
  change(view);
  return concatBytes([head, ...blocks]);
}

/** The content (whole sectors) as a Bochs growing image of version 2; sectors of zeros are not stored. */
export function bochsOf(content: Uint8Array): Uint8Array {
  const EXTENT = 1048576;
  const BITMAP = 512;
  const count = Math.ceil(content.length / EXTENT);
  const head = new Uint8Array(512 + count * 4);
  head.set(encodeText("Bochs Virtual HD Image"));
  head.set(encodeText("Redolog"), 32);
  head.set(encodeText("Growing"), 48);
  const view = viewOf(head);
  for (const [at, value] of [
    [64, 0x20000],
    [68, 512],
    [72, count],
    [76, BITMAP],
    [80, EXTENT],
  ] as const)
    view.setUint32(at, value, true);
  writeU64LE(view, 88, content.length);
  const extents: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const plain = content.subarray(i * EXTENT, (i + 1) * EXTENT);
    const extent = new Uint8Array(BITMAP + EXTENT);
    for (let at = 0; at < plain.length; at += SECTOR) {
      const sector = plain.subarray(at, at + SECTOR);
      if (sector.every((byte) => byte === 0)) continue;
      extent[(at / SECTOR) >>> 3]! |= 1 << ((at / SECTOR) % 8);
      extent.set(sector, BITMAP + at);
    }
    const isThere = plain.some((byte) => byte !== 0);
    view.setUint32(512 + i * 4, isThere ? extents.length : 0xffffffff, true);
    if (isThere) extents.push(extent);
  }
  return concatBytes([head, ...extents]);
}

/** An ESX server extent: 8 sectors a grain, one table; grain 1 and 3 of 5 are stored. */
export function cowdExtent(): Uint8Array {
  const bytes = new Uint8Array(512 * 64);
  const view = viewOf(bytes);
  bytes.set(encodeText("COWD"));
  [1, 3, 40, 8, 4, 1].forEach((value, i) => view.setUint32(4 + i * 4, value, true));
  view.setUint32(4 * 512, 8, true);
  view.setUint32(8 * 512 + 4, 48, true);
  view.setUint32(8 * 512 + 12, 56, true);
  bytes.fill(0xc1, 48 * 512, 56 * 512);
  bytes.fill(0xc3, 56 * 512, 64 * 512);
  return bytes;
}

/** A "space efficient" extent of 4 grains (4 KiB): not there, zeros, unmapped, stored as grain 0x1002. */
export function seSparseExtent(): Uint8Array {
  const bytes = new Uint8Array((200 + 0x1003 * 8) * 512);
  const view = viewOf(bytes);
  const field = (index: number, low: number, high = 0): void => {
    view.setUint32(index * 8, low, true);
    view.setUint32(index * 8 + 4, high, true);
  };
  field(0, 0xcafebabe);
  field(1, 1, 2);
  field(2, 32);
  field(3, 8);
  field(4, 64);
  field(10, 1);
  field(16, 2);
  field(17, 1);
  field(18, 100);
  field(24, 200);
  view.setUint32(512, 0xcafecafe, true);
  view.setUint32(2 * 512, 0, true);
  view.setUint32(2 * 512 + 4, 0x10000000, true);
  const entry = (grain: number, low: number, high: number): void => {
    view.setUint32(100 * 512 + grain * 8, low, true);
    view.setUint32(100 * 512 + grain * 8 + 4, high, true);
  };
  entry(1, 0, 0x20000000);
  entry(2, 7, 0x10000000);
  // Grain number 0x1002: its lowest twelve bits stand above the others.
  entry(3, 1, 0x30020000);
  bytes.fill(0x5e, (200 + 0x1002 * 8) * 512, (200 + 0x1003 * 8) * 512);
  return bytes;
}
