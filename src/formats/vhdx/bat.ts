/**
 * The block allocation table: 64-bit entries, a payload block each, and behind every `chunkRatio` of them one for their sector
 * bitmaps. Pages of it are in memory, as many as a budget allows; changed 4 KiB sectors are collected for the log.
 */
import { viewOf } from "../../base/bytes.js";
import { divCeil } from "../../base/int.js";
import type { Miss } from "../../block/driver.js";
import { readBytes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { Mutex, type Op } from "../../block/op.js";
import { LOG_SECTOR, MiB } from "./layout.js";
import type { LoggedSector } from "./log-writer.js";

/** Entries of one page (64 KiB of file). */
const PAGE_ENTRIES = 8192;
const SECTOR_ENTRIES: number = LOG_SECTOR / 8;
const PAGE_BYTES: number = PAGE_ENTRIES * 8;
const MIN_PAGES = 4;
const MAX_PAGES = 1024;
/** `each` reads this many entries at a time. */
const STRIDE_ENTRIES = 131072;

/** An entry as a number: state + 8 × (offset in MiB). */
export const stateOf = (entry: number): number => entry % 8;
/** Byte offset in the file; may be beyond 2^53 in a damaged image. */
export const offsetOf = (entry: number): number => Math.floor(entry / 8) * MiB;
export const entryOf = (state: number, offset: number): number => (offset / MiB) * 8 + state;

function decode(view: DataView, at: number): number {
  const low = view.getUint32(at, true);
  return (view.getUint32(at + 4, true) * 4096 + (low >>> 20)) * 8 + (low & 7);
}
export function encodeEntry(view: DataView, at: number, entry: number): void {
  const megabytes = Math.floor(entry / 8);
  view.setUint32(at, ((megabytes % 4096) * MiB + (entry % 8)) >>> 0, true);
  view.setUint32(at + 4, Math.floor(megabytes / 4096), true);
}
interface Page {
  readonly entries: Float64Array;
  /** Sectors waiting for the log or on the way to it. */
  pinned: number;
}

class PageMiss implements Miss {
  readonly page: number;
  readonly offset: number;
  constructor(page: number, offset: number) {
    this.page = page;
    this.offset = offset;
  }
}

export class Bat {
  /** Entries, those of sector bitmaps included. */
  readonly count: number;
  readonly #offset: number;
  /** Bytes of the region: what lies behind is not ours to write. */
  readonly #length: number;
  readonly #file: () => Node;
  readonly #maxPages: number;
  readonly #pages = new Map<number, Page>();
  readonly #dirty = new Set<number>();
  readonly #loading = new Mutex();
  #stored: number;

  constructor(options: { file: () => Node; offset: number; length: number; count: number; budget: number }) {
    this.#file = options.file;
    this.#offset = options.offset;
    this.#length = options.length;
    this.count = options.count;
    this.#maxPages = Math.min(MAX_PAGES, Math.max(MIN_PAGES, Math.floor(options.budget / PAGE_BYTES)));
    this.#stored = Math.min(options.count, Math.max(0, divCeil(options.file().size - options.offset, 8)));
  }

  /** Entries from this one on are zero: they lie behind the end of the file and nobody has set them. */
  get storedCount(): number {
    return this.#stored;
  }
  page(index: number): Float64Array | null {
    return this.#pages.get(Math.floor(index / PAGE_ENTRIES))?.entries ?? null;
  }
  slot(index: number): number {
    return index % PAGE_ENTRIES;
  }
  miss(index: number): Miss {
    const page = Math.floor(index / PAGE_ENTRIES);
    return new PageMiss(page, this.#offset + page * PAGE_BYTES);
  }
  load(miss: Miss): Op<void> {
    return this.#load((miss as PageMiss).page);
  }

  /** The entry `index`. */
  *get(index: number): Op<number> {
    for (;;) {
      const page = this.page(index);
      if (page !== null) return page[index % PAGE_ENTRIES]!;
      yield* this.#load(Math.floor(index / PAGE_ENTRIES));
    }
  }

  *#load(number: number): Op<void> {
    const unlock = yield* this.#loading.acquire();
    try {
      if (this.#pages.has(number)) return;
      const entries = yield* this.#read(number * PAGE_ENTRIES, Math.min(PAGE_ENTRIES, this.count - number * PAGE_ENTRIES));
      this.#makeRoom();
      this.#pages.set(number, { entries, pinned: 0 });
    } finally {
      unlock();
    }
  }

  *#read(from: number, count: number): Op<Float64Array> {
    const view = viewOf(yield* readBytes(this.#file(), this.#offset + from * 8, count * 8));
    const entries = new Float64Array(count);
    for (let i = 0; i < count; i++) entries[i] = decode(view, i * 8);
    return entries;
  }

  #makeRoom(): void {
    if (this.#pages.size < this.#maxPages) return;
    for (const [number, page] of this.#pages) {
      if (page.pinned > 0) continue;
      this.#pages.delete(number);
      if (this.#pages.size < this.#maxPages) return;
    }
  }

  /** Whether so much is waiting for the log that the next writer should flush. */
  get isCrowded(): boolean {
    return this.#pages.size > this.#maxPages;
  }

  /** Sets an entry whose page is loaded. */
  set(index: number, entry: number): void {
    const page = this.#pages.get(Math.floor(index / PAGE_ENTRIES))!;
    page.entries[index % PAGE_ENTRIES] = entry;
    const sector = Math.floor(index / SECTOR_ENTRIES);
    if (!this.#dirty.has(sector)) {
      this.#dirty.add(sector);
      page.pinned++;
    }
    this.#stored = Math.max(this.#stored, index + 1);
  }

  /** Takes the changed sectors as they are now; changes made later are for the next time. */
  takeDirty(): LoggedSector[] {
    const taken: LoggedSector[] = [];
    for (const sector of [...this.#dirty].sort((a, b) => a - b)) {
      const page = this.#pageOfSector(sector);
      const first = (sector * SECTOR_ENTRIES) % PAGE_ENTRIES;
      const bytes = new Uint8Array(LOG_SECTOR);
      const view = viewOf(bytes);
      for (let i = 0; i < SECTOR_ENTRIES && first + i < page.entries.length; i++)
        encodeEntry(view, i * 8, page.entries[first + i]!);
      taken.push({ offset: this.#offset + sector * LOG_SECTOR, bytes });
    }
    this.#dirty.clear();
    return taken;
  }

  /** Ends what `takeDirty` began; after a failure the sectors count as changed again. */
  settle(sectors: readonly LoggedSector[], written: boolean): void {
    for (const { offset } of sectors) {
      const sector = (offset - this.#offset) / LOG_SECTOR;
      if (written || this.#dirty.has(sector)) this.#pageOfSector(sector).pinned--;
      else this.#dirty.add(sector);
    }
  }

  #pageOfSector(sector: number): Page {
    return this.#pages.get(Math.floor((sector * SECTOR_ENTRIES) / PAGE_ENTRIES))!;
  }

  /** Whether the table can be written: whole sectors of it are its own. */
  get isWritable(): boolean {
    return this.#offset % LOG_SECTOR === 0 && this.#length % LOG_SECTOR === 0;
  }

  /** Visits all entries as they are on disk, a stretch at a time. */
  *each(visit: (first: number, entries: Float64Array) => void): Op<void> {
    for (let from = 0; from < this.#stored; from += STRIDE_ENTRIES) {
      visit(from, yield* this.#read(from, Math.min(STRIDE_ENTRIES, this.#stored - from)));
    }
  }
}
