/** New images, with qemu-img's options, checks and layout: header, refcount table, refcount block, then what growing adds. */
import { allocate } from "../../base/allocate.js";
import { BlockError } from "../../base/error.js";
import { viewOf, writeU64BE } from "../../base/bytes.js";
import { isPowerOfTwo, KiB, log2 } from "../../base/int.js";
import type { CreateContext, CreateOption } from "../../block/context.js";
import { READ_WRITE } from "../../block/flags.js";
import { flush, truncate, writeGrow } from "../../block/io.js";
import { openNode } from "../../block/open.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import type { Preallocation } from "../../storage/storage.js";
import { encryptPassphrase, readEncryptSettings, setUpEncryption, type EncryptSettings } from "./encryption.js";
import { encodeHeader, newHeader, type Header } from "./header.js";
import { Qcow2 } from "./image.js";
import { Autoclear, Compatible, Incompatible, MAX_L1_BYTES } from "./layout.js";

export const CREATE_OPTIONS: readonly CreateOption[] = [
  { name: "encryption", type: "bool", help: "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)" },
  { name: "encrypt.format", type: "string", help: "Encrypt the image, format choices: 'aes', 'luks'" },
  { name: "encrypt.key-secret", type: "string", help: "ID of secret providing qcow AES key or LUKS passphrase" },
  { name: "encrypt.cipher-alg", type: "string", help: "Name of encryption cipher algorithm" },
  { name: "encrypt.cipher-mode", type: "string", help: "Name of encryption cipher mode" },
  { name: "encrypt.ivgen-alg", type: "string", help: "Name of IV generator algorithm" },
  { name: "encrypt.ivgen-hash-alg", type: "string", help: "Name of IV generator hash algorithm" },
  { name: "encrypt.hash-alg", type: "string", help: "Name of encryption hash algorithm" },
  { name: "encrypt.iter-time", type: "number", help: "Time to spend in PBKDF in milliseconds" },
  { name: "cluster_size", type: "size", help: "qcow2 cluster size", default: "65536" },
  { name: "extended_l2", type: "bool", help: "Extended L2 tables", default: "off" },
  { name: "preallocation", type: "string", help: "Preallocation mode (allowed values: off, metadata, falloc, full)" },
  { name: "compression_type", type: "string", help: "Compression method used for image cluster compression", default: "zlib" },
  { name: "size", type: "size", help: "Virtual disk size" },
  { name: "compat", type: "string", help: "Compatibility level (v2 [0.10] or v3 [1.1])" },
  { name: "backing_file", type: "string", help: "File name of a base image" },
  { name: "backing_fmt", type: "string", help: "Image format of the base image" },
  { name: "data_file", type: "string", help: "File name of an external data file" },
  { name: "data_file_raw", type: "bool", help: "The external data file must stay valid as a raw image" },
  { name: "lazy_refcounts", type: "bool", help: "Postpone refcount updates", default: "off" },
  { name: "refcount_bits", type: "number", help: "Width of a reference count entry in bits", default: "16" },
];

export interface CreateSettings {
  version: 2 | 3;
  clusterBits: number;
  refcountOrder: number;
  extended: boolean;
  preallocation: Preallocation;
  lazyRefcounts: boolean;
  compressionType: "zlib" | "zstd";
  dataFile: string | null;
  dataFileRaw: boolean;
  backingFile: string | null;
  backingFormat: string | null;
  encryption: EncryptSettings | null;
}

const invalid = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);
const text = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);

/** Checks a set of creation options as qemu-img does. */
export function readSettings(options: Readonly<Record<string, unknown>>): CreateSettings {
  const compat = text(options["compat"]) ?? "1.1";
  const versions: Record<string, 2 | 3> = { "0.10": 2, v2: 2, "1.1": 3, v3: 3 };
  const version = versions[compat];
  if (version === undefined) throw invalid(`Parameter 'version' does not accept value '${compat}'`);
  const clusterSize = (options["cluster_size"] as number | undefined) ?? 64 * KiB;
  if (!isPowerOfTwo(clusterSize) || clusterSize < 512 || clusterSize > 2048 * KiB) {
    throw invalid("Cluster size must be a power of two between 512 and 2048k");
  }
  const preallocation = (text(options["preallocation"]) ?? "off") as Preallocation;
  if (!["off", "metadata", "falloc", "full"].includes(preallocation)) {
    throw invalid(`Parameter 'preallocation' does not accept value '${preallocation}'`);
  }
  const extended = options["extended_l2"] === true;
  const newer = (what: string): BlockError =>
    invalid(`${what} only supported with compatibility level 1.1 and above (use version=v3 or greater)`);
  if (extended && version < 3) throw newer("Extended L2 entries are");
  if (extended && clusterSize < 16384)
    throw invalid("Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
  const backingFile = text(options["backing_file"]);
  const backingFormat = text(options["backing_fmt"]);
  if (backingFormat !== null && backingFile === null) throw invalid("Backing format cannot be used without backing file");
  if (backingFile !== null && preallocation !== "off" && !extended) {
    throw invalid("Backing file and preallocation can only be used at the same time if extended_l2 is on");
  }
  const lazyRefcounts = options["lazy_refcounts"] === true;
  if (lazyRefcounts && version < 3) throw newer("Lazy refcounts");
  const refcountBits = (options["refcount_bits"] as number | undefined) ?? 16;
  if (!isPowerOfTwo(refcountBits) || refcountBits > 64)
    throw invalid("Refcount width must be a power of two and may not exceed 64 bits");
  if (refcountBits !== 16 && version < 3) {
    throw invalid("Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)");
  }
  const dataFile = text(options["data_file"]);
  const dataFileRaw = options["data_file_raw"] === true;
  if (dataFile !== null && version < 3) throw newer("External data files are");
  if (dataFileRaw && dataFile === null) throw invalid("data-file-raw requires data-file");
  if (dataFileRaw && backingFile !== null) throw invalid("Backing file and data-file-raw cannot be used at the same time");
  const compression = text(options["compression_type"]) ?? "zlib";
  if (compression !== "zlib" && compression !== "zstd")
    throw invalid(`Parameter 'compression-type' does not accept value '${compression}'`);
  if (compression === "zstd" && version < 3) throw newer("Non-zlib compression type is");
  return {
    version,
    clusterBits: log2(clusterSize),
    refcountOrder: log2(refcountBits),
    extended,
    preallocation,
    lazyRefcounts,
    compressionType: compression,
    dataFile,
    dataFileRaw,
    backingFile,
    backingFormat,
    encryption: readEncryptSettings(options),
  };
}

/** Of 64-bit numbers, which are compared as text. */
const MAX_INT = "9223372036854775807";
const MAX_OFFSET = "9223372035781033984";
const isMore = (number: string, most: string): boolean =>
  number.length > most.length || (number.length === most.length && number > most);

/** QMP is told what a file of that size came to; qemu-img has words of its own for it. */
function tooLarge({ exactSize }: CreateContext): BlockError {
  let message = "The image size is too large (try using a larger cluster size)";
  if (exactSize !== undefined) {
    const size = exactSize.toString();
    message = "Could not resize image: ";
    if (isMore(size, MAX_INT)) message += "Image size cannot be negative";
    else if (isMore(size, MAX_OFFSET)) message += `offset(${size}) exceeds maximum(${MAX_OFFSET})`;
    else message += "Failed to grow the L1 table: File too large";
  }
  return new BlockError("ERR_TOO_LARGE", message, { errno: "EFBIG" });
}

export function* createQcow2(context: CreateContext): Op<void> {
  const settings = readSettings(context.options);
  const size = context.size;
  if (size < 0) throw invalid("Image creation needs a size parameter");
  if (size % 512 !== 0) throw invalid("Image size must be a multiple of 512 bytes");
  const clusterSize = 2 ** settings.clusterBits;
  const coverage = (clusterSize / (settings.extended ? 16 : 8)) * clusterSize;
  if (Math.ceil(size / coverage) * 8 > MAX_L1_BYTES) {
    throw tooLarge(context);
  }
  const passphrase = settings.encryption === null ? null : yield* encryptPassphrase(context.environment, settings.encryption);
  const header = minimalHeader(settings);
  const { file } = context;
  yield* truncate(file, 0, { preallocation: "off" });
  // Refcounts of header, refcount table and the block itself, then the table, then the header that names them.
  const block = allocate(clusterSize);
  writeFirstRefcounts(block, settings.refcountOrder, 3);
  yield* writeGrow(file, block, 2 * clusterSize);
  const table = allocate(clusterSize);
  writeU64BE(viewOf(table), 0, 2 * clusterSize);
  yield* writeGrow(file, table, clusterSize);
  const first = allocate(clusterSize);
  first.set(encodeHeader({ ...header, backingFile: null, backingFormat: null }));
  yield* writeGrow(file, first, 0);
  yield* flush(file);

  const data = settings.dataFile === null ? null : yield* context.createFile(settings.dataFile);
  const node = yield* openNode(context.environment, {
    driver: "qcow2",
    options: { file, ...(data === null ? {} : { "data-file": data }) },
    flags: { ...READ_WRITE, noBacking: true, unmap: true },
  });
  yield* finish(node, size, settings, passphrase);
}

/** The header of a new image before its tables have a place. */
export function minimalHeader(settings: CreateSettings): Header {
  const clusterSize = 2 ** settings.clusterBits;
  const header = newHeader(settings.version, settings.clusterBits, settings.refcountOrder);
  header.reftableOffset = clusterSize;
  header.reftableClusters = 1;
  header.compressionType = settings.compressionType;
  if (settings.compressionType === "zstd") header.incompatible.lo |= Incompatible.compression;
  if (settings.extended) header.incompatible.lo |= Incompatible.extendedL2;
  if (settings.lazyRefcounts) header.compatible.lo |= Compatible.lazyRefcounts;
  if (settings.dataFile !== null) {
    header.incompatible.lo |= Incompatible.dataFile;
    header.dataFile = settings.dataFile;
    if (settings.dataFileRaw) header.autoclear.lo |= Autoclear.rawDataFile;
  }
  return header;
}

/** Sets the refcounts of the first `count` clusters of a block to one. */
export function writeFirstRefcounts(block: Uint8Array, order: number, count: number): void {
  const bits = 2 ** order;
  for (let i = 0; i < count; i++) {
    if (bits < 8) {
      const at = Math.floor((i * bits) / 8);
      block[at] = block[at]! | (1 << ((i * bits) % 8));
    } else {
      block[((i + 1) * bits) / 8 - 1] = 1;
    }
  }
}

function stateOf(node: Node): Qcow2 {
  const { image } = node.impl as { image?: unknown };
  if (image instanceof Qcow2) return image;
  throw new Error("the qcow2 driver made something else");
}

function* finish(node: Node, size: number, settings: CreateSettings, passphrase: Uint8Array | null): Op<void> {
  let failure: unknown;
  try {
    yield* truncate(node, size, { preallocation: settings.preallocation });
    const impl = node.impl;
    if (settings.backingFile !== null && impl.shape === "mapped") {
      yield* impl.changeBackingFile!(settings.backingFile, settings.backingFormat);
    }
    if (settings.encryption !== null) yield* setUpEncryption(stateOf(node), settings.encryption, passphrase!);
  } catch (error) {
    failure = error;
  }
  try {
    yield* node.unref();
  } catch (error) {
    failure ??= error;
  }
  if (failure !== undefined) throw failure;
}
