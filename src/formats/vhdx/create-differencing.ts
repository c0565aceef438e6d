/** Making a VHDX that holds the changes to another one. */
import { viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { divCeil } from "../../base/int.js";
import type { CreateContext } from "../../block/context.js";
import { isAbsolutePath, resolveReference } from "../../block/filename.js";
import { truncate, writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { takeSize, takeString } from "../../block/take.js";
import { describe, headerSection, metadata } from "./create.js";
import { VhdxImage } from "./image.js";
import { Guid, MiB } from "./layout.js";

/** Hyper-V's choice for such images: a first write to a block takes the whole of it from the parent. */
const BLOCK_SIZE: number = 2 * MiB;

const invalid = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message, { errno: "EINVAL" });

/** @param backingFile the parent, as the image is to name it */
export function* createDifferencing(context: CreateContext, backingFile: string): Op<void> {
  const { file } = context;
  const options = { ...context.options };
  const format = takeString(options, "backing_fmt") ?? "vhdx";
  if (format !== "vhdx") throw invalid(`The parent of a differencing VHDX must be a VHDX, not '${format}'`);
  if (options["subformat"] === "fixed") throw invalid("A differencing VHDX cannot be fixed");
  const parent = yield* readParent(context, backingFile);
  if (parent.size !== context.size) throw invalid(`A differencing image must have the size of its parent, ${parent.size} bytes`);
  if ((takeSize(options, "logical_sector_size") ?? parent.sectorSize) !== parent.sectorSize)
    throw invalid(`A differencing image must have the sectors of its parent, ${parent.sectorSize} bytes`);
  options["logical_sector_size"] = parent.sectorSize;
  options["block_size"] ??= BLOCK_SIZE;
  const image = describe(options, context.size);
  // Each group of blocks has its entry for sector bitmaps, also the last one.
  image.entries = divCeil(image.blocks, image.chunkRatio) * (image.chunkRatio + 1);
  if (image.entries * 8 > image.batLength) throw invalid("The image is too large for its block size");
  for (const [offset, bytes] of headerSection(image)) yield* writeGrow(file, bytes, offset);
  yield* truncate(file, image.dataOffset, { preallocation: "off" });
  yield* writeGrow(file, metadata(image, parentLocator(backingFile, parent.guid)), image.metadataOffset);
}

function* readParent(context: CreateContext, backingFile: string): Op<{ guid: string; size: number; sectorSize: number }> {
  const node = yield* context.openImage(resolveReference(context.filename, backingFile), "vhdx");
  try {
    const { impl } = node;
    if (!(impl instanceof VhdxImage)) throw invalid(`'${backingFile}' is no VHDX`);
    return { guid: impl.dataWriteGuid, size: impl.size, sectorSize: impl.logicalSector };
  } finally {
    yield* node.unref();
  }
}

/** The parent locator item: who the parent is, and where. */
function parentLocator(backingFile: string, guid: string): Uint8Array {
  const isAbsolute = isAbsolutePath(backingFile);
  const pairs: [string, string][] = [
    ["parent_linkage", `{${guid}}`],
    isAbsolute ? ["absolute_win32_path", backingFile] : ["relative_path", `.\\${backingFile.replaceAll("/", "\\")}`],
  ];
  const head = 20 + pairs.length * 12;
  const bytes = new Uint8Array(head + pairs.reduce((sum, [key, value]) => sum + 2 * (key.length + value.length), 0));
  const view = viewOf(bytes);
  bytes.set(Guid.vhdxParent);
  view.setUint16(18, pairs.length, true);
  let at = head;
  const put = (text: string): number => {
    const start = at;
    for (let i = 0; i < text.length; i++, at += 2) view.setUint16(at, text.charCodeAt(i), true);
    return start;
  };
  pairs.forEach(([key, value], i) => {
    view.setUint32(20 + i * 12, put(key), true);
    view.setUint32(24 + i * 12, put(value), true);
    view.setUint16(28 + i * 12, key.length * 2, true);
    view.setUint16(30 + i * 12, value.length * 2, true);
  });
  return bytes;
}
