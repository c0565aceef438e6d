/** The header of a Parallels expandable image: 64 bytes, little-endian, followed by the block allocation table (BAT). */
import { readU64LE, startsWith, viewOf, writeU64LE } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";

export const HEADER_BYTES = 64;
export const SECTOR = 512;
const VERSION = 2;
/** v1: BAT entries count sectors, the disk has 32-bit sector counts. */
const MAGIC_V1 = "WithoutFreeSpace";
/** v2: BAT entries count clusters. */
const MAGIC_V2 = "WithouFreSpacExt";
/** `inuse` while someone has the image open for writing. */
export const IN_USE = 0x746f6e59;

const MAX_CLUSTER_SECTORS = Math.floor(0x7fffffff / 513);
const MAX_BAT_ENTRIES = Math.floor(0x7fffffff / 4);

const at = {
  version: 16,
  heads: 20,
  cylinders: 24,
  tracks: 28,
  batEntries: 32,
  sectors: 36,
  inuse: 44,
  dataOffset: 48,
  flags: 52,
  extension: 56,
} as const;

export interface ParallelsHeader {
  /** 1 or 2, by the magic. */
  generation: 1 | 2;
  /** Cluster size in sectors. */
  tracks: number;
  batEntries: number;
  /** Virtual size in sectors. */
  sectors: number;
  inuse: number;
  /** First sector of the data area as stored; 0 when not stored. */
  dataOffset: number;
  /** Sector of the format extension cluster; 0: none; Infinity: beyond 2^53. */
  extension: number;
}

export function generationOf(head: Uint8Array): 1 | 2 | null {
  if (head.length < HEADER_BYTES || viewOf(head).getUint32(at.version, true) !== VERSION) return null;
  if (startsWith(head, MAGIC_V1)) return 1;
  return startsWith(head, MAGIC_V2) ? 2 : null;
}

/** Reads and checks a header; `bytes` are the first 64 of the file. */
export function parseHeader(bytes: Uint8Array): ParallelsHeader {
  const generation = generationOf(bytes);
  if (generation === null) throw new BlockError("ERR_NOT_THIS_FORMAT", "Image not in Parallels format");
  const view = viewOf(bytes);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  const header: ParallelsHeader = {
    generation,
    tracks: u32(at.tracks),
    batEntries: u32(at.batEntries),
    sectors: generation === 1 ? u32(at.sectors) : readU64LE(view, at.sectors),
    inuse: u32(at.inuse),
    dataOffset: u32(at.dataOffset),
    extension: readU64LE(view, at.extension),
  };
  if (header.tracks === 0) throw new BlockError("ERR_CORRUPT", "Invalid image: Zero sectors per track");
  if (header.tracks > MAX_CLUSTER_SECTORS) throw new BlockError("ERR_TOO_LARGE", "Invalid image: Too big cluster");
  if (header.batEntries > MAX_BAT_ENTRIES) throw new BlockError("ERR_TOO_LARGE", "Catalog too large");
  if (header.sectors * SECTOR > Number.MAX_SAFE_INTEGER) {
    throw new BlockError("ERR_TOO_LARGE", "Could not refresh total sector count: File too large");
  }
  return header;
}

/** Puts the fields that change during an image's life into its header bytes. */
export function updateHeader(bytes: Uint8Array, header: ParallelsHeader): void {
  const view = viewOf(bytes);
  view.setUint32(at.batEntries, header.batEntries, true);
  if (header.generation === 1) view.setUint32(at.sectors, header.sectors, true);
  else writeU64LE(view, at.sectors, header.sectors);
  view.setUint32(at.inuse, header.inuse, true);
}

/** Header bytes that name no extension any more. */
export function clearExtension(bytes: Uint8Array): void {
  writeU64LE(viewOf(bytes), at.extension, 0);
}

/** The header of a new image (v2). The geometry is for guests that ask for it; the image does not use it. */
export function buildHeader(tracks: number, batEntries: number, sectors: number, dataOffset: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = viewOf(bytes);
  for (let i = 0; i < MAGIC_V2.length; i++) bytes[i] = MAGIC_V2.charCodeAt(i);
  view.setUint32(at.version, VERSION, true);
  view.setUint32(at.heads, 16, true);
  view.setUint32(at.cylinders, Math.floor(sectors / 16 / 32) % 4294967296, true);
  view.setUint32(at.tracks, tracks, true);
  view.setUint32(at.dataOffset, dataOffset, true);
  updateHeader(bytes, { generation: 2, tracks, batEntries, sectors, inuse: 0, dataOffset, extension: 0 });
  return bytes;
}
