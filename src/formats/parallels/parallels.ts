/** The Parallels format: expandable images of both generations. Written down in QEMU's docs/interop/parallels. */
import { BlockError } from "../../base/error.js";
import { alignUp, MiB } from "../../base/int.js";
import type { OpenContext } from "../../block/context.js";
import type { Driver } from "../../block/driver.js";
import { readBytes } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { takeEnum, takeSize } from "../../block/take.js";
import { BlockTable } from "../shared/block-table.js";
import { create, createOptions } from "./create.js";
import { readExtension, type ParallelsExtension } from "./extension.js";
import { generationOf, HEADER_BYTES, IN_USE, parseHeader, SECTOR, type ParallelsHeader } from "./header.js";
import { ParallelsImage } from "./image.js";

const DEFAULT_PREALLOCATION = 128 * MiB;

/** Where the data area begins: as the header says, but never inside the BAT; in v2 images on a cluster boundary. */
function dataStartOf(header: ParallelsHeader): number {
  const tableEnd = HEADER_BYTES + header.batEntries * 4;
  const stored = header.dataOffset * SECTOR;
  const start = Math.max(stored, alignUp(tableEnd, SECTOR));
  return header.generation === 2 ? alignUp(start, header.tracks * SECTOR) : start;
}

interface Survey {
  /** First byte of the data area, or of the first cluster in use if that comes earlier. */
  lowest: number;
  /** First byte behind all clusters in use. */
  end: number;
}

/** What part of the file the clusters take. */
function* survey(table: BlockTable, header: ParallelsHeader, start: number, fileSize: number): Op<Survey> {
  const cluster = header.tracks * SECTOR;
  const unit = header.generation === 1 ? SECTOR : cluster;
  const found: Survey = { lowest: start, end: start };
  yield* table.each(table.storedCount, (_first, entries) => {
    for (const entry of entries) {
      const offset = entry * unit;
      // Entries behind the end of the file are damage: they must not send new clusters there.
      if (entry === 0 || offset > fileSize) continue;
      if (offset >= found.end) found.end = offset + cluster;
      if (offset < found.lowest) found.lowest = offset;
    }
  });
  return found;
}

export const parallels: Driver = {
  name: "parallels",
  category: "format",
  mutableOptions: [],
  supportsBacking: true,
  runtimeOptions: ["prealloc-size", "prealloc-mode"],
  probe: (head) => (generationOf(head) === null ? 0 : 100),
  createOptions,
  create,
  *open(context: OpenContext): Op<ParallelsImage> {
    yield* context.openChild("file", "image");
    const { node, flags, environment } = context;
    const file = node.file;
    const headerBytes = yield* readBytes(file, 0, HEADER_BYTES);
    const header = parseHeader(headerBytes);
    if (header.inuse === IN_USE && flags.write && !flags.check) {
      throw new BlockError("ERR_PERMISSION", "parallels: Image was not closed correctly; cannot be opened read/write", {
        errno: "EACCES",
      });
    }
    const clusterBytes = header.tracks * SECTOR;
    const preallocSize = takeSize(context.options, "prealloc-size") ?? DEFAULT_PREALLOCATION;
    const preallocMode = takeEnum(context.options, "prealloc-mode", ["falloc", "truncate"]) ?? "falloc";
    let extension: ParallelsExtension | null = null;
    let isExtensionDamaged = false;
    if (header.extension !== 0) {
      const offset = header.extension * SECTOR;
      if (flags.write) environment.warn("Format Extension ignored in RW mode");
      try {
        extension = yield* readExtension(file, offset, clusterBytes, header.sectors);
      } catch (error) {
        if (!flags.write) throw error;
        isExtensionDamaged = true;
      }
    }
    const table = new BlockTable({
      file,
      offset: HEADER_BYTES,
      count: header.batEntries,
      bigEndian: false,
      budget: environment.memoryBudget,
    });
    const dataStart = dataStartOf(header);
    const used = flags.write ? yield* survey(table, header, dataStart, file.size) : { lowest: dataStart, end: dataStart };
    const end = Math.max(used.end, extension?.end ?? 0);
    return new ParallelsImage({
      node,
      table,
      header,
      headerBytes,
      extension,
      isExtensionDamaged,
      lowest: used.lowest,
      end: header.generation === 2 ? alignUp(end, clusterBytes) : end,
      preallocSize: Math.max(clusterBytes, alignUp(preallocSize, SECTOR)),
      preallocMode,
    });
  },
};
