/** "Space efficient" sparse extents of ESXi 6.5 and later (SESPARSE), read-only. The format is known from its readers. */
import { readU64LE, viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import type { Miss } from "../../block/driver.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { BlockTable } from "../shared/block-table.js";
import type { Directory, TablePlace } from "./directory.js";
import { DAMAGED, TableMiss, UNALLOCATED, ZEROED } from "./grain-tables.js";
import { MAX_DIRECTORY_ENTRIES, SECTOR } from "./layout.js";
import type { SparseContext } from "./open-sparse.js";
import { SparseExtent } from "./sparse-extent.js";

const GRAIN_SECTORS = 8;
const TABLE_SECTORS = 64;
const TABLE_ENTRIES: number = (TABLE_SECTORS * SECTOR) / 8;

/** 64-bit entries: 0, or 0x10000000 in the upper half and the number of the grain table in the lower one. */
class SeDirectory implements Directory {
  readonly damage = null;
  readonly count: number;
  readonly #table: BlockTable;
  readonly #tablesOffset: number;
  readonly #file: Node;

  constructor(file: Node, table: BlockTable, tablesOffset: number) {
    this.#file = file;
    this.#table = table;
    this.#tablesOffset = tablesOffset;
    this.count = table.count / 2;
  }

  get storedCount(): number {
    return Math.ceil(this.#table.storedCount / 2);
  }

  place(index: number): TablePlace | TableMiss {
    const page = this.#table.page(index * 2);
    if (page === null) return new TableMiss(this.#table.miss(index * 2).offset, index);
    const low = page[this.#table.slot(index * 2)]!;
    const high = page[this.#table.slot(index * 2 + 1)]!;
    if (low === 0 && high === 0) return { offset: -1, copy: -1, damaged: false };
    if (high !== 0x10000000) {
      throw new BlockError("ERR_CORRUPT", `VMDK: invalid grain directory entry ${index} in '${this.#file.filename}'`, {
        errno: "EIO",
      });
    }
    return { offset: this.#tablesOffset + low * TABLE_SECTORS * SECTOR, copy: -1, damaged: false };
  }

  *load(miss: Miss): Op<void> {
    yield* this.#table.ensure((miss as TableMiss).index * 2);
  }
}

export function* openSeSparse(context: SparseContext): Op<SparseExtent> {
  const file = context.child.node;
  const { node, budget, start, type } = context;
  context.refuseWrite(new BlockError("ERR_READ_ONLY", "No write support for seSparse images available", { errno: "EACCES" }));
  const bytes = yield* readBytes(file, 0, SECTOR);
  const view = viewOf(bytes);
  const field = (index: number): number => readU64LE(view, index * 8);
  checkConstant(bytes, field);
  const volatile = yield* readBytes(file, safeOffset(field(10)), SECTOR);
  checkVolatile(volatile);
  const capacity = field(2);
  const directoryOffset = safeOffset(field(16));
  const directoryEntries = (field(17) * SECTOR) / 8;
  if (!(directoryEntries <= MAX_DIRECTORY_ENTRIES)) throw new BlockError("ERR_TOO_LARGE", "L1 size too big");
  if (!(capacity <= directoryEntries * TABLE_ENTRIES * GRAIN_SECTORS)) {
    throw new BlockError(
      "ERR_CORRUPT",
      `The grain directory of '${file.filename}' has ${directoryEntries} entries, too few for ${capacity} sectors`,
    );
  }
  const grainsOffset = safeOffset(field(24));
  const table = new BlockTable({
    file,
    offset: directoryOffset,
    count: directoryEntries * 2,
    bigEndian: false,
    budget: budget / 4,
  });
  return new SparseExtent({
    node,
    child: context.child,
    start,
    length: capacity * SECTOR,
    type,
    grainSize: GRAIN_SECTORS * SECTOR,
    tableEntries: TABLE_ENTRIES,
    directory: new SeDirectory(file, table, safeOffset(field(18))),
    compressed: false,
    zeroedGrain: true,
    entryBytes: 8,
    decode: (entries, at) => decodeEntry(entries.getUint32(at, true), entries.getUint32(at + 4, true), grainsOffset),
    budget,
  });
}

function safeOffset(sectors: number): number {
  if (Number.isSafeInteger(sectors * SECTOR)) return sectors * SECTOR;
  throw new BlockError("ERR_CORRUPT", "The seSparse header has an offset beyond 2^53 bytes");
}

const hex64 = (view: DataView, at: number): string =>
  `0x${view
    .getUint32(at + 4, true)
    .toString(16)
    .padStart(8, "0")}${view.getUint32(at, true).toString(16).padStart(8, "0")}`;

function checkConstant(bytes: Uint8Array, field: (index: number) => number): void {
  const view = viewOf(bytes);
  if (field(0) !== 0xcafebabe) throw new BlockError("ERR_NOT_THIS_FORMAT", `Bad const header magic: ${hex64(view, 0)}`);
  const unsupported = (message: string): BlockError => new BlockError("ERR_UNSUPPORTED", message);
  if (view.getUint32(8, true) !== 1 || view.getUint32(12, true) !== 2)
    throw unsupported(`Unsupported version: ${hex64(view, 8)}`);
  if (field(3) !== GRAIN_SECTORS) throw unsupported(`Unsupported grain size: ${field(3)}`);
  if (field(4) !== TABLE_SECTORS) throw unsupported(`Unsupported grain table size: ${field(4)}`);
  if (field(5) !== 0) throw unsupported(`Unsupported flags: ${hex64(view, 40)}`);
  if ([6, 7, 8, 9].some((index) => field(index) !== 0)) {
    throw unsupported(`Unsupported reserved bits: ${[48, 56, 64, 72].map((at) => hex64(view, at)).join(" ")}`);
  }
  if (bytes.subarray(208).some((byte) => byte !== 0)) throw unsupported("Unsupported non-zero const header padding");
}

function checkVolatile(bytes: Uint8Array): void {
  const view = viewOf(bytes);
  if (readU64LE(view, 0) !== 0xcafecafe) throw new BlockError("ERR_CORRUPT", `Bad volatile header magic: ${hex64(view, 0)}`);
  if (readU64LE(view, 24) !== 0) throw new BlockError("ERR_UNSUPPORTED", "Image is dirty, Replaying journal not supported");
  if (bytes.subarray(32).some((byte) => byte !== 0))
    throw new BlockError("ERR_UNSUPPORTED", "Unsupported non-zero volatile header padding");
}

/** The top four bits say what a grain is; the number of a stored one has its twelve lowest bits above the others. */
function decodeEntry(low: number, high: number, grainsOffset: number): number {
  const kind = high >>> 28;
  if (kind === 0) return low === 0 && high === 0 ? UNALLOCATED : DAMAGED;
  if (kind === 1 || kind === 2) return ZEROED;
  if (kind !== 3) return DAMAGED;
  const number = ((high >>> 16) & 0xfff) + ((high & 0xffff) * 4294967296 + low) * 4096;
  const host = grainsOffset + number * GRAIN_SECTORS * SECTOR;
  return Number.isSafeInteger(host) ? host : DAMAGED;
}
