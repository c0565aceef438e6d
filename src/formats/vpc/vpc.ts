/** The VHD format of Virtual PC, Hyper-V and Azure: fixed, dynamic and differencing images. */
import { BlockError, errnoError } from "../../base/error.js";
import { alignUp } from "../../base/int.js";
import type { OpenContext } from "../../block/context.js";
import type { Driver, MappedImpl } from "../../block/driver.js";
import { readBytes } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { takeString } from "../../block/take.js";
import { isParentGiven, refuseParent } from "../shared/parent.js";
import { measureStream } from "../shared/stream.js";
import { BlockTable } from "../shared/block-table.js";
import { create, createOptions } from "./create.js";
import { DifferencingImage } from "./differencing-image.js";
import { DynamicImage, NO_BLOCK } from "./dynamic-image.js";
import { DYNAMIC_HEADER_BYTES, isHeaderIntact, parseDynamicHeader, type DynamicHeader } from "./dynamic-header.js";
import { findFooter, type FoundFooter } from "./find-footer.js";
import { FixedImage } from "./fixed-image.js";
import { hasCookie, SECTOR, VHD_DIFFERENCING } from "./footer.js";
import { goesByGeometry, isMaxGeometry, isSizeCalc, MAX_SECTORS, sectorsOf } from "./geometry.js";
import type { VhdIdentity } from "./identity.js";
import { openParent, parentNames } from "./parent.js";
import { planVpcStream } from "./stream.js";

interface Survey {
  /** First byte behind all blocks and the table. */
  end: number;
  /** Byte offset of the first block. */
  lowest: number;
}

/** What part of the file the blocks take; refuses images that lack some of them. */
function* survey(table: BlockTable, header: DynamicHeader, fileSize: number): Op<Survey> {
  const tableEnd = alignUp(header.tableOffset + header.entries * 4, SECTOR);
  const found: Survey = { end: tableEnd, lowest: Infinity };
  yield* table.each(header.entries, (_first, entries) => {
    for (const entry of entries) {
      if (entry === NO_BLOCK) continue;
      const record = entry * SECTOR;
      found.lowest = Math.min(found.lowest, record);
      found.end = Math.max(found.end, record + header.bitmapSize + header.blockSize);
    }
  });
  if (found.end > alignUp(fileSize, SECTOR)) {
    throw new BlockError(
      "ERR_CORRUPT",
      "block-vpc: free_data_block_offset points after the end of file. The image has been truncated.",
    );
  }
  found.lowest = Math.min(found.lowest, found.end);
  return found;
}

function* openSparse(context: OpenContext, found: FoundFooter, identity: VhdIdentity, sectors: number): Op<MappedImpl> {
  const { node, flags, environment } = context;
  const file = node.file;
  const headerOffset = found.footer.dataOffset;
  // As QEMU has it: an offset beyond all files cannot be read, one behind the end of this file reads as zeros.
  if (headerOffset > Number.MAX_SAFE_INTEGER - DYNAMIC_HEADER_BYTES)
    throw new BlockError("ERR_CORRUPT", "Error reading dynamic VHD header: it is not inside the file");
  const headerBytes = yield* readBytes(file, headerOffset, DYNAMIC_HEADER_BYTES);
  const header = parseDynamicHeader(headerBytes, sectors);
  if (!isHeaderIntact(headerBytes))
    environment.warn(`The checksum of the dynamic disk header of '${file.filename}' is incorrect`);
  if (header.tableOffset + header.entries * 4 > alignUp(file.size, SECTOR))
    throw new BlockError("ERR_CORRUPT", "Error reading pagetable: it is not inside the file");
  const table = new BlockTable({
    file,
    offset: header.tableOffset,
    count: header.entries,
    bigEndian: true,
    budget: environment.memoryBudget,
  });
  const { end, lowest } = yield* survey(table, header, file.size);
  const size = sectors * SECTOR;
  const options = { node, table, footer: found.bytes, headerBytes, headerOffset, header, identity, size, end, lowest };
  if (found.footer.type !== VHD_DIFFERENCING) {
    refuseParent(node);
    return new DynamicImage(options);
  }
  // New blocks leave the parent's names alone.
  for (const { length, offset } of header.locators)
    if (offset + length <= file.size) options.end = Math.max(options.end, alignUp(offset + length, SECTOR));
  const names = yield* parentNames(file, header);
  let parent = names[0];
  if (parent === undefined)
    environment.warn(`'${file.filename}' is a differencing image that names no parent: what it does not hold reads as zeros`);
  // Stated by the caller, the parent is opened like any backing file.
  else if (!flags.noBacking && !("backing" in node.options)) parent = yield* openParent(context, header, names);
  const image = new DifferencingImage(options, parent === undefined ? null : { filename: parent, format: "vpc" });
  if (flags.write && !isParentGiven(node)) image.refuseWrite();
  return image;
}

export const vpc: Driver = {
  name: "vpc",
  category: "format",
  mutableOptions: [],
  hasParents: true,
  runtimeOptions: ["force_size_calc"],
  strongOptions: ["force_size_calc"],
  probe: (head) => (hasCookie(head) ? 100 : 0),
  createOptions,
  measure: (context) => measureStream(context, planVpcStream),
  planStream: planVpcStream,
  create,
  *open(context: OpenContext): Op<MappedImpl> {
    yield* context.openChild("file", "image");
    const { node, environment } = context;
    const calc = takeString(context.options, "force_size_calc") ?? "auto";
    if (!isSizeCalc(calc)) throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid size calculation mode: '${calc}'`);
    const found = yield* findFooter(node.file, environment.warn);
    const { footer, isFixed } = found;
    const byGeometry = goesByGeometry(footer.creatorApp, footer.geometry, calc);
    const sectors = byGeometry ? sectorsOf(footer.geometry) : Math.floor(footer.currentSize / SECTOR);
    if (sectors > MAX_SECTORS) throw errnoError("EFBIG");
    const identity: VhdIdentity = { uuid: footer.uuid, byGeometry, maxGeometry: isMaxGeometry(footer.geometry) };
    if (isFixed) refuseParent(node);
    if (isFixed) return new FixedImage(node, found.bytes, identity, sectors * SECTOR, found.tailOffset);
    return yield* openSparse(context, found, identity, sectors);
  },
};
