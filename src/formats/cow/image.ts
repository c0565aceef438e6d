/**
 * An open cow image: a bitmap with one bit per sector, and every sector at its fixed place behind it.
 *
 * Order on disk: a sector's bytes are durable before its bit is written; bits are collected and written back by `flush`.
 */
import { alignDown, alignUp, divCeil } from "../../base/int.js";
import type { BackingLink, BlockDriverInfo, MappedImpl, Miss, WritePlan } from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { flush } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { Mutex, type Op } from "../../block/op.js";
import { EntryPages, PAGE_ENTRIES, type EntryPage, type EntryTable } from "../shared/entry-pages.js";
import { COW_HEADER_BYTES, COW_SECTOR, dataOffset, type CowHeader } from "./header.js";

/** Sectors whose bits one page of the bitmap holds, and one entry (64 bits) of it. */
const PAGE_SECTORS = PAGE_ENTRIES * 64;
/** Extents one `map` call appends at most: callers that only want the first must not pay for the whole image. */
const MAP_EXTENTS = 64;
/** Guest bytes one plan covers at most. */
const PLAN_LIMIT = 16 * 1024 * 1024;

export class Cow implements MappedImpl {
  readonly shape = "mapped";
  readonly size: number;
  readonly allocationUnit: number = COW_SECTOR;
  readonly backingFile: BackingLink | null;
  readonly #node: Node;
  readonly #data: number;
  readonly #bitmap: EntryTable;
  readonly #pages: EntryPages;
  readonly #flushing = new Mutex();

  constructor(node: Node, header: CowHeader, budget: number) {
    this.#node = node;
    this.size = header.size;
    this.backingFile = header.backingFile === null ? null : { filename: header.backingFile, format: null };
    this.#data = dataOffset(header.size);
    this.#bitmap = { offset: COW_HEADER_BYTES, entries: divCeil(header.size / COW_SECTOR, 64), level: 1 };
    this.#pages = new EntryPages(() => node.file, budget);
  }

  get #file(): Node {
    return this.#node.file;
  }
  blockInfo(): BlockDriverInfo {
    return {};
  }

  map(offset: number, length: number, out: ExtentList): Miss | null {
    const end = offset + length;
    const limit = out.count + MAP_EXTENTS;
    for (let at = offset; at < end && out.count <= limit;) {
      const sector = Math.floor(at / COW_SECTOR);
      const entry = Math.floor(sector / 64);
      const page = this.#pages.find(this.#bitmap, entry);
      if (page === null) return this.#pages.miss(this.#bitmap, entry);
      const bit = sector % PAGE_SECTORS;
      const stop = Math.min(PAGE_SECTORS, bit + divCeil(end - sector * COW_SECTOR, COW_SECTOR));
      const stored = isSet(page, bit);
      const next = Math.min(end, (sector - bit + endOfRun(page, bit, stop, stored)) * COW_SECTOR);
      if (stored) out.push(at, next - at, ExtentKind.data, this.#file, this.#data + at);
      else out.push(at, next - at, ExtentKind.unallocated);
      at = next;
    }
    return null;
  }

  load(miss: Miss): Op<void> {
    return this.#pages.load(miss);
  }

  *#isStored(offset: number): Op<boolean> {
    const sector = Math.floor(offset / COW_SECTOR);
    return isSet(yield* this.#pages.ensure(this.#bitmap, Math.floor(sector / 64)), sector % PAGE_SECTORS);
  }

  *prepareWrite(offset: number, length: number): Op<WritePlan> {
    if (this.#pages.isCrowded) yield* this.flush();
    const end = Math.min(offset + length, alignDown(offset, COW_SECTOR) + PLAN_LIMIT);
    // A sector that gets its first bytes here takes the rest of them from below.
    const from = (yield* this.#isStored(offset)) ? offset : alignDown(offset, COW_SECTOR);
    const to = (yield* this.#isStored(end - 1)) ? end : alignUp(end, COW_SECTOR);
    return {
      length: end - offset,
      pieces: [
        { start: from, length: to - from, file: this.#file, host: this.#data + from, fresh: from !== offset || to !== end },
      ],
    };
  }

  *commitWrite(plan: WritePlan): Op<void> {
    for (const { start, length } of plan.pieces) {
      const last = Math.ceil((start + length) / COW_SECTOR);
      for (let sector = Math.floor(start / COW_SECTOR); sector < last;) {
        const page = yield* this.#pages.ensure(this.#bitmap, Math.floor(sector / 64));
        const stop = Math.min(last, alignDown(sector, PAGE_SECTORS) + PAGE_SECTORS);
        for (; sector < stop; sector++) {
          const bit = sector % PAGE_SECTORS;
          if (isSet(page, bit)) continue;
          page.bytes[bit >>> 3]! |= 1 << (bit & 7);
          this.#pages.markDirty(page, bit >>> 6);
        }
      }
    }
  }

  *flush(): Op<void> {
    const unlock = yield* this.#flushing.acquire();
    try {
      const bits = this.#pages.takeDirty(1);
      let written = false;
      try {
        yield* flush(this.#file);
        if (bits.length > 0) {
          yield* this.#pages.writeBack(bits);
          yield* flush(this.#file);
        }
        written = true;
      } finally {
        this.#pages.settle(bits, written);
      }
    } finally {
      unlock();
    }
  }

  *close(): Op<void> {
    if (!this.#node.readOnly) yield* this.flush();
  }
}

const isSet = (page: EntryPage, bit: number): boolean => ((page.bytes[bit >>> 3]! >>> (bit & 7)) & 1) !== 0;

/** The first bit in [bit, stop) that differs; `stop` when all are alike. */
function endOfRun(page: EntryPage, bit: number, stop: number, value: boolean): number {
  const whole = value ? 0xff : 0;
  let at = bit + 1;
  while (at < stop) {
    if ((at & 7) === 0 && page.bytes[at >>> 3] === whole) {
      at += 8;
      continue;
    }
    if (isSet(page, at) !== value) return at;
    at++;
  }
  return stop;
}
