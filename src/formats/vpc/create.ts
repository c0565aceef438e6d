/** Making VHDs: dynamic and fixed. */
import { BlockError } from "../../base/error.js";
import { alignUp, divCeil, MiB } from "../../base/int.js";
import type { CreateContext, CreateOption } from "../../block/context.js";
import { truncate, writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { takeBool, takeEnum, takeSize } from "../../block/take.js";
import { randomUuid } from "../shared/uuid.js";
import { buildDynamicHeader, DYNAMIC_HEADER_BYTES } from "./dynamic-header.js";
import { buildFooter, FOOTER_BYTES, VHD_DYNAMIC, VHD_FIXED } from "./footer.js";
import { shapeFor } from "./geometry.js";

const BLOCK_SIZE: number = 2 * MiB;

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
];

export function* create(context: CreateContext): Op<void> {
  if (context.size < 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Image creation needs a size parameter");
  const options = { ...context.options };
  const type = (takeEnum(options, "subformat", ["dynamic", "fixed"]) ?? "dynamic") === "fixed" ? VHD_FIXED : VHD_DYNAMIC;
  const force = takeBool(options, "force_size") ?? false;
  const align = takeSize(options, "align_size") ?? 512;
  if (align % 512 !== 0 || align === 0) throw new BlockError("ERR_INVALID_ARGUMENT", "align_size must be a multiple of 512");
  if (align > 512 && !force)
    throw new BlockError("ERR_INVALID_ARGUMENT", "align_size needs force_size=on: otherwise the geometry decides the size");
  const { geometry, totalSectors } = shapeFor(alignUp(context.size, align), force);
  const size = totalSectors * 512;
  const footer = buildFooter({
    type,
    creatorApp: force ? "qem2" : "qemu",
    size,
    geometry,
    uuid: randomUuid(),
    now: context.environment.now(),
  });
  if (type === VHD_FIXED) yield* createFixed(context, footer, size);
  else yield* createDynamic(context, footer, totalSectors);
}

function* createFixed(context: CreateContext, footer: Uint8Array, size: number): Op<void> {
  yield* truncate(context.file, size + FOOTER_BYTES, { preallocation: "off" });
  yield* writeGrow(context.file, footer, size);
}

function* createDynamic(context: CreateContext, footer: Uint8Array, totalSectors: number): Op<void> {
  const { file } = context;
  const entries = divCeil(totalSectors, BLOCK_SIZE / 512);
  const tableOffset = FOOTER_BYTES + DYNAMIC_HEADER_BYTES;
  const table = new Uint8Array(alignUp(entries * 4, 512)).fill(0xff);
  yield* writeGrow(file, footer, 0);
  yield* writeGrow(file, buildDynamicHeader(tableOffset, entries, BLOCK_SIZE), FOOTER_BYTES);
  yield* writeGrow(file, table, tableOffset);
  yield* writeGrow(file, footer, tableOffset + table.length);
}
