/** The QED header (QEMU docs/interop/qed_spec.txt): decoding with every check, encoding. */
import { BlockError } from "../../base/error.js";
import { encodeText, readText, readU64LE, viewOf, writeU64LE } from "../../base/bytes.js";
import { isPowerOfTwo, KiB, MiB } from "../../base/int.js";

export const QED_HEADER_BYTES = 64;
export const MIN_CLUSTER: number = 4 * KiB;
export const MAX_CLUSTER: number = 64 * MiB;
export const DEFAULT_CLUSTER: number = 64 * KiB;
export const MAX_TABLE_CLUSTERS = 16;
export const DEFAULT_TABLE_CLUSTERS = 4;
const MAX_BACKING_NAME = 4095;
const MAGIC = 0x00444551; // "QED\0", little-endian

/** Feature bits (all below 32): an image with others cannot be opened. */
export const Feature = { backingFile: 1, needCheck: 2, backingNoProbe: 4 } as const;
const FEATURES_KNOWN = 7;

export interface QedHeader {
  clusterSize: number;
  /** Clusters of an L1 or L2 table. */
  tableClusters: number;
  /** Clusters of the header. */
  headerClusters: number;
  features: number;
  /** Kept as they are. */
  compatible: { hi: number; lo: number };
  autoclear: { hi: number; lo: number };
  l1Offset: number;
  /** Virtual size in bytes. */
  size: number;
  backingFile: string | null;
}

export function isQed(head: Uint8Array): boolean {
  return head.length >= QED_HEADER_BYTES && viewOf(head).getUint32(0, true) === MAGIC;
}

/** Entries of a table. */
export const tableEntries = (header: Pick<QedHeader, "clusterSize" | "tableClusters">): number =>
  (header.clusterSize * header.tableClusters) / 8;

/** The largest virtual size such tables can map. */
export function maxImageSize(header: Pick<QedHeader, "clusterSize" | "tableClusters">): number {
  return Math.min(tableEntries(header) ** 2 * header.clusterSize, Number.MAX_SAFE_INTEGER);
}

const bad = (message: string, offset: number): BlockError => new BlockError("ERR_CORRUPT", message, { offset });

export const isClusterSize = (size: number): boolean => size >= MIN_CLUSTER && size <= MAX_CLUSTER && isPowerOfTwo(size);
export const isTableSize = (clusters: number): boolean =>
  clusters >= 1 && clusters <= MAX_TABLE_CLUSTERS && isPowerOfTwo(clusters);

/** Decodes the first bytes of the file. The backing file name is read separately (`backingNamePlace`). */
export function decodeQedHeader(bytes: Uint8Array, fileSize: number): QedHeader {
  if (!isQed(bytes)) throw new BlockError("ERR_NOT_THIS_FORMAT", "Image not in QED format");
  const view = viewOf(bytes);
  const header: QedHeader = {
    clusterSize: view.getUint32(4, true),
    tableClusters: view.getUint32(8, true),
    headerClusters: view.getUint32(12, true),
    features: view.getUint32(16, true),
    compatible: { hi: view.getUint32(28, true), lo: view.getUint32(24, true) },
    autoclear: { hi: view.getUint32(36, true), lo: view.getUint32(32, true) },
    l1Offset: readU64LE(view, 40),
    size: readU64LE(view, 48),
    backingFile: null,
  };
  const unknownLo = (header.features & ~FEATURES_KNOWN) >>> 0;
  const unknownHi = view.getUint32(20, true);
  if (unknownLo !== 0 || unknownHi !== 0) {
    const hex = unknownHi === 0 ? unknownLo.toString(16) : unknownHi.toString(16) + unknownLo.toString(16).padStart(8, "0");
    throw new BlockError("ERR_UNSUPPORTED", `Unsupported QED features: ${hex}`, { offset: 16 });
  }
  if (!isClusterSize(header.clusterSize)) throw bad("QED cluster size is invalid", 4);
  if (!isTableSize(header.tableClusters)) throw bad("QED table size is invalid", 8);
  if (header.size % 512 !== 0 || !(header.size <= maxImageSize(header))) throw bad("QED image size is invalid", 48);
  if (!isTableOffset(header, header.l1Offset, fileSize)) throw bad("QED table offset is invalid", 40);
  return header;
}

/** Where a backing file name is, if the image has one. */
export function backingNamePlace(bytes: Uint8Array, header: QedHeader): { offset: number; length: number } | null {
  if ((header.features & Feature.backingFile) === 0) return null;
  const view = viewOf(bytes);
  const offset = view.getUint32(56, true);
  const length = view.getUint32(60, true);
  if (offset + length > header.clusterSize * header.headerClusters) throw bad("QED backing filename offset is invalid", 56);
  if (length > MAX_BACKING_NAME) throw bad("Failed to read backing filename", 60);
  return { offset, length };
}

/** Bytes of the file that can be in use: whole clusters. */
export const usableSize = (clusterSize: number, fileSize: number): number => fileSize - (fileSize % clusterSize);

/** Whether a cluster may be at this offset. */
export function isClusterOffset(header: QedHeader, offset: number, fileSize: number): boolean {
  return (
    Number.isFinite(offset) &&
    offset % header.clusterSize === 0 &&
    offset >= header.headerClusters * header.clusterSize &&
    offset < usableSize(header.clusterSize, fileSize)
  );
}

/** Whether a table may be at this offset. Tables of one cluster count as invalid: QEMU opens no image that has them. */
export function isTableOffset(header: QedHeader, offset: number, fileSize: number): boolean {
  const last = offset + (header.tableClusters - 1) * header.clusterSize;
  return last > offset && isClusterOffset(header, offset, fileSize) && isClusterOffset(header, last, fileSize);
}

/** Header and backing file name, in the bytes they take. */
export function encodeQedHeader(header: QedHeader): Uint8Array {
  const name = header.backingFile === null ? new Uint8Array(0) : encodeText(header.backingFile);
  if (name.length > MAX_BACKING_NAME || QED_HEADER_BYTES + name.length > header.headerClusters * header.clusterSize) {
    throw new BlockError("ERR_NO_SPACE", "The backing file name does not fit into the QED header");
  }
  const bytes = new Uint8Array(QED_HEADER_BYTES + name.length);
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, header.clusterSize, true);
  view.setUint32(8, header.tableClusters, true);
  view.setUint32(12, header.headerClusters, true);
  view.setUint32(16, header.features, true);
  view.setUint32(24, header.compatible.lo, true);
  view.setUint32(28, header.compatible.hi, true);
  view.setUint32(32, header.autoclear.lo, true);
  view.setUint32(36, header.autoclear.hi, true);
  writeU64LE(view, 40, header.l1Offset);
  writeU64LE(view, 48, header.size);
  view.setUint32(56, name.length === 0 ? 0 : QED_HEADER_BYTES, true);
  view.setUint32(60, name.length, true);
  bytes.set(name, QED_HEADER_BYTES);
  return bytes;
}

export function readBackingName(bytes: Uint8Array): string | null {
  const name = readText(bytes);
  return name === "" ? null : name;
}
