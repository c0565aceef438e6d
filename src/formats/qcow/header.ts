/** The header of qcow version 1: decoding with every check, encoding. */
import { BlockError } from "../../base/error.js";
import { encodeText, readU64BE, viewOf, writeU64BE } from "../../base/bytes.js";
import { alignUp, divCeil } from "../../base/int.js";

export const QCOW_HEADER_BYTES = 48;
const MAGIC = 0x514649fb;
const MAX_BACKING_NAME = 1023;
/** As many entries as fit into 2 GiB: QEMU's limit. */
const MAX_L1_ENTRIES = Math.floor(0x7fffffff / 8);

export const CryptMethod = { none: 0, aes: 1 } as const;

export interface QcowHeader {
  /** Where the backing file name is; 0 when there is none. */
  backingOffset: number;
  backingLength: number;
  mtime: number;
  /** Virtual size in bytes, as stored. */
  size: number;
  clusterBits: number;
  /** log2 of the entries of an L2 table. */
  l2Bits: number;
  cryptMethod: number;
  l1Offset: number;
}

export function isQcow(head: Uint8Array): boolean {
  if (head.length < QCOW_HEADER_BYTES) return false;
  const view = viewOf(head);
  return view.getUint32(0) === MAGIC && view.getUint32(4) === 1;
}

/** Entries of the L1 table of such an image. */
export const l1EntriesOf = (header: Pick<QcowHeader, "size" | "clusterBits" | "l2Bits">): number =>
  divCeil(header.size, 2 ** (header.clusterBits + header.l2Bits));

export function decodeQcowHeader(bytes: Uint8Array): QcowHeader {
  if (bytes.length < QCOW_HEADER_BYTES || viewOf(bytes).getUint32(0) !== MAGIC) {
    throw new BlockError("ERR_NOT_THIS_FORMAT", "Image not in qcow format");
  }
  const view = viewOf(bytes);
  const bad = (message: string, offset: number): BlockError => new BlockError("ERR_CORRUPT", message, { offset });
  const version = view.getUint32(4);
  if (version !== 1)
    throw new BlockError("ERR_UNSUPPORTED", `qcow (v1) does not support qcow version ${version}`, {
      offset: 4,
      hint: "Try the 'qcow2' driver instead.",
    });
  const header: QcowHeader = {
    backingOffset: readU64BE(view, 8),
    backingLength: view.getUint32(16),
    mtime: view.getUint32(20),
    size: readU64BE(view, 24),
    clusterBits: bytes[32]!,
    l2Bits: bytes[33]!,
    cryptMethod: view.getUint32(36),
    l1Offset: readU64BE(view, 40),
  };
  if (header.size <= 1) throw bad("Image size is too small (must be at least 2 bytes)", 24);
  if (header.clusterBits < 9 || header.clusterBits > 16) throw bad("Cluster size must be between 512 and 64k", 32);
  if (header.l2Bits < 6 || header.l2Bits > 13) throw bad("L2 table size must be between 512 and 64k", 33);
  if (header.cryptMethod > CryptMethod.aes) throw bad("invalid encryption method in qcow header", 36);
  if (!(l1EntriesOf(header) <= MAX_L1_ENTRIES))
    throw new BlockError("ERR_TOO_LARGE", "Image too large", { errno: "EINVAL", offset: 24 });
  if (!Number.isFinite(header.l1Offset)) throw bad("The L1 table lies behind 2^53 bytes", 40);
  if (header.backingOffset !== 0 && header.backingLength > MAX_BACKING_NAME) throw bad("Backing file name too long", 16);
  if (!Number.isFinite(header.backingOffset)) throw bad("The backing file name lies behind 2^53 bytes", 8);
  return header;
}

/** Header and backing file name of a new image; the L1 table follows directly. */
export function encodeQcowHeader(
  size: number,
  clusterBits: number,
  l2Bits: number,
  cryptMethod: number,
  backingFile: string | null,
): Uint8Array {
  const name = backingFile === null ? new Uint8Array(0) : encodeText(backingFile);
  if (name.length > MAX_BACKING_NAME) throw new BlockError("ERR_INVALID_ARGUMENT", "Backing file name too long");
  const length = alignUp(QCOW_HEADER_BYTES + name.length, 8);
  const bytes = new Uint8Array(length);
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC);
  view.setUint32(4, 1);
  writeU64BE(view, 8, name.length === 0 ? 0 : QCOW_HEADER_BYTES);
  view.setUint32(16, name.length);
  writeU64BE(view, 24, size);
  bytes[32] = clusterBits;
  bytes[33] = l2Bits;
  view.setUint32(36, cryptMethod);
  writeU64BE(view, 40, length);
  bytes.set(name, QCOW_HEADER_BYTES);
  return bytes;
}
