/** The sectors before the FATs: partition table and boot sector, with the signatures and serial numbers that QEMU's have. */
import { viewOf } from "../../base/bytes.js";
import { SECTOR, type Layout } from "./layout.js";

const DISK_SIGNATURE = 0xbe1afdfa;
const VOLUME_SERIAL = 0xfabe1afd;
const HARD_DISK = 0xf8;
const FLOPPY = 0xf0;
/** First sector of the copy of the boot sector that FAT32 has, and of its free cluster counts, from the boot sector on. */
const BACKUP = 6;
const FS_INFO = 1;

export const mediaByte = (layout: Layout): number => (layout.bootSector > 0 ? HARD_DISK : FLOPPY);

/** The byte of the boot sector that marks the volume as in use: the only one a guest may change. */
export const dirtyByte = (layout: Layout): number => (layout.fatType === 32 ? 65 : 37);

/** Sectors [0, layout.fatSector). @param label 11 bytes */
export function leadingSectors(layout: Layout, label: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(layout.fatSector * SECTOR);
  if (layout.bootSector > 0) writeMbr(bytes.subarray(0, SECTOR), layout);
  const at = layout.bootSector * SECTOR;
  writeBootSector(bytes.subarray(at, at + SECTOR), layout, label);
  if (layout.fatType === 32) {
    writeFsInfo(bytes.subarray(at + FS_INFO * SECTOR, at + (FS_INFO + 1) * SECTOR));
    bytes.copyWithin(at + BACKUP * SECTOR, at, at + 2 * SECTOR);
  }
  return bytes;
}

function endSector(sector: Uint8Array): void {
  sector[510] = 0x55;
  sector[511] = 0xaa;
}

function writeMbr(sector: Uint8Array, layout: Layout): void {
  const view = viewOf(sector);
  view.setUint32(0x1b8, DISK_SIGNATURE, true);
  const at = 0x1be;
  sector[at] = 0x80;
  const first = writeChs(sector.subarray(at + 1, at + 4), layout.bootSector, layout);
  const last = writeChs(sector.subarray(at + 5, at + 8), layout.totalSectors - 1, layout);
  const lba = !first || !last;
  sector[at + 4] = layout.fatType === 12 ? 0x01 : layout.fatType === 16 ? (lba ? 0x0e : 0x06) : lba ? 0x0c : 0x0b;
  view.setUint32(at + 8, layout.bootSector, true);
  view.setUint32(at + 12, layout.volumeSectors, true);
  endSector(sector);
}

/** Cylinder, head and sector of a place; false where they cannot say it. */
function writeChs(into: Uint8Array, place: number, layout: Layout): boolean {
  const sector = place % layout.sectorsPerTrack;
  const track = Math.floor(place / layout.sectorsPerTrack);
  const cylinder = Math.floor(track / layout.heads);
  if (cylinder >= layout.cylinders) {
    into.fill(0xff);
    return false;
  }
  into[0] = track % layout.heads;
  into[1] = (sector + 1) | ((cylinder >> 8) << 6);
  into[2] = cylinder & 0xff;
  return true;
}

function writeBootSector(sector: Uint8Array, layout: Layout, label: Uint8Array): void {
  const view = viewOf(sector);
  const wide = layout.fatType === 32;
  sector.set([0xeb, wide ? 0x58 : 0x3e, 0x90]);
  writeAscii(sector, 3, "MSWIN4.1");
  view.setUint16(11, SECTOR, true);
  sector[13] = layout.sectorsPerCluster;
  view.setUint16(14, layout.reservedSectors, true);
  sector[16] = 2;
  view.setUint16(17, layout.rootEntries, true);
  const small = layout.volumeSectors <= 0xffff;
  view.setUint16(19, small ? layout.volumeSectors : 0, true);
  sector[21] = mediaByte(layout);
  view.setUint16(22, wide ? 0 : layout.sectorsPerFat, true);
  view.setUint16(24, layout.sectorsPerTrack, true);
  view.setUint16(26, layout.heads, true);
  view.setUint32(28, layout.bootSector, true);
  view.setUint32(32, small ? 0 : layout.volumeSectors, true);
  if (wide) {
    view.setUint32(36, layout.sectorsPerFat, true);
    view.setUint32(44, layout.rootCluster, true);
    view.setUint16(48, FS_INFO, true);
    view.setUint16(50, BACKUP, true);
  }
  const at = wide ? 64 : 36;
  sector[at] = layout.bootSector > 0 ? 0x80 : 0;
  sector[at + 2] = 0x29;
  view.setUint32(at + 3, VOLUME_SERIAL, true);
  sector.set(label, at + 7);
  writeAscii(sector, at + 18, `FAT${layout.fatType}   `);
  endSector(sector);
}

/** Nothing is known of free clusters: whoever mounts the volume counts. */
function writeFsInfo(sector: Uint8Array): void {
  const view = viewOf(sector);
  view.setUint32(0, 0x41615252, true);
  view.setUint32(484, 0x61417272, true);
  view.setUint32(488, 0xffffffff, true);
  view.setUint32(492, 0xffffffff, true);
  endSector(sector);
}

function writeAscii(into: Uint8Array, at: number, text: string): void {
  for (let i = 0; i < text.length; i++) into[at + i] = text.charCodeAt(i);
}
