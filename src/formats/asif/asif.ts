/** Apple sparse images (ASIF), read-only: a directory of tables, tables of chunks, and bitmaps for chunks that are written in part. */
import { readU64BE, viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { hi32 } from "../../base/int.js";
import type { OpenContext } from "../../block/context.js";
import type { BlockDriverInfo, Driver, MappedImpl, Miss } from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { EntryPages, PAGE_ENTRIES, type EntryTable } from "../shared/entry-pages.js";
import { refuseWrite } from "../shared/read-only.js";
import { HEADER_BYTES, isAsif, parseHeader, type AsifHeader } from "./header.js";

/** The two highest bits of an entry of a table. */
const Status = { none: 0, whole: 1, partial: 3 } as const;
/** Of its high half: bits that must be zero, and those of the chunk's number. */
const RESERVED = 0x3f800000;
const NUMBER = 0x007fffff;
/** What the two bits of a sector say. */
const Sector = { empty: 0, written: 1 } as const;
/** Extents told at a time. */
const MAX_EXTENTS = 1024;

class AsifImage implements MappedImpl {
  readonly shape = "mapped";
  readonly size: number;
  readonly allocationUnit: number;
  readonly #node: Node;
  readonly #header: AsifHeader;
  /** Byte offsets of the tables; 0: there is none. */
  readonly #tables: Float64Array;
  readonly #pages: EntryPages;

  constructor(node: Node, header: AsifHeader, tables: Float64Array) {
    this.#node = node;
    this.#header = header;
    this.#tables = tables;
    this.size = header.size;
    this.allocationUnit = header.chunkSize;
    this.#pages = new EntryPages(() => node.file, node.environment.memoryBudget);
  }

  blockInfo(): BlockDriverInfo {
    return { clusterSize: this.#header.chunkSize };
  }

  map(offset: number, length: number, out: ExtentList): Miss | null {
    const { chunkSize, tableSpan } = this.#header;
    const end = offset + length;
    for (let at = offset; at < end && out.count < MAX_EXTENTS;) {
      const index = Math.floor(at / tableSpan);
      const table = this.#tables[index]!;
      if (table === 0) {
        const stop = Math.min(end, (index + 1) * tableSpan);
        out.push(at, stop - at, ExtentKind.zero);
        at = stop;
        continue;
      }
      const stop = Math.min(end, (Math.floor(at / chunkSize) + 1) * chunkSize);
      const miss = this.#mapChunk(table, at, stop, out);
      if (miss !== null) return miss;
      at = stop;
    }
    return null;
  }

  load(miss: Miss): Op<void> {
    return this.#pages.load(miss);
  }

  /** @param at to `end`: inside one chunk */
  #mapChunk(tableOffset: number, at: number, end: number, out: ExtentList): Miss | null {
    const { chunkSize, groupChunks, tableSpan, tableEntries } = this.#header;
    const chunk = Math.floor((at % tableSpan) / chunkSize);
    const group = Math.floor(chunk / groupChunks);
    // Each group of chunks is followed by the entry of its bitmaps.
    const table: EntryTable = { offset: tableOffset, entries: tableEntries, level: 2 };
    const entry = this.#entry(table, chunk + group);
    if (entry === null) return this.#pages.miss(table, chunk + group);
    if (entry.status === Status.none && entry.number === 0) {
      out.push(at, end - at, ExtentKind.zero);
      return null;
    }
    const host = this.#place(entry.number, at) + (at % chunkSize);
    if (entry.status === Status.whole) {
      out.push(at, end - at, ExtentKind.data, this.#node.file, host);
      return null;
    }
    if (entry.status !== Status.partial) throw this.#unsupported(`a chunk of state ${entry.status}`, at);
    const last = (group + 1) * (groupChunks + 1) - 1;
    const bitmap = this.#entry(table, last);
    if (bitmap === null) return this.#pages.miss(table, last);
    return this.#mapSectors(this.#place(bitmap.number, at), chunk % groupChunks, at, end, host, out);
  }

  /** A chunk of which only some sectors were written; the others are zeros. */
  #mapSectors(bitmap: number, chunk: number, start: number, end: number, host: number, out: ExtentList): Miss | null {
    const { chunkSize, sectorSize } = this.#header;
    const table: EntryTable = { offset: bitmap, entries: chunkSize / 8, level: 2 };
    for (let at = start; at < end;) {
      const sector = chunk * (chunkSize / sectorSize) + Math.floor((at % chunkSize) / sectorSize);
      const byte = Math.floor(sector / 4);
      const page = this.#pages.find(table, Math.floor(byte / 8));
      if (page === null) return this.#pages.miss(table, Math.floor(byte / 8));
      const state = (page.bytes[byte % (PAGE_ENTRIES * 8)]! >> ((sector % 4) * 2)) & 3;
      const stop = Math.min(end, (Math.floor(at / sectorSize) + 1) * sectorSize);
      if (state === Sector.written) out.push(at, stop - at, ExtentKind.data, this.#node.file, host + (at - start));
      else if (state === Sector.empty) out.push(at, stop - at, ExtentKind.zero);
      else throw this.#unsupported(`a sector of state ${state}`, at);
      at = stop;
    }
    return null;
  }

  #entry(table: EntryTable, index: number): { status: number; number: number } | null {
    const page = this.#pages.find(table, index);
    if (page === null) return null;
    const at = (index % PAGE_ENTRIES) * 8;
    const high = page.view.getUint32(at, false);
    if ((high & RESERVED) !== 0) throw this.#unsupported("an entry with reserved bits", table.offset + index * 8);
    return { status: high >>> 30, number: (high & NUMBER) * 2 ** 32 + page.view.getUint32(at + 4, false) };
  }

  /** Byte offset of a chunk, which must begin in the file. */
  #place(number: number, guest: number): number {
    const offset = number * this.#header.chunkSize;
    if (number === 0 || offset >= this.#node.file.size)
      throw new BlockError("ERR_CORRUPT", `ASIF, offset ${guest}: chunk ${number} is not in the file`, {
        node: this.#node.nodeName,
        errno: "EIO",
      });
    return offset;
  }
  #unsupported(what: string, offset: number): BlockError {
    return new BlockError("ERR_UNSUPPORTED", `ASIF, offset ${offset}: ${what} is not known`, {
      node: this.#node.nodeName,
      errno: "ENOTSUP",
    });
  }

  // eslint-disable-next-line require-yield
  *flush(): Op<void> {}
  // eslint-disable-next-line require-yield
  *close(): Op<void> {}
}

/** The tables' places as the directory with the highest sequence number has them. */
function* readDirectory(file: Node, header: AsifHeader): Op<Float64Array> {
  let newest = -1;
  let place = -1;
  for (const offset of header.directories) {
    if (offset > file.size - 8) continue;
    const sequence = readU64BE(viewOf(yield* readBytes(file, offset, 8)), 0);
    if (sequence > newest) [newest, place] = [sequence, offset];
  }
  if (place < 0) throw new BlockError("ERR_CORRUPT", "The ASIF image has no directory");
  const view = viewOf(yield* readBytes(file, place + 8, header.tables * 8));
  const tables = new Float64Array(header.tables);
  for (let i = 0; i < header.tables; i++) {
    const number = readU64BE(view, i * 8);
    const offset = number * header.chunkSize;
    if (hi32(number) > NUMBER || (number !== 0 && offset > file.size - header.tableEntries * 8)) {
      // Of an image that has not grown so far nobody reads the table: what is there for Apple's own data may be cut off.
      if (i * header.tableSpan >= header.size) continue;
      throw new BlockError("ERR_CORRUPT", `ASIF: table ${i} is not in the file`);
    }
    tables[i] = offset;
  }
  return tables;
}

export const asif: Driver = {
  name: "asif",
  category: "format",
  probe: (head) => (isAsif(head) ? 100 : 0),
  *open(context: OpenContext): Op<MappedImpl> {
    refuseWrite(context);
    yield* context.openChild("file", "image");
    const { file } = context.node;
    const header = parseHeader(yield* readBytes(file, 0, HEADER_BYTES));
    return new AsifImage(context.node, header, yield* readDirectory(file, header));
  },
};
