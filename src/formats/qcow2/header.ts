/** The qcow2 header with its extensions: decoding with every check, encoding of the whole header cluster. */
import { BlockError } from "../../base/error.js";
import { encodeText, readText, readU64BE, viewOf, writeU64BE } from "../../base/bytes.js";
import { alignUp } from "../../base/int.js";
import {
  Autoclear,
  CryptMethod,
  Extension,
  FEATURE_NAMES,
  Incompatible,
  INCOMPATIBLE_KNOWN,
  MAGIC,
  MAX_BACKING_NAME,
  MAX_BITMAP_DIRECTORY_BYTES,
  MAX_BITMAPS,
  MAX_CLUSTER_BITS,
  MIN_CLUSTER_BITS,
  MIN_EXTENDED_L2_CLUSTER_BITS,
  V2_HEADER_LENGTH,
  V3_HEADER_LENGTH,
  V3_MIN_HEADER_LENGTH,
} from "./layout.js";

/** 64 feature bits as two words. */
export interface Features {
  hi: number;
  lo: number;
}

export interface HeaderExtension {
  type: number;
  data: Uint8Array;
}

export interface Header {
  version: 2 | 3;
  clusterBits: number;
  /** Virtual size in bytes. */
  size: number;
  cryptMethod: number;
  l1Entries: number;
  l1Offset: number;
  reftableOffset: number;
  reftableClusters: number;
  snapshotCount: number;
  snapshotsOffset: number;
  incompatible: Features;
  compatible: Features;
  autoclear: Features;
  /** log2 of the refcount width in bits. */
  refcountOrder: number;
  headerLength: number;
  compressionType: "zlib" | "zstd";
  /** Header bytes behind the fields we know, kept as they are. */
  unknownFields: Uint8Array;
  /** Where the backing file name is; 0 when there is none. */
  backingOffset: number;
  backingFile: string | null;
  backingFormat: string | null;
  dataFile: string | null;
  crypto: { offset: number; length: number } | null;
  bitmaps: { count: number; directorySize: number; directoryOffset: number; reserved?: number } | null;
  /** Feature names the image brings along. */
  featureNames: { type: number; bit: number; name: string }[];
  /** Whether the image has a feature name table to keep. */
  hasFeatureNames: boolean;
  /** Extensions we do not know, in order. */
  unknownExtensions: HeaderExtension[];
}

function bad(message: string, offset?: number): BlockError {
  return new BlockError("ERR_CORRUPT", message, offset === undefined ? {} : { offset });
}

/** Score for probing: QEMU's 100 for a magic with a version we know. */
export function isQcow2(head: Uint8Array): boolean {
  if (head.length < V2_HEADER_LENGTH) return false;
  const view = viewOf(head);
  return view.getUint32(0) === MAGIC && view.getUint32(4) >= 2;
}

/** Number of bytes that hold the header and its extensions, from the first bytes of the file; 0 when it is no qcow2. */
export function headerClusterSize(head: Uint8Array): number {
  const bits = viewOf(head).getUint32(20);
  return bits >= MIN_CLUSTER_BITS && bits <= MAX_CLUSTER_BITS ? 2 ** bits : 0;
}

/** Decodes the first cluster of an image. Everything is checked before it is believed; sizes of tables are checked by open. */
export function decodeHeader(bytes: Uint8Array): Header {
  if (bytes.length < V2_HEADER_LENGTH || viewOf(bytes).getUint32(0) !== MAGIC) {
    throw new BlockError("ERR_NOT_THIS_FORMAT", "Image is not in qcow2 format");
  }
  const view = viewOf(bytes);
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) throw new BlockError("ERR_UNSUPPORTED", `Unsupported qcow2 version ${version}`);
  const clusterBits = view.getUint32(20);
  if (clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS) {
    throw bad(`Unsupported cluster size: 2^${clusterBits}`, 20);
  }
  const clusterSize = 2 ** clusterBits;
  const header: Header = {
    version,
    clusterBits,
    size: readU64BE(view, 24),
    cryptMethod: view.getUint32(32),
    l1Entries: view.getUint32(36),
    l1Offset: readU64BE(view, 40),
    reftableOffset: readU64BE(view, 48),
    reftableClusters: view.getUint32(56),
    snapshotCount: view.getUint32(60),
    snapshotsOffset: readU64BE(view, 64),
    incompatible: { hi: 0, lo: 0 },
    compatible: { hi: 0, lo: 0 },
    autoclear: { hi: 0, lo: 0 },
    refcountOrder: 4,
    headerLength: V2_HEADER_LENGTH,
    compressionType: "zlib",
    unknownFields: new Uint8Array(0),
    backingOffset: readU64BE(view, 8),
    backingFile: null,
    backingFormat: null,
    dataFile: null,
    crypto: null,
    bitmaps: null,
    featureNames: [],
    hasFeatureNames: false,
    unknownExtensions: [],
  };
  if (version === 3) decodeVersion3(header, bytes, view, clusterSize);
  if (header.backingOffset > clusterSize) throw bad("Invalid backing file offset", 8);
  const extensionsEnd = header.backingOffset !== 0 ? header.backingOffset : Math.min(clusterSize, bytes.length);
  decodeExtensions(header, bytes, header.headerLength, Math.min(extensionsEnd, bytes.length));
  checkFeatures(header);
  checkBitmapsExtension(header);
  if (header.incompatible.lo & Incompatible.extendedL2 && clusterBits < MIN_EXTENDED_L2_CLUSTER_BITS) {
    throw bad("Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
  }
  if (header.refcountOrder > 6) throw bad("Reference count entry width too large; may not exceed 64 bits", 96);
  if (header.cryptMethod > CryptMethod.luks) {
    throw new BlockError("ERR_UNSUPPORTED", `Unsupported encryption method ${header.cryptMethod}`, {
      errno: "EINVAL",
      offset: 32,
    });
  }
  decodeBackingName(header, bytes, view, clusterSize);
  if (!Number.isFinite(header.size)) throw new BlockError("ERR_TOO_LARGE", "Image is too big", { errno: "EFBIG", offset: 24 });
  return header;
}

function decodeVersion3(header: Header, bytes: Uint8Array, view: DataView, clusterSize: number): void {
  if (bytes.length < V3_MIN_HEADER_LENGTH) throw bad("qcow2 header too short", bytes.length);
  header.incompatible = { hi: view.getUint32(72), lo: view.getUint32(76) };
  header.compatible = { hi: view.getUint32(80), lo: view.getUint32(84) };
  header.autoclear = { hi: view.getUint32(88), lo: view.getUint32(92) };
  header.refcountOrder = view.getUint32(96);
  header.headerLength = view.getUint32(100);
  if (header.headerLength < V3_MIN_HEADER_LENGTH) throw bad("qcow2 header too short", 100);
  if (header.headerLength > clusterSize || header.headerLength > bytes.length)
    throw bad("qcow2 header exceeds cluster size", 100);
  const type = header.headerLength > 104 ? bytes[104]! : 0;
  const flagged = (header.incompatible.lo & Incompatible.compression) !== 0;
  if (flagged && type === 0) throw bad("Compression type incompatible feature bit must not be set", 104);
  if (!flagged && type !== 0) throw bad("Compression type incompatible feature bit must be set", 104);
  if (type > 1) throw new BlockError("ERR_UNSUPPORTED", `qcow2: unknown compression type: ${type}`, { offset: 104 });
  header.compressionType = type === 1 ? "zstd" : "zlib";
  if (header.headerLength > V3_HEADER_LENGTH) header.unknownFields = bytes.slice(V3_HEADER_LENGTH, header.headerLength);
}

function decodeExtensions(header: Header, bytes: Uint8Array, start: number, end: number): void {
  const view = viewOf(bytes);
  let at = start;
  while (at < end) {
    if (at + 8 > bytes.length) throw bad("Header extension too large", at);
    const type = view.getUint32(at);
    const length = view.getUint32(at + 4);
    at += 8;
    if (type === Extension.end) return;
    if (length > end - at) throw bad("Header extension too large", at - 4);
    decodeExtension(header, type, bytes.subarray(at, at + length), at);
    at = alignUp(at + length, 8);
  }
}

function decodeExtension(header: Header, type: number, data: Uint8Array, at: number): void {
  const view = viewOf(data);
  switch (type) {
    case Extension.backingFormat:
      if (data.length >= 64) throw bad(`ERROR: ext_backing_format: len=${data.length} too large (>=64)`, at);
      header.backingFormat = readText(data);
      return;
    case Extension.featureNames:
      header.hasFeatureNames = true;
      // A last entry that is cut short goes on with zeros.
      for (let i = 0; i + 2 < data.length && data[i + 2] !== 0; i += 48) {
        header.featureNames.push({ type: data[i]!, bit: data[i + 1]!, name: readText(data.subarray(i + 2, i + 48)) });
      }
      return;
    case Extension.cryptoHeader:
      if (data.length !== 16) throw bad(`CRYPTO header extension size ${data.length}, but expected size 16`, at);
      header.crypto = { offset: readU64BE(view, 0), length: readU64BE(view, 8) };
      return;
    case Extension.bitmaps:
      if (data.length !== 24) throw bad("bitmaps_ext: Invalid extension length", at);
      header.bitmaps = {
        count: view.getUint32(0),
        reserved: view.getUint32(4),
        directorySize: readU64BE(view, 8),
        directoryOffset: readU64BE(view, 16),
      };
      return;
    case Extension.dataFile:
      header.dataFile = readText(data);
      return;
    default:
      header.unknownExtensions.push({ type, data: data.slice() });
  }
}

/** Bitmaps that are out of date (autoclear bit not set) may be as they like: nobody looks at them. */
function checkBitmapsExtension(header: Header): void {
  const { bitmaps } = header;
  if (bitmaps === null || (header.autoclear.lo & Autoclear.bitmaps) === 0) return;
  if (bitmaps.reserved !== 0) throw bad("bitmaps_ext: Reserved field is not zero");
  if (bitmaps.count > MAX_BITMAPS)
    throw bad(`bitmaps_ext: Image has ${bitmaps.count} bitmaps, exceeding the QEMU supported maximum of ${MAX_BITMAPS}`);
  if (bitmaps.count === 0) throw bad("found bitmaps extension with zero bitmaps");
  if (bitmaps.directoryOffset % 2 ** header.clusterBits !== 0 || !Number.isFinite(bitmaps.directoryOffset)) {
    throw bad("bitmaps_ext: invalid bitmap directory offset");
  }
  if (bitmaps.directorySize === 0) throw bad("Requested bitmap directory size is zero");
  if (bitmaps.directorySize > MAX_BITMAP_DIRECTORY_BYTES) {
    throw bad(
      `bitmaps_ext: bitmap directory size (${bitmaps.directorySize}) exceeds the maximum supported size (${MAX_BITMAP_DIRECTORY_BYTES})`,
    );
  }
}

function checkFeatures(header: Header): void {
  const unknownLo = (header.incompatible.lo & ~INCOMPATIBLE_KNOWN) >>> 0;
  const unknownHi = header.incompatible.hi;
  if (unknownLo === 0 && unknownHi === 0) return;
  const names: string[] = [];
  let unnamedLo = unknownLo;
  let unnamedHi = unknownHi;
  for (const feature of header.featureNames) {
    if (feature.type !== 0 || feature.bit > 63) continue;
    const bit = (1 << (feature.bit & 31)) >>> 0;
    const set = feature.bit < 32 ? unnamedLo & bit : unnamedHi & bit;
    if (set === 0) continue;
    names.push(feature.name);
    if (feature.bit < 32) unnamedLo = (unnamedLo & ~bit) >>> 0;
    else unnamedHi = (unnamedHi & ~bit) >>> 0;
  }
  if (unnamedLo !== 0 || unnamedHi !== 0) {
    const hex = unnamedHi === 0 ? unnamedLo.toString(16) : unnamedHi.toString(16) + unnamedLo.toString(16).padStart(8, "0");
    names.push(`Unknown incompatible feature: ${hex}`);
  }
  throw new BlockError("ERR_UNSUPPORTED", `Unsupported qcow2 feature(s): ${names.join(", ")}`, { offset: 72 });
}

function decodeBackingName(header: Header, bytes: Uint8Array, view: DataView, clusterSize: number): void {
  if (header.backingOffset === 0) return;
  const length = view.getUint32(16);
  if (length > Math.min(MAX_BACKING_NAME, clusterSize - header.backingOffset)) throw bad("Backing file name too long", 16);
  if (length === 0) return;
  if (header.backingOffset + length > bytes.length) throw bad("Backing file name lies outside of the image", 8);
  const name = readText(bytes.subarray(header.backingOffset, header.backingOffset + length));
  header.backingFile = name === "" ? null : name;
}

// ---- encoding -----------------------------------------------------------------------------------------------------

/**
 * The bytes of header, extensions and backing file name. Throws when they do not fit into one cluster
 * ("Not enough space…"): nothing else may be overwritten by them. `compact`: without the feature names, which nobody needs, and with
 * the backing file name at (or behind) a given place.
 */
export function encodeHeader(header: Header, compact?: { backingAt: number }): Uint8Array {
  const clusterSize = 2 ** header.clusterBits;
  const headerLength = header.version === 2 ? V2_HEADER_LENGTH : V3_HEADER_LENGTH + header.unknownFields.length;
  const parts: HeaderExtension[] = [];
  if (header.backingFormat !== null) parts.push({ type: Extension.backingFormat, data: encodeText(header.backingFormat) });
  if (header.incompatible.lo & Incompatible.dataFile && header.dataFile !== null) {
    parts.push({ type: Extension.dataFile, data: encodeText(header.dataFile) });
  }
  if (header.crypto !== null) {
    const data = new Uint8Array(16);
    writeU64BE(viewOf(data), 0, header.crypto.offset);
    writeU64BE(viewOf(data), 8, header.crypto.length);
    parts.push({ type: Extension.cryptoHeader, data });
  }
  // As QEMU: small clusters keep their room for the backing file name.
  if (header.version === 3 && clusterSize >= 4096 && compact === undefined)
    parts.push({ type: Extension.featureNames, data: encodeFeatureNames() });
  if (header.bitmaps !== null && header.bitmaps.count > 0) {
    const data = new Uint8Array(24);
    const view = viewOf(data);
    view.setUint32(0, header.bitmaps.count);
    writeU64BE(view, 8, header.bitmaps.directorySize);
    writeU64BE(view, 16, header.bitmaps.directoryOffset);
    parts.push({ type: Extension.bitmaps, data });
  }
  parts.push(...header.unknownExtensions, { type: Extension.end, data: new Uint8Array(0) });

  const backing = header.backingFile === null ? new Uint8Array(0) : encodeText(header.backingFile);
  let length = headerLength;
  for (const part of parts) length += 8 + alignUp(part.data.length, 8);
  if (compact !== undefined && backing.length > 0) length = Math.max(length, compact.backingAt);
  const total = length + backing.length;
  if (backing.length > MAX_BACKING_NAME || total > clusterSize) {
    throw new BlockError("ERR_NO_SPACE", "The header and backing file name do not fit into the first cluster", {
      errno: "ENOSPC",
    });
  }
  const bytes = new Uint8Array(total);
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC);
  view.setUint32(4, header.version);
  writeU64BE(view, 8, backing.length === 0 ? 0 : length);
  view.setUint32(16, backing.length);
  view.setUint32(20, header.clusterBits);
  writeU64BE(view, 24, header.size);
  view.setUint32(32, header.cryptMethod);
  view.setUint32(36, header.l1Entries);
  writeU64BE(view, 40, header.l1Offset);
  writeU64BE(view, 48, header.reftableOffset);
  view.setUint32(56, header.reftableClusters);
  view.setUint32(60, header.snapshotCount);
  writeU64BE(view, 64, header.snapshotsOffset);
  if (header.version === 3) {
    view.setUint32(72, header.incompatible.hi);
    view.setUint32(76, header.incompatible.lo);
    view.setUint32(80, header.compatible.hi);
    view.setUint32(84, header.compatible.lo);
    view.setUint32(88, header.autoclear.hi);
    view.setUint32(92, header.autoclear.lo);
    view.setUint32(96, header.refcountOrder);
    view.setUint32(100, headerLength);
    bytes[104] = header.compressionType === "zstd" ? 1 : 0;
    bytes.set(header.unknownFields, V3_HEADER_LENGTH);
  }
  let at = headerLength;
  for (const part of parts) {
    view.setUint32(at, part.type);
    view.setUint32(at + 4, part.data.length);
    bytes.set(part.data, at + 8);
    at += 8 + alignUp(part.data.length, 8);
  }
  bytes.set(backing, length);
  return bytes;
}

function encodeFeatureNames(): Uint8Array {
  const data = new Uint8Array(48 * FEATURE_NAMES.length);
  FEATURE_NAMES.forEach(([type, bit, name], i) => {
    data[i * 48] = type;
    data[i * 48 + 1] = bit;
    data.set(encodeText(name), i * 48 + 2);
  });
  return data;
}

/** A header for a new image; the caller fills in where the tables are. */
export function newHeader(version: 2 | 3, clusterBits: number, refcountOrder: number): Header {
  return {
    version,
    clusterBits,
    size: 0,
    cryptMethod: CryptMethod.none,
    l1Entries: 0,
    l1Offset: 0,
    reftableOffset: 0,
    reftableClusters: 0,
    snapshotCount: 0,
    snapshotsOffset: 0,
    incompatible: { hi: 0, lo: 0 },
    compatible: { hi: 0, lo: 0 },
    autoclear: { hi: 0, lo: 0 },
    refcountOrder,
    headerLength: version === 2 ? V2_HEADER_LENGTH : V3_HEADER_LENGTH,
    compressionType: "zlib",
    unknownFields: new Uint8Array(0),
    backingOffset: 0,
    backingFile: null,
    backingFormat: null,
    dataFile: null,
    crypto: null,
    bitmaps: null,
    featureNames: [],
    hasFeatureNames: version === 3,
    unknownExtensions: [],
  };
}
