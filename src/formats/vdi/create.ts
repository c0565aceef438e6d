/** Making VDI images. */
import { viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignUp, divCeil } from "../../base/int.js";
import type { CreateContext, CreateOption } from "../../block/context.js";
import { truncate, writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { takeBool, takeEnum } from "../../block/take.js";
import { randomUuid, swapUuid } from "../shared/uuid.js";
import { BLOCK_SIZE, buildHeader, checkDiskSize, HEADER_BYTES, SECTOR, VDI_DYNAMIC, VDI_STATIC } from "./header.js";

/** Entries of the new block map written at a time. */
const MAP_CHUNK = 65536;

export const createOptions: readonly CreateOption[] = [
  { name: "size", type: "size", help: "Virtual disk size" },
  { name: "static", type: "bool", help: "VDI static (pre-allocated) image", default: "off" },
  { name: "preallocation", type: "string", help: "Preallocation mode (allowed values: off, metadata)" },
];

/** A new image: where its parts are. */
export interface NewImage {
  isStatic: boolean;
  /** Virtual size in bytes. */
  size: number;
  blocks: number;
  mapBytes: number;
  /** Byte offset of the first block. */
  dataOffset: number;
  /** @param allocated blocks the image has */
  header(allocated: number): Uint8Array;
}

/** What `create` makes of its options (a bag that is emptied). `static=on` and `preallocation=metadata` are the same thing. */
export function describe(options: Record<string, unknown>, virtualSize: number): NewImage {
  const preallocation = takeEnum(options, "preallocation", ["off", "metadata", "falloc", "full"]) ?? "off";
  if (preallocation !== "off" && preallocation !== "metadata") {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Preallocation mode not supported for vdi");
  }
  const isStatic = (takeBool(options, "static") ?? false) || preallocation === "metadata";
  const size = alignUp(virtualSize, SECTOR);
  checkDiskSize(size);
  const blocks = divCeil(size, BLOCK_SIZE);
  const mapBytes = alignUp(blocks * 4, SECTOR);
  const dataOffset = HEADER_BYTES + mapBytes;
  const header = (blocksAllocated: number): Uint8Array =>
    buildHeader(
      {
        imageType: isStatic ? VDI_STATIC : VDI_DYNAMIC,
        bmapOffset: HEADER_BYTES,
        dataOffset,
        diskSize: size,
        blocksInImage: blocks,
        blocksAllocated,
        isDifferencing: false,
      },
      swapUuid(randomUuid()),
      swapUuid(randomUuid()),
    );
  return { isStatic, size, blocks, mapBytes, dataOffset, header };
}

/** Writes header and block map into an empty file. */
export function* create(context: CreateContext): Op<void> {
  const { file } = context;
  if (context.size < 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Image creation needs a size parameter");
  checkDiskSize(context.size, context.exactSize);
  const { isStatic, blocks, mapBytes, dataOffset, header } = describe({ ...context.options }, context.size);
  yield* writeGrow(file, header(isStatic ? blocks : 0), 0);
  for (let first = 0; first < mapBytes / 4; first += MAP_CHUNK) {
    yield* writeGrow(
      file,
      mapChunk(first, Math.min(MAP_CHUNK, mapBytes / 4 - first), blocks, isStatic),
      HEADER_BYTES + first * 4,
    );
  }
  if (isStatic) yield* truncate(file, dataOffset + blocks * BLOCK_SIZE, { preallocation: "off" });
}

function mapChunk(first: number, count: number, blocks: number, isStatic: boolean): Uint8Array {
  const bytes = new Uint8Array(count * 4);
  const view = viewOf(bytes);
  for (let i = 0; i < count && first + i < blocks; i++) view.setUint32(i * 4, isStatic ? first + i : 0xffffffff, true);
  return bytes;
}
