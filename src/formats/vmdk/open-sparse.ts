/** Opening the three kinds of sparse extent files, with every claim checked before memory is taken for it. */
import { readU64LE, startsWith, viewOf } from "../../base/bytes.js";
import { BlockError, errnoError } from "../../base/error.js";
import { divCeil } from "../../base/int.js";
import { readBytes } from "../../block/io.js";
import type { Child, Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { BlockTable } from "../shared/block-table.js";
import { PlainDirectory } from "./directory.js";
import { UNALLOCATED, ZEROED } from "./grain-tables.js";
import {
  COWD_MAGIC,
  Flag,
  GTE_ZEROED,
  HOSTED_MAGIC,
  MAX_BUFFERED_GRAIN,
  MAX_DIRECTORY_ENTRIES,
  MAX_GRAIN_SECTORS,
  MAX_TABLE_ENTRIES,
  SECTOR,
} from "./layout.js";
import { hasFlag, hasMarkers, readSparseHeader, type SparseHeader } from "./sparse-header.js";
import { SparseExtent } from "./sparse-extent.js";

export interface SparseContext {
  node: Node;
  /** The edge to the extent's file. */
  child: Child;
  /** The extent cannot be written: throws when the image is open for writing, else it is remembered. */
  refuseWrite: (reason: BlockError) => void;
  warn: (message: string) => void;
  /** Bytes of memory for the tables of one extent. */
  budget: number;
  /** Guest offset where the extent begins. */
  start: number;
  type: string;
}

export interface OpenedExtent {
  extent: SparseExtent;
  hasMarkers: boolean;
}

const invalid = (message: string): BlockError => new BlockError("ERR_CORRUPT", message);

/** Opens what is in the file, hosted or COWD. */
export function* openSparse(context: SparseContext): Op<OpenedExtent> {
  const file = context.child.node;
  const magic = yield* readBytes(file, 0, 4);
  if (startsWith(magic, COWD_MAGIC)) return { extent: yield* openCowd(context), hasMarkers: false };
  if (!startsWith(magic, HOSTED_MAGIC)) throw new BlockError("ERR_NOT_THIS_FORMAT", "Image not in VMDK format");
  const header = yield* readSparseHeader(file);
  return { extent: openHosted(context, header), hasMarkers: hasMarkers(header) };
}

function openHosted(context: SparseContext, header: SparseHeader): SparseExtent {
  const file = context.child.node;
  const { node, warn, budget, start, type, refuseWrite } = context;
  const { version, capacity, grainSectors, tableEntries, compressed } = header;
  if (version > 3) throw new BlockError("ERR_UNSUPPORTED", `Unsupported VMDK version ${version}`);
  // Version 3 of plain extents comes with changed block tracking, which a writer would have to keep up.
  if (version === 3 && !compressed)
    refuseWrite(new BlockError("ERR_READ_ONLY", "VMDK version 3 must be read only", { errno: "EINVAL" }));
  if (tableEntries > MAX_TABLE_ENTRIES) throw invalid("L2 table size too big");
  if (tableEntries === 0 || grainSectors === 0) throw invalid("L1 entry size is invalid");
  if (!(header.overhead <= divCeil(file.size, SECTOR))) {
    throw invalid(`File truncated, expecting at least ${header.overhead * SECTOR} bytes`);
  }
  checkGrainSize(grainSectors, compressed);
  const count = checkCount(divCeil(capacity, tableEntries * grainSectors));
  // No file has such an offset: this header is not one to go on from, whatever its second copy says.
  if (!Number.isSafeInteger(header.directory * SECTOR))
    throw errnoError("EIO", `Could not read l1 table from extent '${file.filename}'`);
  const directory = (sector: number): BlockTable =>
    new BlockTable({ file, offset: sector * SECTOR, count, bigEndian: false, budget: budget / 4 });
  const fits = (sector: number): boolean => sector > 0 && sector * SECTOR + count * 4 <= file.size;
  let primary = directory(header.directory);
  let redundant =
    hasFlag(header, Flag.redundantDirectory) && fits(header.redundantDirectory) && header.redundantDirectory !== header.directory
      ? directory(header.redundantDirectory)
      : null;
  const isOutside = redundant !== null && !fits(header.directory);
  if (redundant !== null && isOutside) {
    refuseWrite(invalid(`The grain directory of '${file.filename}' is damaged; the image can only be opened read-only`));
    primary = redundant;
    redundant = null;
  }
  const tables = new PlainDirectory(file, primary, redundant, tableEntries * 4, warn);
  if (isOutside)
    tables.noteDamage(`The grain directory of '${file.filename}' is not inside the file: its second copy is used instead`);
  const zeroedGrain = hasFlag(header, Flag.zeroedGrain);
  return new SparseExtent({
    node,
    child: context.child,
    start,
    length: capacity * SECTOR,
    type,
    grainSize: grainSectors * SECTOR,
    tableEntries,
    directory: tables,
    compressed,
    zeroedGrain,
    entryBytes: 4,
    decode: (view, at) => {
      const sector = view.getUint32(at, true);
      return sector === 0 ? UNALLOCATED : zeroedGrain && sector === GTE_ZEROED ? ZEROED : sector * SECTOR;
    },
    budget,
  });
}

function checkGrainSize(grainSectors: number, compressed: boolean): void {
  if (grainSectors > MAX_GRAIN_SECTORS || (compressed && grainSectors * SECTOR > MAX_BUFFERED_GRAIN)) {
    throw new BlockError("ERR_TOO_LARGE", "Invalid granularity, image may be corrupt");
  }
}
function checkCount(count: number): number {
  if (!(count <= MAX_DIRECTORY_ENTRIES)) throw new BlockError("ERR_TOO_LARGE", "L1 size too big");
  return count;
}

/** Entries of a grain table of ESX server extents. */
const COWD_TABLE_ENTRIES = 4096;

function* openCowd(context: SparseContext): Op<SparseExtent> {
  const file = context.child.node;
  const { node, budget, start, type } = context;
  context.refuseWrite(
    new BlockError("ERR_READ_ONLY", "No write support for vmfsSparse (COWD) images available", { errno: "EACCES" }),
  );
  const view = viewOf(yield* readBytes(file, 0, 44));
  const sectors = view.getUint32(12, true);
  const grainSectors = view.getUint32(16, true);
  const directoryOffset = view.getUint32(20, true) * SECTOR;
  const count = checkCount(view.getUint32(24, true));
  if (grainSectors === 0) throw invalid("L1 entry size is invalid");
  checkGrainSize(grainSectors, false);
  if (sectors > count * COWD_TABLE_ENTRIES * grainSectors) {
    throw invalid(`The grain directory of '${file.filename}' has ${count} entries, too few for ${sectors} sectors`);
  }
  const tables = new BlockTable({ file, offset: directoryOffset, count, bigEndian: false, budget: budget / 4 });
  return new SparseExtent({
    node,
    child: context.child,
    start,
    length: sectors * SECTOR,
    type,
    grainSize: grainSectors * SECTOR,
    tableEntries: COWD_TABLE_ENTRIES,
    directory: new PlainDirectory(file, tables, null, COWD_TABLE_ENTRIES * 4, () => {}),
    compressed: false,
    zeroedGrain: false,
    entryBytes: 4,
    decode: (table, at) => table.getUint32(at, true) * SECTOR,
    budget,
  });
}

/** Whether a hosted file is only an envelope around a descriptor of other files. */
export function* embeddedDescriptorPlace(file: Node): Op<number | null> {
  const bytes = yield* readBytes(file, 0, SECTOR);
  const view = viewOf(bytes);
  const offset = readU64LE(view, 28) * SECTOR;
  return readU64LE(view, 12) === 0 && offset !== 0 && offset < file.size ? offset : null;
}
