/** The metadata region: what kind of disk it is. */
import { equalBytes, readU64LE, startsWith, viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { isPowerOfTwo } from "../../base/int.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { guidToText } from "../../codec/guid.js";
import { CHUNK_SECTORS, Guid, MAX_BLOCK_SIZE, MAX_VIRTUAL_SIZE, METADATA_TABLE_BYTES, MIN_BLOCK_SIZE } from "./layout.js";
import { parseParentLocator, type ParentLocator } from "./parent-locator.js";
import type { Region } from "./regions.js";

/** A parent locator is read up to this size. */
const MAX_LOCATOR_BYTES = 1048576;

export interface Metadata {
  blockSize: number;
  /** A fixed disk: its blocks stay allocated. */
  fixed: boolean;
  virtualSize: number;
  logicalSector: number;
  /** Blocks that share one sector bitmap block. */
  chunkRatio: number;
  /** null: the disk stands alone. */
  parent: ParentLocator | null;
}

interface Item {
  offset: number;
  length: number;
}

const ITEMS: readonly (readonly [string, Uint8Array])[] = [
  ["file parameters", Guid.fileParameters],
  ["virtual disk size", Guid.virtualSize],
  ["page 83 data", Guid.page83],
  ["logical sector size", Guid.logicalSector],
  ["physical sector size", Guid.physicalSector],
  ["parent locator", Guid.parentLocator],
];

/** The table: where each known item is. */
function readTable(bytes: Uint8Array): Map<string, Item> {
  const view = viewOf(bytes);
  const count = view.getUint16(10, true);
  if (!startsWith(bytes, "metadata") || 32 + count * 32 > METADATA_TABLE_BYTES)
    throw new BlockError("ERR_CORRUPT", "The VHDX metadata table is not valid");
  const found = new Map<string, Item>();
  for (let i = 0; i < count; i++) {
    const at = 32 + i * 32;
    const guid = bytes.subarray(at, at + 16);
    const known = ITEMS.find(([, id]) => equalBytes(id, guid))?.[0];
    if (known === undefined) {
      if ((view.getUint32(at + 24, true) & 4) !== 0)
        throw new BlockError("ERR_UNSUPPORTED", `The VHDX has a required metadata item that is not known: ${guidToText(guid)}`);
      continue;
    }
    if (found.has(known)) throw new BlockError("ERR_CORRUPT", `The VHDX metadata has two items for the ${known}`);
    found.set(known, { offset: view.getUint32(at + 16, true), length: view.getUint32(at + 20, true) });
  }
  for (const [name] of ITEMS) {
    if (!found.has(name) && name !== "parent locator")
      throw new BlockError("ERR_UNSUPPORTED", `The VHDX metadata has no ${name}`);
  }
  return found;
}

export function* readMetadata(file: Node, region: Region): Op<Metadata> {
  if (region.offset + METADATA_TABLE_BYTES > file.size) {
    throw new BlockError(
      "ERR_CORRUPT",
      `The VHDX metadata at offset ${region.offset} points after end of file (${file.size}). Image has probably been truncated.`,
      { errno: "EINVAL" },
    );
  }
  const items = readTable(yield* readBytes(file, region.offset, METADATA_TABLE_BYTES));
  const item = function* (name: string, bytes: number): Op<DataView> {
    const { offset } = items.get(name)!;
    // The first 64 KiB are the table itself.
    if (offset < METADATA_TABLE_BYTES)
      throw new BlockError("ERR_CORRUPT", `The VHDX ${name} cannot be at offset ${offset} of the metadata`);
    return viewOf(yield* readBytes(file, region.offset + offset, bytes));
  };
  const parameters = yield* item("file parameters", 8);
  const blockSize = parameters.getUint32(0, true);
  const bits = parameters.getUint32(4, true);
  const virtualSize = readU64LE(yield* item("virtual disk size", 8), 0);
  const logicalSector = (yield* item("logical sector size", 4)).getUint32(0, true);
  if (blockSize < MIN_BLOCK_SIZE || blockSize > MAX_BLOCK_SIZE || !isPowerOfTwo(blockSize)) {
    throw new BlockError(
      "ERR_CORRUPT",
      `The VHDX block size of ${blockSize} bytes is not a power of two between 1 MB and 256 MB`,
    );
  }
  if (logicalSector !== 512 && logicalSector !== 4096) {
    throw new BlockError("ERR_UNSUPPORTED", `The VHDX logical sector size of ${logicalSector} bytes is neither 512 nor 4096`);
  }
  if (virtualSize > MAX_VIRTUAL_SIZE)
    throw new BlockError("ERR_TOO_LARGE", "The VHDX virtual disk size is larger than 64 TB", { errno: "EINVAL" });
  if (virtualSize % logicalSector !== 0) {
    throw new BlockError("ERR_CORRUPT", `The VHDX virtual disk size of ${virtualSize} bytes is not a multiple of its sectors`);
  }
  let parent: ParentLocator | null = null;
  if ((bits & 2) !== 0) {
    const locator = items.get("parent locator");
    if (locator === undefined) throw new BlockError("ERR_CORRUPT", "The differencing VHDX has no parent locator");
    if (locator.length > MAX_LOCATOR_BYTES)
      throw new BlockError("ERR_TOO_LARGE", `The parent locator of the VHDX has ${locator.length} bytes`);
    const start = region.offset + locator.offset;
    parent = parseParentLocator(yield* readBytes(file, start, locator.length));
    if (parent.linkageOffset >= 0) parent.linkageOffset += start;
  }
  return {
    blockSize,
    fixed: (bits & 1) !== 0,
    virtualSize,
    logicalSector,
    chunkRatio: (CHUNK_SECTORS * logicalSector) / blockSize,
    parent,
  };
}
