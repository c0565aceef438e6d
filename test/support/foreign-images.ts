/** Images of formats that nobody here writes: DMG, cloop, Bochs. */
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

/** A DMG as Apple's tools lay it out: data fork, property list with one block table, trailer. */
export function makeDmg(parts: readonly DmgPart[], sectors: number): Uint8Array {
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
  const list = Buffer.from(
    `<plist><dict><key>blkx</key><array><dict><key>Data</key><data>\n${Buffer.from(table).toString("base64")}\n</data></dict></array></dict></plist>`,
  );
  const trailer = new Uint8Array(512);
  const end = viewOf(trailer);
  trailer.set(encodeText("koly"));
  writeU64BE(end, 0x20, data.length);
  writeU64BE(end, 0xd8, data.length);
  writeU64BE(end, 0xe0, list.length);
  writeU64BE(end, 0x1ec, sectors);
  return Buffer.concat([data, list, trailer]);
}

/** The content (whole sectors) in zlib chunks of 256 KiB; those of zeros take no space. */
export function dmgOf(content: Uint8Array): Uint8Array {
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
  return makeDmg(parts, content.length / SECTOR);
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
