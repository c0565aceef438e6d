/** A reader of FAT12, FAT16 and FAT32 disks for tests, made after Microsoft's specification and from nothing of ours. */
import type { FileTree } from "../../src/storage/memory-directory.js";

const u16 = (bytes: Uint8Array, at: number): number => bytes[at]! | (bytes[at + 1]! << 8);
const u32 = (bytes: Uint8Array, at: number): number => (u16(bytes, at) | (u16(bytes, at + 2) << 16)) >>> 0;

/** The files of a disk: with a partition table, or without. Deleted and hidden things are left out; long names where there are any. */
export function readFat(disk: Uint8Array): { tree: FileTree; label: string; type: number } {
  const partition = disk[0] === 0xeb ? 0 : u32(disk, 0x1be + 8) * 512;
  const boot = disk.subarray(partition);
  const perCluster = boot[13]! * 512;
  const rootBytes = u16(boot, 17) * 32;
  const fatSectors = u16(boot, 22) || u32(boot, 36);
  const fatAt = u16(boot, 14) * 512;
  const rootAt = fatAt + boot[16]! * fatSectors * 512;
  const dataAt = rootAt + rootBytes;
  const sectors = u16(boot, 19) || u32(boot, 32);
  const clusters = Math.floor((sectors * 512 - dataAt) / perCluster);
  // The number of clusters decides, but QEMU calls a floppy of few clusters FAT16 and means it.
  const type = rootBytes === 0 ? 32 : Number(new TextDecoder().decode(boot.subarray(54 + 3, 54 + 5)));
  const fat = boot.subarray(fatAt, fatAt + fatSectors * 512);
  const next = (cluster: number): number => {
    if (type === 32) return u32(fat, cluster * 4) & 0x0fffffff;
    if (type === 16) return u16(fat, cluster * 2);
    const pair = u16(fat, cluster + (cluster >> 1));
    return cluster & 1 ? pair >> 4 : pair & 0xfff;
  };
  const end = type === 32 ? 0x0ffffff8 : type === 16 ? 0xfff8 : 0xff8;
  const chain = (first: number): Uint8Array => {
    const parts: number[] = [];
    for (let cluster = first; cluster < end; cluster = next(cluster)) {
      if (cluster < 2 || cluster >= clusters + 2 || parts.length > clusters) throw new Error(`bad chain at ${cluster}`);
      parts.push(cluster);
    }
    const bytes = new Uint8Array(parts.length * perCluster);
    parts.forEach((cluster, i) => {
      const at = dataAt + (cluster - 2) * perCluster;
      bytes.set(boot.subarray(at, at + perCluster), i * perCluster);
    });
    return bytes;
  };
  let label = "";
  const folder = (bytes: Uint8Array): FileTree => {
    const tree: FileTree = {};
    let long = "";
    for (let at = 0; at < bytes.length && bytes[at] !== 0; at += 32) {
      const entry = bytes.subarray(at, at + 32);
      if (entry[0] === 0xe5) continue;
      const attributes = entry[11]!;
      const short = new TextDecoder("latin1").decode(entry.subarray(0, 11));
      if (attributes === 0x0f) {
        let piece = "";
        for (const place of [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30]) piece += String.fromCharCode(u16(entry, place));
        long = piece.replace(/\0.*/s, "") + long;
        continue;
      }
      if ((attributes & 0x08) !== 0) label = short.trimEnd();
      else if (entry[0] !== 0x2e) {
        const plain = `${short.slice(0, 8).trimEnd()}.${short.slice(8).trimEnd()}`.replace(/\.$/, "");
        const first = u16(entry, 26) + (type === 32 ? u16(entry, 20) * 65536 : 0);
        const content = first === 0 ? new Uint8Array(0) : chain(first);
        tree[long || plain] = (attributes & 0x10) !== 0 ? folder(content) : content.slice(0, u32(entry, 28));
      }
      long = "";
    }
    return tree;
  };
  const root = type === 32 ? chain(u32(boot, 44)) : boot.subarray(rootAt, dataAt);
  const tree = folder(root);
  return { tree, label, type };
}
