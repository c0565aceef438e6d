/** The footer of a VHD: 512 bytes, big-endian, at the end of every image and (as a copy) at the beginning of dynamic ones. */
import { readU64BE, startsWith, viewOf, writeU64BE } from "../../base/bytes.js";
import type { Geometry } from "./geometry.js";

export const FOOTER_BYTES = 512;
export const SECTOR = 512;
const COOKIE = "conectix";
/** 2000-01-01T00:00:00Z in seconds since 1970. */
const EPOCH = 946684800;

export const VHD_FIXED = 2;
export const VHD_DYNAMIC = 3;
export const VHD_DIFFERENCING = 4;

const at = {
  features: 8,
  version: 12,
  dataOffset: 16,
  timestamp: 24,
  creatorApp: 28,
  creatorVersion: 32,
  creatorOs: 36,
  originalSize: 40,
  currentSize: 48,
  cylinders: 56,
  heads: 58,
  sectors: 59,
  type: 60,
  checksum: 64,
  uuid: 68,
} as const;

export interface Footer {
  type: number;
  /** Byte offset of the dynamic header; Infinity when beyond 2^53 (fixed images: all ones). */
  dataOffset: number;
  creatorApp: string;
  /** Bytes; Infinity when beyond 2^53. */
  currentSize: number;
  geometry: Geometry;
  uuid: Uint8Array;
}

/** The one's complement of the sum of all bytes but those of the checksum at `skip`. */
export function checksum(bytes: Uint8Array, skip: number): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) if (i < skip || i >= skip + 4) sum += bytes[i]!;
  return ~sum >>> 0;
}

export function hasCookie(bytes: Uint8Array): boolean {
  return startsWith(bytes, COOKIE);
}

export function isIntact(bytes: Uint8Array): boolean {
  return hasCookie(bytes) && viewOf(bytes).getUint32(at.checksum, false) === checksum(bytes, at.checksum);
}

export function parseFooter(bytes: Uint8Array): Footer {
  const view = viewOf(bytes);
  return {
    type: view.getUint32(at.type, false),
    dataOffset: readU64BE(view, at.dataOffset),
    creatorApp: String.fromCharCode(...bytes.subarray(at.creatorApp, at.creatorApp + 4)),
    currentSize: readU64BE(view, at.currentSize),
    geometry: { cylinders: view.getUint16(at.cylinders, false), heads: bytes[at.heads]!, sectors: bytes[at.sectors]! },
    uuid: bytes.slice(at.uuid, at.uuid + 16),
  };
}

/** Changes the size in a footer. */
export function resizeFooter(bytes: Uint8Array, size: number, geometry: Geometry): void {
  const view = viewOf(bytes);
  writeU64BE(view, at.currentSize, size);
  putGeometry(bytes, geometry);
  view.setUint32(at.checksum, checksum(bytes, at.checksum), false);
}

function putGeometry(bytes: Uint8Array, geometry: Geometry): void {
  viewOf(bytes).setUint16(at.cylinders, geometry.cylinders, false);
  bytes[at.heads] = geometry.heads;
  bytes[at.sectors] = geometry.sectors;
}

/** Seconds since the beginning of 2000, of milliseconds since that of 1970. */
export const vhdTime = (now: number): number => Math.max(0, Math.floor(now / 1000) - EPOCH) >>> 0;

export interface NewFooter {
  type: number;
  creatorApp: string;
  size: number;
  geometry: Geometry;
  uuid: Uint8Array;
  /** Milliseconds since 1970. */
  now: number;
}

export function buildFooter(footer: NewFooter): Uint8Array {
  const bytes = new Uint8Array(FOOTER_BYTES);
  const view = viewOf(bytes);
  const text = (offset: number, value: string): void => {
    for (let i = 0; i < value.length; i++) bytes[offset + i] = value.charCodeAt(i);
  };
  text(0, COOKIE);
  view.setUint32(at.features, 2, false);
  view.setUint32(at.version, 0x00010000, false);
  if (footer.type === VHD_FIXED) bytes.fill(0xff, at.dataOffset, at.dataOffset + 8);
  else writeU64BE(view, at.dataOffset, FOOTER_BYTES);
  view.setUint32(at.timestamp, vhdTime(footer.now), false);
  text(at.creatorApp, footer.creatorApp);
  // The version of Virtual PC 2007.
  view.setUint16(at.creatorVersion, 5, false);
  view.setUint16(at.creatorVersion + 2, 3, false);
  text(at.creatorOs, "Wi2k");
  writeU64BE(view, at.originalSize, footer.size);
  bytes.set(footer.uuid, at.uuid);
  view.setUint32(at.type, footer.type, false);
  resizeFooter(bytes, footer.size, footer.geometry);
  return bytes;
}
