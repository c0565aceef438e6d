/**
 * Tables of 64-bit entries (L1 and L2 of qed and qcow), a page at a time.
 *
 * Tables stay in the file; pages of them are in memory, as many as a budget allows. Changed pages are collected and written
 * back together, those that belong to deeper tables first (`takeDirty(level)`), so that the image decides what must be
 * durable before what points to it.
 */
import { viewOf } from "../../base/bytes.js";
import type { Miss } from "../../block/driver.js";
import { readBytes, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { Mutex, type Op } from "../../block/op.js";

/** Entries of one page (4 KiB of file). */
export const PAGE_ENTRIES = 512;
const PAGE_BYTES = PAGE_ENTRIES * 8;
/** Entries of one 512-byte sector: the unit that is written back. */
const SECTOR_ENTRIES = 64;
const MIN_PAGES = 16;
const MAX_PAGES = 4096;

export interface EntryPage {
  readonly key: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Byte offset of the page in the file. */
  readonly offset: number;
  /** Bytes that belong to the table: less than a page at its end. */
  readonly length: number;
  /** Depth of the table: 1 or 2. */
  readonly level: number;
  /** One flag per sector; null when the page is as on disk. */
  dirty: Uint8Array | null;
  /** Write-backs under way: the disk is older than the page, so it must not be dropped. */
  writing: number;
  used: boolean;
}

/** A table in the file. */
export interface EntryTable {
  readonly offset: number;
  /** Number of entries. */
  readonly entries: number;
  readonly level: 1 | 2;
}

class PageMiss implements Miss {
  readonly offset: number;
  readonly length: number;
  readonly level: number;
  constructor(offset: number, length: number, level: number) {
    this.offset = offset;
    this.length = length;
    this.level = level;
  }
}

/** Changed bytes as they were when they were taken. */
export interface DirtyBytes {
  readonly page: EntryPage;
  readonly sector: number;
  readonly bytes: Uint8Array;
}

export class EntryPages {
  readonly #file: () => Node;
  readonly #maxPages: number;
  /** By file offset of the page. */
  readonly #pages = new Map<number, EntryPage>();
  readonly #loading = new Mutex();
  #dirty = 0;

  constructor(file: () => Node, budget: number) {
    this.#file = file;
    this.#maxPages = Math.min(MAX_PAGES, Math.max(MIN_PAGES, Math.floor(budget / PAGE_BYTES)));
  }

  get isDirty(): boolean {
    return this.#dirty > 0;
  }
  /** So much is waiting to be written that the next writer should write it back. */
  get isCrowded(): boolean {
    return this.#dirty * 2 > this.#maxPages;
  }

  /** The page with entry `index` of the table, or null when it must be loaded first. */
  find(table: EntryTable, index: number): EntryPage | null {
    const page = this.#pages.get(table.offset + Math.floor(index / PAGE_ENTRIES) * PAGE_BYTES);
    if (page === undefined) return null;
    page.used = true;
    return page;
  }

  miss(table: EntryTable, index: number): Miss {
    const first = Math.floor(index / PAGE_ENTRIES) * PAGE_ENTRIES;
    return new PageMiss(table.offset + first * 8, Math.min(PAGE_ENTRIES, table.entries - first) * 8, table.level);
  }

  /** The page, loaded if need be. Valid until the caller waits for something else. */
  *ensure(table: EntryTable, index: number): Op<EntryPage> {
    for (;;) {
      const found = this.find(table, index);
      if (found !== null) return found;
      yield* this.load(this.miss(table, index));
    }
  }

  *load(miss: Miss): Op<void> {
    const { offset, length, level } = miss as PageMiss;
    const unlock = yield* this.#loading.acquire();
    try {
      if (this.#pages.has(offset)) return;
      const bytes = new Uint8Array(PAGE_BYTES);
      bytes.set(yield* readBytes(this.#file(), offset, length));
      this.#makeRoom();
      this.#pages.set(offset, {
        key: offset,
        bytes,
        view: viewOf(bytes),
        offset,
        length,
        level,
        dirty: null,
        writing: 0,
        used: true,
      });
    } finally {
      unlock();
    }
  }

  /** Second chance: pages used since the last round stay, dirty ones always. */
  #makeRoom(): void {
    if (this.#pages.size < this.#maxPages) return;
    for (let round = 0; round < 2; round++) {
      for (const page of this.#pages.values()) {
        if (page.dirty !== null || page.writing > 0) continue;
        if (page.used && round === 0) {
          page.used = false;
          continue;
        }
        this.#pages.delete(page.key);
        if (this.#pages.size < this.#maxPages) return;
      }
    }
  }

  /** Entry `slot` (0 to 511) of the page was changed. */
  markDirty(page: EntryPage, slot: number): void {
    if (page.dirty === null) {
      page.dirty = new Uint8Array(PAGE_ENTRIES / SECTOR_ENTRIES);
      this.#dirty++;
    }
    page.dirty[Math.floor(slot / SECTOR_ENTRIES)] = 1;
  }

  /** Takes all changes made so far to tables of one level, as bytes; changes made later stay for the next time. */
  takeDirty(level: 1 | 2): DirtyBytes[] {
    const taken: DirtyBytes[] = [];
    if (this.#dirty === 0) return taken;
    for (const page of this.#pages.values()) {
      const { dirty } = page;
      if (dirty === null || page.level !== level) continue;
      page.dirty = null;
      this.#dirty--;
      for (let sector = 0; sector < dirty.length; sector++) {
        if (dirty[sector] === 0) continue;
        let end = sector + 1;
        while (end < dirty.length && dirty[end] === 1) end++;
        // Bytes behind the end of the table are not ours to write.
        taken.push({
          page,
          sector,
          bytes: page.bytes.slice(sector * SECTOR_ENTRIES * 8, Math.min(end * SECTOR_ENTRIES * 8, page.length)),
        });
        page.writing++;
        sector = end;
      }
    }
    return taken.sort((a, b) => a.page.offset - b.page.offset);
  }

  *writeBack(taken: readonly DirtyBytes[]): Op<void> {
    for (const { page, sector, bytes } of taken) yield* writeGrow(this.#file(), bytes, page.offset + sector * SECTOR_ENTRIES * 8);
  }

  /** Ends a write-back; after a failure its changes count as unwritten again. */
  settle(taken: readonly DirtyBytes[], written: boolean): void {
    for (const { page, sector, bytes } of taken) {
      page.writing--;
      if (written) continue;
      for (let at = 0; at < bytes.length; at += SECTOR_ENTRIES * 8) this.markDirty(page, sector * SECTOR_ENTRIES + at / 8);
    }
  }

  /** Forgets everything; what is not written back is lost. */
  dropAll(): void {
    this.#pages.clear();
    this.#dirty = 0;
  }
}
