/** Making VHDX images, laid out as QEMU lays them out: header section, log, table, metadata, blocks. */
import { viewOf, writeU64LE } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignUp, divCeil, isPowerOfTwo } from "../../base/int.js";
import type { CreateContext, CreateOption } from "../../block/context.js";
import { truncate, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { takeBool, takeEnum, takeSize } from "../../block/take.js";
import { randomGuid } from "../../codec/guid.js";
import { encodeEntry, entryOf } from "./bat.js";
import { setChecksum } from "./checksum.js";
import { encodeHeader, type HeaderFields } from "./headers.js";
import {
  BlockState,
  CHUNK_SECTORS,
  Guid,
  HEADER_OFFSETS,
  HEADER_SECTION_BYTES,
  KiB64,
  MAX_BLOCK_SIZE,
  MAX_VIRTUAL_SIZE,
  METADATA_TABLE_BYTES,
  MiB,
  REGION_OFFSETS,
  SIGNATURE,
} from "./layout.js";

export const createOptions: readonly CreateOption[] = [
  { name: "size", type: "size", help: "Virtual disk size; max of 64TB." },
  { name: "log_size", type: "size", help: "Log size; min 1MB.", default: "1048576" },
  {
    name: "block_size",
    type: "size",
    help: "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size.",
    default: "0",
  },
  { name: "subformat", type: "string", help: "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'." },
  {
    name: "block_state_zero",
    type: "bool",
    help: "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to 'off' when using 'qemu-img convert' with subformat=dynamic.",
  },
  { name: "logical_sector_size", type: "size", help: "Sector size of the disk, 512 (default) or 4096" },
  { name: "backing_file", type: "string", help: "Parent of a differencing image, itself a VHDX" },
  { name: "backing_fmt", type: "string", help: "Must be 'vhdx' when present" },
];

/** Room between metadata and blocks. */
const GAP: number = 5 * MiB;
/** Entries of the new table written at a time. */
const TABLE_CHUNK = 65536;
const CREATOR = "Blockcore";

const invalid = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

function autoBlockSize(size: number): number {
  const GiB = 1024 * MiB;
  if (size > 32 * 1024 * GiB) return 64 * MiB;
  if (size > 100 * GiB) return 32 * MiB;
  return size > GiB ? 16 * MiB : 8 * MiB;
}

/** What qemu-img would round, of options as they are given (a bag that is emptied). */
function refuseOddSizes(options: Record<string, unknown>): void {
  const logSize = takeSize(options, "log_size");
  const blockSize = takeSize(options, "block_size");
  if (logSize !== undefined && (logSize === 0 || logSize % MiB !== 0)) throw invalid("Log size must be a multiple of 1 MB");
  if (blockSize === undefined) return;
  if (blockSize === 0 || blockSize % MiB !== 0) throw invalid("Block size must be a multiple of 1 MB");
  if (!isPowerOfTwo(blockSize)) throw invalid("Block size must be a power of two");
  if (blockSize > MAX_BLOCK_SIZE) throw invalid(`Block size must not exceed ${MAX_BLOCK_SIZE}`);
}

/** Where the parts of a new image are, in bytes. */
export interface NewImage {
  /** Virtual size. */
  size: number;
  /** Of the disk, bytes. */
  sectorSize: number;
  fixed: boolean;
  /** Blocks without data are marked as zeros. */
  zeroState: boolean;
  blockSize: number;
  blocks: number;
  /** Payload blocks to one sector bitmap block. */
  chunkRatio: number;
  /** Of the table, those of sector bitmaps included. */
  entries: number;
  logSize: number;
  batOffset: number;
  batLength: number;
  metadataOffset: number;
  dataOffset: number;
}

/** What `create` makes of its options (a bag that is emptied). */
export function describe(options: Record<string, unknown>, virtualSize: number): NewImage {
  const sectorSize = takeSize(options, "logical_sector_size") ?? 512;
  if (sectorSize !== 512 && sectorSize !== 4096) throw invalid("The logical sector size must be 512 or 4096");
  const size = alignUp(virtualSize, sectorSize);
  const fixed = (takeEnum(options, "subformat", ["dynamic", "fixed"]) ?? "dynamic") === "fixed";
  const zeroState = takeBool(options, "block_state_zero") ?? true;
  const logSize = alignUp(Math.max(takeSize(options, "log_size") ?? MiB, 1), MiB);
  const wanted = takeSize(options, "block_size") ?? 0;
  if (size > MAX_VIRTUAL_SIZE) throw invalid("Image size too large; max of 64TB");
  if (logSize > 0xffffffff) throw invalid("Log size must be smaller than 4 GB");
  const blockSize = Math.min(wanted === 0 ? autoBlockSize(size) : alignUp(wanted, MiB), MAX_BLOCK_SIZE);
  if (!isPowerOfTwo(blockSize)) throw invalid("Block size must be a power of two");
  const blocks = divCeil(size, blockSize);
  const chunkRatio = (CHUNK_SECTORS * sectorSize) / blockSize;
  const entries = blocks === 0 ? 0 : blocks + Math.floor((blocks - 1) / chunkRatio);
  const batOffset = HEADER_SECTION_BYTES + logSize;
  const batLength = Math.max(MiB, alignUp(entries * 8, MiB));
  const metadataOffset = batOffset + batLength;
  const dataOffset = metadataOffset + GAP;
  return {
    size,
    sectorSize,
    fixed,
    zeroState,
    blockSize,
    blocks,
    chunkRatio,
    entries,
    logSize,
    batOffset,
    batLength,
    metadataOffset,
    dataOffset,
  };
}

export function* create(context: CreateContext): Op<void> {
  const { file } = context;
  if (context.size < 0) throw invalid("Image creation needs a size parameter");
  if (context.strict === true) refuseOddSizes({ ...context.options });
  const image = describe({ ...context.options }, context.size);
  const { fixed, blockSize, dataOffset } = image;
  for (const [offset, bytes] of headerSection(image)) yield* writeGrow(file, bytes, offset);
  yield* truncate(file, dataOffset + (fixed ? image.blocks * blockSize : 0), { preallocation: "off" });
  if (fixed || image.zeroState) {
    const entryFor = (block: number): number =>
      fixed ? entryOf(BlockState.fullyPresent, dataOffset + block * blockSize) : entryOf(BlockState.zero, 0);
    yield* writeTable(file, image, entryFor);
  }
  yield* writeGrow(file, metadata(image), image.metadataOffset);
}

/** File identifier, headers and region tables, with their byte offsets. */
export function headerSection(image: NewImage): [number, Uint8Array][] {
  const [first, second] = headers(image.logSize);
  const table = regionTable(image.batOffset, image.batLength, image.metadataOffset);
  return [
    [0, fileIdentifier()],
    [HEADER_OFFSETS[0], first],
    [HEADER_OFFSETS[1], second],
    [REGION_OFFSETS[0], table],
    [REGION_OFFSETS[1], table],
  ];
}

function fileIdentifier(): Uint8Array {
  const bytes = new Uint8Array(8 + CREATOR.length * 2);
  for (let i = 0; i < 8; i++) bytes[i] = SIGNATURE.charCodeAt(i);
  for (let i = 0; i < CREATOR.length; i++) bytes[8 + i * 2] = CREATOR.charCodeAt(i);
  return bytes;
}

function headers(logLength: number): [Uint8Array, Uint8Array] {
  const [random] = globalThis.crypto.getRandomValues(new Uint32Array(1));
  const header: HeaderFields = {
    sequence: random! >>> 1,
    fileWriteGuid: randomGuid(),
    dataWriteGuid: randomGuid(),
    logGuid: new Uint8Array(16),
    logVersion: 0,
    logLength,
    logOffset: HEADER_SECTION_BYTES,
  };
  return [encodeHeader(header), encodeHeader({ ...header, sequence: header.sequence + 1 })];
}

function regionTable(batOffset: number, batLength: number, metadataOffset: number): Uint8Array {
  const bytes = new Uint8Array(KiB64);
  const view = viewOf(bytes);
  for (let i = 0; i < 4; i++) bytes[i] = "regi".charCodeAt(i);
  view.setUint32(8, 2, true);
  const put = (at: number, guid: Uint8Array, offset: number, length: number): void => {
    bytes.set(guid, at);
    writeU64LE(view, at + 16, offset);
    view.setUint32(at + 24, length, true);
    view.setUint32(at + 28, 1, true);
  };
  put(16, Guid.bat, batOffset, batLength);
  put(48, Guid.metadata, metadataOffset, MiB);
  setChecksum(bytes);
  return bytes;
}

function* writeTable(file: Node, image: NewImage, entryFor: (block: number) => number): Op<void> {
  const bytes = new Uint8Array(Math.min(image.entries, TABLE_CHUNK) * 8);
  const view = viewOf(bytes);
  for (let first = 0; first < image.entries; first += TABLE_CHUNK) {
    const count = Math.min(image.entries - first, TABLE_CHUNK);
    putEntries(view, image, first, count, entryFor);
    yield* writeGrow(file, bytes.subarray(0, count * 8), image.batOffset + first * 8);
  }
}

/** Puts entries [first, first+count) of the table at the beginning of `view`; asks for those of the blocks in order. */
export function putEntries(
  view: DataView,
  image: NewImage,
  first: number,
  count: number,
  entryFor: (block: number) => number,
): void {
  const period = image.chunkRatio + 1;
  for (let i = 0; i < count; i++) {
    const entry = first + i;
    // Sector bitmaps are for images with parents.
    const isBitmap = entry % period === image.chunkRatio;
    encodeEntry(view, i * 8, isBitmap ? 0 : entryFor(entry - Math.floor(entry / period)));
  }
}

/** The metadata table and its items; those of a differencing disk have a parent locator. */
export function metadata({ size, sectorSize, blockSize, fixed }: NewImage, locator: Uint8Array | null = null): Uint8Array {
  const page83 = randomGuid();
  const REQUIRED = 4;
  const VIRTUAL_DISK = 2;
  const items: [Uint8Array, number, number, (view: DataView, at: number) => void][] = [
    [
      Guid.fileParameters,
      8,
      REQUIRED,
      (view, at) => (
        view.setUint32(at, blockSize, true),
        view.setUint32(at + 4, (fixed ? 1 : 0) | (locator === null ? 0 : 2), true)
      ),
    ],
    [Guid.virtualSize, 8, REQUIRED | VIRTUAL_DISK, (view, at) => writeU64LE(view, at, size)],
    [Guid.page83, 16, REQUIRED | VIRTUAL_DISK, (_view, at) => bytes.set(page83, at)],
    [Guid.logicalSector, 4, REQUIRED | VIRTUAL_DISK, (view, at) => view.setUint32(at, sectorSize, true)],
    [Guid.physicalSector, 4, REQUIRED | VIRTUAL_DISK, (view, at) => view.setUint32(at, sectorSize, true)],
  ];
  if (locator !== null) items.push([Guid.parentLocator, locator.length, REQUIRED, (_view, at) => bytes.set(locator, at)]);
  const bytes = new Uint8Array(METADATA_TABLE_BYTES + 64 + (locator?.length ?? 0));
  const view = viewOf(bytes);
  for (let i = 0; i < 8; i++) bytes[i] = "metadata".charCodeAt(i);
  view.setUint16(10, items.length, true);
  let offset = METADATA_TABLE_BYTES;
  items.forEach(([guid, length, flags, write], i) => {
    const at = 32 + i * 32;
    bytes.set(guid, at);
    view.setUint32(at + 16, offset, true);
    view.setUint32(at + 20, length, true);
    view.setUint32(at + 24, flags, true);
    write(view, offset);
    offset += length;
  });
  return bytes;
}
