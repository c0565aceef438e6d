/**
 * A table of 32-bit entries, one per block of an image (VDI block map, Parallels and VHD block allocation tables).
 *
 * The table stays in the file; pages of it are in memory, as many as a budget allows. Changed entries are collected and
 * written back together (`takeDirty`, `writeBack`), so that the image decides what must be durable before them.
 */
import { viewOf } from "../../base/bytes.js";
import { divCeil } from "../../base/int.js";
import type { Miss } from "../../block/driver.js";
import { readBytes, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { Mutex, type Op } from "../../block/op.js";

const PAGE_SHIFT = 14;
/** Entries of one page (64 KiB of file). */
const PAGE_ENTRIES = 1 << PAGE_SHIFT;
const PAGE_MASK = PAGE_ENTRIES - 1;
const PAGE_BYTES = PAGE_ENTRIES * 4;
/** Entries of one 512-byte sector: the unit that is written back. */
const SECTOR_ENTRIES = 128;
/** `each` reads this many entries at a time. */
const STRIDE_ENTRIES = 262144;
/** Pages in memory, whatever the budget: 256 KiB at least, 64 MiB at most. */
const MIN_PAGES = 4;
const MAX_PAGES = 1024;

interface Page {
  readonly number: number;
  readonly entries: Uint32Array;
  /** One flag per sector; null when the page is as on disk. */
  dirty: Uint8Array | null;
  /** Write-backs under way: the disk is older than the page, so it must not be dropped. */
  writing: number;
}

class TableMiss implements Miss {
  readonly page: number;
  readonly offset: number;
  constructor(page: number, offset: number) {
    this.page = page;
    this.offset = offset;
  }
}

/** Changed sectors as they were when they were taken. */
export interface DirtyRun {
  readonly page: number;
  readonly sector: number;
  readonly bytes: Uint8Array;
}

export interface BlockTableOptions {
  file: Node;
  /** Byte offset of the table in the file. */
  offset: number;
  /** Number of entries. */
  count: number;
  bigEndian: boolean;
  /** Bytes of memory the table may use. */
  budget: number;
}

export class BlockTable {
  count: number;
  readonly #file: Node;
  readonly #offset: number;
  readonly #littleEndian: boolean;
  readonly #maxPages: number;
  readonly #pages = new Map<number, Page>();
  readonly #loading = new Mutex();
  #stored: number;
  #dirtyPages = 0;

  constructor(options: BlockTableOptions) {
    this.#file = options.file;
    this.#offset = options.offset;
    this.count = options.count;
    this.#littleEndian = !options.bigEndian;
    this.#maxPages = Math.min(MAX_PAGES, Math.max(MIN_PAGES, Math.floor(options.budget / PAGE_BYTES)));
    this.#stored = Math.min(options.count, Math.max(0, divCeil(options.file.size - options.offset, 4)));
  }

  /** Entries before this one exist in the file or were set; the rest of the table lies behind the end of the file and is all zeros. */
  get storedCount(): number {
    return this.#stored;
  }

  /** The entries around `index`, or null when their page must be loaded first. */
  page(index: number): Uint32Array | null {
    return this.#pages.get(Math.floor(index / PAGE_ENTRIES))?.entries ?? null;
  }
  /** Where `index` is in its page. */
  slot(index: number): number {
    return index & PAGE_MASK;
  }
  /** The first index behind the page of `index` (or the table). */
  pageEnd(index: number): number {
    return Math.min(this.count, (Math.floor(index / PAGE_ENTRIES) + 1) * PAGE_ENTRIES);
  }

  miss(index: number): Miss {
    const page = Math.floor(index / PAGE_ENTRIES);
    return new TableMiss(page, this.#offset + page * PAGE_BYTES);
  }

  load(miss: Miss): Op<void> {
    return this.#load((miss as TableMiss).page);
  }

  /** The page of `index`, loaded if need be. Valid until the caller waits for something else. */
  *ensure(index: number): Op<Uint32Array> {
    for (;;) {
      const found = this.page(index);
      if (found !== null) return found;
      yield* this.#load(Math.floor(index / PAGE_ENTRIES));
    }
  }

  *#load(number: number): Op<void> {
    const unlock = yield* this.#loading.acquire();
    try {
      if (this.#pages.has(number)) return;
      const entries = yield* this.#read(number * PAGE_ENTRIES, Math.min(PAGE_ENTRIES, this.count - number * PAGE_ENTRIES));
      this.#makeRoom();
      // A full page even at the end of the table: it may grow.
      const whole = new Uint32Array(PAGE_ENTRIES);
      whole.set(entries);
      this.#pages.set(number, { number, entries: whole, dirty: null, writing: 0 });
    } finally {
      unlock();
    }
  }

  *#read(from: number, count: number): Op<Uint32Array> {
    const view = viewOf(yield* readBytes(this.#file, this.#offset + from * 4, count * 4));
    const entries = new Uint32Array(count);
    for (let i = 0; i < count; i++) entries[i] = view.getUint32(i * 4, this.#littleEndian);
    return entries;
  }

  #makeRoom(): void {
    if (this.#pages.size < this.#maxPages) return;
    for (const page of this.#pages.values()) {
      if (page.dirty !== null || page.writing > 0) continue;
      this.#pages.delete(page.number);
      if (this.#pages.size < this.#maxPages) return;
    }
  }

  /** Whether so much is waiting to be written that the next writer should write it back. */
  get isCrowded(): boolean {
    return this.#dirtyPages >= this.#maxPages;
  }

  /** Sets an entry whose page is loaded. */
  set(index: number, value: number): void {
    const page = this.#pages.get(Math.floor(index / PAGE_ENTRIES))!;
    page.entries[index & PAGE_MASK] = value;
    this.#dirtyOf(page)[(index & PAGE_MASK) >>> 7] = 1;
    if (index >= this.#stored) this.#stored = index + 1;
  }

  #dirtyOf(page: Page): Uint8Array {
    if (page.dirty === null) {
      page.dirty = new Uint8Array(PAGE_ENTRIES / SECTOR_ENTRIES);
      this.#dirtyPages++;
    }
    return page.dirty;
  }

  /** Takes all changes made so far, as bytes; changes made later stay for the next time. */
  takeDirty(): DirtyRun[] {
    const runs: DirtyRun[] = [];
    for (const page of this.#pages.values()) {
      const dirty = page.dirty;
      if (dirty === null) continue;
      page.dirty = null;
      this.#dirtyPages--;
      for (let sector = 0; sector < dirty.length; sector++) {
        if (dirty[sector] === 0) continue;
        let end = sector + 1;
        while (end < dirty.length && dirty[end] === 1) end++;
        runs.push({ page: page.number, sector, bytes: this.#encode(page, sector, end) });
        page.writing++;
        sector = end;
      }
    }
    return runs;
  }

  #encode(page: Page, from: number, to: number): Uint8Array {
    const first = from * SECTOR_ENTRIES;
    // Entries behind the end of the table are not ours to write.
    const last = Math.min(to * SECTOR_ENTRIES, this.count - page.number * PAGE_ENTRIES);
    const bytes = new Uint8Array((last - first) * 4);
    const view = viewOf(bytes);
    for (let i = first; i < last; i++) view.setUint32((i - first) * 4, page.entries[i]!, this.#littleEndian);
    return bytes;
  }

  /** Writes what `takeDirty` returned. */
  *writeBack(runs: readonly DirtyRun[]): Op<void> {
    for (const run of runs) {
      yield* writeGrow(this.#file, run.bytes, this.#offset + run.page * PAGE_BYTES + run.sector * SECTOR_ENTRIES * 4);
    }
  }

  /** Ends a write-back; after a failure its changes count as unwritten again. */
  settle(runs: readonly DirtyRun[], written: boolean): void {
    for (const run of runs) {
      const page = this.#pages.get(run.page)!;
      page.writing--;
      if (written) continue;
      const sectors = divCeil(run.bytes.length, SECTOR_ENTRIES * 4);
      this.#dirtyOf(page).fill(1, run.sector, run.sector + sectors);
    }
  }

  /** Visits entries [0, count) as they are on disk (write back first), a stretch at a time. */
  *each(count: number, visit: (first: number, entries: Uint32Array) => void): Op<void> {
    for (let from = 0; from < count; from += STRIDE_ENTRIES) {
      visit(from, yield* this.#read(from, Math.min(STRIDE_ENTRIES, count - from)));
    }
  }
}
