/** Making VHDs: dynamic, fixed and differencing. */
import { BlockError } from "../../base/error.js";
import { viewOf } from "../../base/bytes.js";
import { alignUp, divCeil, MiB } from "../../base/int.js";
import type { CreateContext, CreateOption } from "../../block/context.js";
import { truncate, writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { baseName, isAbsolutePath, resolveReference } from "../../block/filename.js";
import type { Node } from "../../block/node.js";
import { takeBool, takeEnum, takeSize, takeString } from "../../block/take.js";
import { randomUuid } from "../shared/uuid.js";
import { buildDynamicHeader, DYNAMIC_HEADER_BYTES, parseDynamicHeader, setParent } from "./dynamic-header.js";
import { buildFooter, FOOTER_BYTES, VHD_DIFFERENCING, VHD_DYNAMIC, VHD_FIXED, vhdTime } from "./footer.js";
import { shapeFor } from "./geometry.js";
import type { Vhd, VhdIdentity } from "./identity.js";

export const BLOCK_SIZE: number = 2 * MiB;
const NOTHING = new Uint8Array(0);

export const createOptions: readonly CreateOption[] = [
  { name: "size", type: "size", help: "Virtual disk size" },
  {
    name: "subformat",
    type: "string",
    help: "Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} ",
  },
  {
    name: "force_size",
    type: "bool",
    help: "Force disk size calculation to use the actual size specified, rather than using the nearest CHS-based calculation",
  },
  {
    name: "align_size",
    type: "size",
    help: "Round the disk size up to a multiple of this (Azure: 1M, with subformat=fixed and force_size=on)",
  },
  { name: "backing_file", type: "string", help: "Parent of a differencing image, itself a VHD" },
  { name: "backing_fmt", type: "string", help: "Must be 'vpc' when present" },
];

export function* create(context: CreateContext): Op<void> {
  if (context.size < 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Image creation needs a size parameter");
  const options = { ...context.options };
  const backingFile = takeString(options, "backing_file");
  if (backingFile !== undefined) {
    yield* createDifferencing(context, backingFile);
    return;
  }
  const image = describe(options, context.size, context.environment.now());
  if (image.fixed) yield* createFixed(context, image.footer, image.size);
  else yield* createDynamic(context.file, image.footer, image.header);
}

/** A new image without a parent. */
export interface NewImage {
  fixed: boolean;
  /** Virtual size in bytes: as much as was asked for, or the next the geometry can say. */
  size: number;
  footer: Uint8Array;
  /** Of dynamic images. */
  header: Uint8Array;
  entries: number;
}

/** What `create` makes of its options (a bag that is emptied); a source of `size` bytes is to fit in. @param now milliseconds since 1970 */
export function describe(options: Record<string, unknown>, size: number, now: number): NewImage {
  const fixed = (takeEnum(options, "subformat", ["dynamic", "fixed"]) ?? "dynamic") === "fixed";
  const force = takeBool(options, "force_size") ?? false;
  const align = takeSize(options, "align_size") ?? 512;
  if (align % 512 !== 0 || align === 0) throw new BlockError("ERR_INVALID_ARGUMENT", "align_size must be a multiple of 512");
  if (align > 512 && !force)
    throw new BlockError("ERR_INVALID_ARGUMENT", "align_size needs force_size=on: otherwise the geometry decides the size");
  const { geometry, totalSectors } = shapeFor(alignUp(size, align), force);
  const footer = buildFooter({
    type: fixed ? VHD_FIXED : VHD_DYNAMIC,
    creatorApp: force ? "qem2" : "qemu",
    size: totalSectors * 512,
    geometry,
    uuid: randomUuid(),
    now,
  });
  const entries = entriesFor(totalSectors);
  return { fixed, size: totalSectors * 512, footer, header: buildDynamicHeader(TABLE_OFFSET, entries, BLOCK_SIZE), entries };
}

export const TABLE_OFFSET: number = FOOTER_BYTES + DYNAMIC_HEADER_BYTES;
const entriesFor = (totalSectors: number): number => divCeil(totalSectors, BLOCK_SIZE / 512);

function* createFixed(context: CreateContext, footer: Uint8Array, size: number): Op<void> {
  yield* truncate(context.file, size + FOOTER_BYTES, { preallocation: "off" });
  yield* writeGrow(context.file, footer, size);
}

/** @param locator the parent's name, which lies behind the table */
function* createDynamic(file: Node, footer: Uint8Array, header: Uint8Array, locator: Uint8Array = NOTHING): Op<void> {
  const { entries } = parseDynamicHeader(header, 0);
  const table = new Uint8Array(alignUp(entries * 4, 512)).fill(0xff);
  const end = TABLE_OFFSET + table.length;
  yield* writeGrow(file, footer, 0);
  yield* writeGrow(file, header, FOOTER_BYTES);
  yield* writeGrow(file, table, TABLE_OFFSET);
  yield* writeGrow(file, locator, end);
  yield* writeGrow(file, footer, end + alignUp(locator.length, 512));
}

/** A differencing image has its parent's size, and the rule by which that is found. */
function* createDifferencing(context: CreateContext, backingFile: string): Op<void> {
  const options = { ...context.options };
  const format = takeString(options, "backing_fmt") ?? "vpc";
  if (format !== "vpc")
    throw new BlockError("ERR_INVALID_ARGUMENT", `The parent of a differencing VHD must be a VHD, not '${format}'`, {
      errno: "EINVAL",
    });
  for (const name of ["subformat", "force_size", "align_size"]) {
    if (options[name] !== undefined)
      throw new BlockError("ERR_INVALID_ARGUMENT", `A differencing image takes after its parent: '${name}' cannot be given`, {
        errno: "EINVAL",
      });
  }
  const { identity, size } = yield* readParent(context, backingFile);
  if (size !== context.size)
    throw new BlockError("ERR_INVALID_ARGUMENT", `A differencing image must have the size of its parent, ${size} bytes`, {
      errno: "EINVAL",
    });
  const { geometry } = shapeFor(size, !identity.byGeometry);
  const now = context.environment.now();
  const creatorApp = identity.byGeometry ? "qemu" : "qem2";
  const footer = buildFooter({ type: VHD_DIFFERENCING, creatorApp, size, geometry, uuid: randomUuid(), now });
  const entries = entriesFor(size / 512);
  const header = buildDynamicHeader(TABLE_OFFSET, entries, BLOCK_SIZE);
  const isAbsolute = isAbsolutePath(backingFile);
  const place = isAbsolute ? backingFile : `.\\${backingFile.replaceAll("/", "\\")}`;
  const locator = encodeUtf16(place);
  const name = baseName(backingFile);
  setParent(header, {
    uuid: identity.uuid,
    time: vhdTime(now),
    name: name.length < 256 ? name : "",
    locator: { platform: isAbsolute ? "W2ku" : "W2ru", length: locator.length, offset: TABLE_OFFSET + alignUp(entries * 4, 512) },
  });
  yield* createDynamic(context.file, footer, header, locator);
}

function* readParent(context: CreateContext, backingFile: string): Op<{ identity: VhdIdentity; size: number }> {
  const parent = yield* context.openImage(resolveReference(context.filename, backingFile), "vpc");
  try {
    return { identity: (parent.impl as unknown as Vhd).identity, size: parent.size };
  } finally {
    yield* parent.unref();
  }
}

/** UTF-16LE, as locators have it. */
function encodeUtf16(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length * 2);
  for (let i = 0; i < text.length; i++) viewOf(bytes).setUint16(2 * i, text.charCodeAt(i), true);
  return bytes;
}
