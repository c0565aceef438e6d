/** The header of a VDI image (VirtualBox Disk Image, version 1.1): 512 bytes, little-endian. */
import { encodeText, readU64LE, viewOf, writeU64LE } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignUp, MiB } from "../../base/int.js";
import { isNullUuid } from "../shared/uuid.js";

export const HEADER_BYTES = 512;
export const BLOCK_SIZE: number = MiB;
export const SECTOR = 512;
const SIGNATURE = 0xbeda107f;
const VERSION_1_1 = 0x00010001;
/** QEMU's limits: one block map of at most 2 GiB. */
const MAX_BLOCKS = 0x1fffff80;
const MAX_SIZE: number = MAX_BLOCKS * BLOCK_SIZE;

export const VDI_DYNAMIC = 1;
export const VDI_STATIC = 2;

/** Map entries from here on are no block: 0xfffffffe reads as zeros (discarded), 0xffffffff was never allocated. */
export const DISCARDED = 0xfffffffe;
export const UNALLOCATED = 0xffffffff;

const at = {
  signature: 64,
  version: 68,
  headerSize: 72,
  imageType: 76,
  imageFlags: 80,
  bmapOffset: 340,
  dataOffset: 344,
  sectorSize: 360,
  diskSize: 368,
  blockSize: 376,
  blocksInImage: 384,
  blocksAllocated: 388,
  uuidImage: 392,
  uuidLastSnapshot: 408,
  uuidLink: 424,
  uuidParent: 440,
} as const;

export interface VdiHeader {
  imageType: number;
  /** Byte offset of the block map. */
  bmapOffset: number;
  /** Byte offset of the first block. */
  dataOffset: number;
  /** Virtual size in bytes, a multiple of 512. */
  diskSize: number;
  blocksInImage: number;
  blocksAllocated: number;
  /** What it does not hold is in a parent, which is only known by its UUID. */
  isDifferencing: boolean;
}

export function isVdi(head: Uint8Array): boolean {
  return head.length >= HEADER_BYTES && viewOf(head).getUint32(at.signature, true) === SIGNATURE;
}

const hex = (value: number): string => `0x${value.toString(16)}`;

function sizeError(text: string): BlockError {
  return new BlockError("ERR_UNSUPPORTED", `Unsupported VDI image size (size is ${text}, max supported is ${hex(MAX_SIZE)})`);
}

/** Refuses sizes no VDI image can have. */
export function checkDiskSize(size: number, exact?: bigint): void {
  if (size > MAX_SIZE) throw sizeError(`0x${(exact ?? size).toString(16)}`);
}

function unsupported(what: string, hint?: string): BlockError {
  return new BlockError("ERR_UNSUPPORTED", `unsupported VDI image (${what})`, hint === undefined ? {} : { hint });
}

const PARENT_UUIDS = [
  ["link", at.uuidLink],
  ["parent", at.uuidParent],
] as const;
const PARENT_HINT = "The image shows the changes to another one. Name that with the option 'backing'.";

/**
 * Reads and checks a header; `bytes` are the first 512 of the file.
 * @param hasParent the caller knows the parent of a differencing image; without it such images are refused, as QEMU does
 */
export function parseHeader(bytes: Uint8Array, hasParent: boolean): VdiHeader {
  const view = viewOf(bytes);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  const size = readU64LE(view, at.diskSize);
  if (size > MAX_SIZE) {
    const high = u32(at.diskSize + 4).toString(16);
    throw sizeError(
      `0x${high === "0" ? "" : high}${u32(at.diskSize)
        .toString(16)
        .padStart(high === "0" ? 1 : 8, "0")}`,
    );
  }
  const signature = u32(at.signature);
  if (signature !== SIGNATURE) {
    throw new BlockError(
      "ERR_NOT_THIS_FORMAT",
      `Image not in VDI format (bad signature ${signature.toString(16).padStart(8, "0")})`,
    );
  }
  const version = u32(at.version);
  if (version !== VERSION_1_1) throw unsupported(`version ${version >>> 16}.${version & 0xffff}`);
  const header: VdiHeader = {
    imageType: u32(at.imageType),
    bmapOffset: u32(at.bmapOffset),
    dataOffset: u32(at.dataOffset),
    // VBoxManage makes images of odd sizes: the rest of the last sector counts.
    diskSize: alignUp(size, SECTOR),
    blocksInImage: u32(at.blocksInImage),
    blocksAllocated: u32(at.blocksAllocated),
    isDifferencing: false,
  };
  const blockSize = u32(at.blockSize);
  const sectorSize = u32(at.sectorSize);
  const room = header.blocksInImage * BLOCK_SIZE;
  if (header.bmapOffset % SECTOR !== 0) throw unsupported(`unaligned block map offset ${hex(header.bmapOffset)}`);
  if (header.dataOffset % SECTOR !== 0) throw unsupported(`unaligned data offset ${hex(header.dataOffset)}`);
  if (sectorSize !== SECTOR) throw unsupported(`sector size ${sectorSize} is not ${SECTOR}`);
  if (blockSize !== BLOCK_SIZE) throw unsupported(`block size ${blockSize} is not ${BLOCK_SIZE}`);
  if (header.diskSize > room) throw unsupported(`disk size ${header.diskSize}, image bitmap has room for ${room}`);
  for (const [name, place] of PARENT_UUIDS) {
    if (isNullUuid(bytes.subarray(place, place + 16))) continue;
    if (!hasParent) throw unsupported(`non-NULL ${name} UUID`, PARENT_HINT);
    header.isDifferencing = true;
  }
  if (header.blocksInImage > MAX_BLOCKS) throw unsupported(`too many blocks ${header.blocksInImage}, max is ${MAX_BLOCKS}`);
  return header;
}

/** Puts the fields that change during an image's life into its header bytes. */
export function updateHeader(bytes: Uint8Array, header: VdiHeader): void {
  const view = viewOf(bytes);
  writeU64LE(view, at.diskSize, header.diskSize);
  view.setUint32(at.blocksInImage, header.blocksInImage, true);
  view.setUint32(at.blocksAllocated, header.blocksAllocated, true);
}

/** The header of a new image. UUIDs in VirtualBox's byte order. */
export function buildHeader(header: VdiHeader, uuidImage: Uint8Array, uuidLastSnapshot: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = viewOf(bytes);
  bytes.set(encodeText("<<< QEMU VM Virtual Disk Image >>>\n"));
  view.setUint32(at.signature, SIGNATURE, true);
  view.setUint32(at.version, VERSION_1_1, true);
  view.setUint32(at.headerSize, 0x180, true);
  view.setUint32(at.imageType, header.imageType, true);
  view.setUint32(at.bmapOffset, header.bmapOffset, true);
  view.setUint32(at.dataOffset, header.dataOffset, true);
  view.setUint32(at.sectorSize, SECTOR, true);
  view.setUint32(at.blockSize, BLOCK_SIZE, true);
  bytes.set(uuidImage, at.uuidImage);
  bytes.set(uuidLastSnapshot, at.uuidLastSnapshot);
  updateHeader(bytes, header);
  return bytes;
}
