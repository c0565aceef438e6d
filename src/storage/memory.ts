/**
 * Sparse memory: 64 KiB chunks that exist only where something was written, so that a terabyte costs what was put in it.
 *
 * Chunks hang in pages of 1024 (64 MiB each); a page that runs empty is dropped. Everything that walks a range looks at
 * existing pages only, whichever are fewer: those of the range or those that exist.
 */
import { isZero } from "../base/bytes.js";
import { BlockError } from "../base/error.js";
import {
  checkInside,
  checkRange,
  checkSize,
  checkWritable,
  closedError,
  noSpaceError,
  unsupportedError,
} from "./shared/checks.js";
import { MAX_EXTENTS, pushExtent } from "./shared/extent-list.js";
import type { Storage, StorageExtent, SyncStorageFace, WriteZeroesFlags } from "./storage.js";

const CHUNK = 65536;
const CHUNKS_PER_PAGE = 1024;

interface Chunk {
  bytes: Uint8Array;
  /** Also held by a snapshot: copied before it is written. */
  shared: boolean;
}

interface Page {
  chunks: (Chunk | undefined)[];
  used: number;
}

export interface MemoryStorageOptions {
  /** What messages call it; "memory" when absent. */
  name?: string;
  readOnly?: boolean;
  /** Never changes its size: writes past the end fail with ENOSPC, as on a block device. */
  fixedSize?: boolean;
  /** Required multiple of offsets and lengths, in bytes (1 when absent). */
  alignment?: number;
  /** Most bytes the content may occupy (whole 64 KiB chunks); a write that needs more fails with ENOSPC. */
  limit?: number;
  /** Take the given bytes over instead of copying them: the caller must not use them afterwards. */
  adopt?: boolean;
}

export interface MemoryStorage extends Storage {
  readonly kind: "memory";
  readonly sync: SyncStorageFace;
  readonly async: null;
  /** A copy of the content from `offset` (0) on, `length` bytes (to the end). Allocates the result: mind sparse giants. */
  toBytes(offset?: number, length?: number): Uint8Array;
  /** An independent storage with the present content; chunks are shared until one side writes them. */
  snapshot(options?: MemoryStorageOptions): MemoryStorage;
}

class Memory implements MemoryStorage, SyncStorageFace {
  readonly kind = "memory" as const;
  readonly name: string;
  readonly readOnly: boolean;
  readonly alignment: number;
  readonly fixedSize: boolean;
  readonly sync: SyncStorageFace = this;
  readonly async = null;

  private pages = new Map<number, Page>();
  private chunkCount = 0;
  private bytes: number;
  private closed = false;
  private readonly limit: number;

  constructor(size: number, options: MemoryStorageOptions) {
    this.name = options.name ?? "memory";
    this.readOnly = options.readOnly ?? false;
    this.alignment = options.alignment ?? 1;
    this.fixedSize = options.fixedSize ?? false;
    this.limit = options.limit ?? Infinity;
    this.bytes = size;
  }

  /** Fills a fresh storage; all-zero chunks stay holes. */
  load(content: Uint8Array, adopt: boolean): void {
    for (let at = 0; at < content.length; at += CHUNK) {
      const part = content.subarray(at, at + CHUNK);
      if (isZero(part)) continue;
      const chunk = this.newChunk(at / CHUNK, "create", adopt && part.length === CHUNK ? part : null);
      if (chunk.bytes !== part) chunk.bytes.set(part);
    }
  }

  read(into: Uint8Array, offset: number): number {
    this.check("read", offset, into.length);
    const count = Math.max(0, Math.min(into.length, this.bytes - offset));
    for (let done = 0; done < count;) {
      const at = offset + done;
      const inChunk = at % CHUNK;
      const n = Math.min(CHUNK - inChunk, count - done);
      const chunk = this.find((at - inChunk) / CHUNK);
      if (chunk === undefined) into.fill(0, done, done + n);
      else into.set(n === CHUNK ? chunk.bytes : chunk.bytes.subarray(inChunk, inChunk + n), done);
      done += n;
    }
    return count;
  }

  write(from: Uint8Array, offset: number): void {
    this.checkWrite("write", offset, from.length);
    const end = offset + from.length;
    if (from.length === 0) return;
    if (end > this.bytes && this.fixedSize) throw noSpaceError(this, "write", offset);
    for (let done = 0; done < from.length;) {
      const at = offset + done;
      const inChunk = at % CHUNK;
      const n = Math.min(CHUNK - inChunk, from.length - done);
      this.writable((at - inChunk) / CHUNK, "write").set(n === from.length ? from : from.subarray(done, done + n), inChunk);
      done += n;
      // Per chunk: if the limit stops a later one, what was written can be read.
      if (at + n > this.bytes) this.bytes = at + n;
    }
  }

  flush(): void {
    if (this.closed) throw closedError(this.name, "flush");
  }

  size(): number {
    if (this.closed) throw closedError(this.name, "size");
    return this.bytes;
  }

  truncate(size: number): void {
    this.checkWrite("truncate", size, 0);
    if (size === this.bytes) return;
    if (this.fixedSize) throw unsupportedError(this.name, "truncate", "the size is fixed");
    if (size < this.bytes) this.clear(size, this.bytes - size, true);
    this.bytes = size;
  }

  writeZeroes(offset: number, length: number, flags: WriteZeroesFlags): void {
    this.checkWrite("write-zeroes", offset, length);
    checkInside(this, "write-zeroes", offset, length, this.bytes);
    this.clear(offset, length, flags.mayUnmap ?? false);
  }

  discard(offset: number, length: number): void {
    this.checkWrite("discard", offset, length);
    checkInside(this, "discard", offset, length, this.bytes);
    this.clear(offset, length, true);
  }

  /** Nothing can run out later unless there is a limit, and then only within it. */
  allocate(offset: number, length: number): void {
    this.checkWrite("allocate", offset, length);
    const end = offset + length;
    if (length === 0) return;
    if (end > this.bytes && this.fixedSize) throw noSpaceError(this, "allocate", offset);
    if (Number.isFinite(this.limit)) {
      for (let at = offset - (offset % CHUNK); at < end; at += CHUNK) this.writable(at / CHUNK, "allocate");
    }
    if (end > this.bytes) this.bytes = end;
  }

  extents(offset: number, length: number): StorageExtent[] {
    this.check("extents", offset, length);
    checkInside(this, "extents", offset, length, this.bytes);
    const list: StorageExtent[] = [];
    const end = offset + length;
    for (let at = offset; at < end && list.length < MAX_EXTENTS;) {
      const index = Math.floor(at / CHUNK);
      const data = this.find(index) !== undefined;
      const next = Math.min(end, (data ? index + 1 : this.nextData(index, Math.ceil(end / CHUNK))) * CHUNK);
      pushExtent(list, at, next - at, data);
      at = next;
    }
    return list;
  }

  allocatedSize(): number {
    if (this.closed) throw closedError(this.name, "allocated-size");
    return this.chunkCount * CHUNK;
  }

  close(): void {
    this.closed = true;
    this.pages = new Map();
    this.chunkCount = 0;
  }

  toBytes(offset = 0, length?: number): Uint8Array {
    if (this.closed) throw closedError(this.name, "read");
    checkSize(offset, "offset");
    const count = length ?? Math.max(0, this.bytes - offset);
    checkSize(count, "length");
    checkInside(this, "read", offset, count, this.bytes);
    let out: Uint8Array;
    try {
      out = new Uint8Array(count);
    } catch (cause) {
      throw new BlockError("ERR_TOO_LARGE", `'${this.name}': ${count} bytes do not fit into one array`, {
        node: this.name,
        cause,
      });
    }
    for (let done = 0; done < count;) {
      const inChunk = (offset + done) % CHUNK;
      const n = Math.min(CHUNK - inChunk, count - done);
      const chunk = this.find((offset + done - inChunk) / CHUNK);
      if (chunk !== undefined) out.set(chunk.bytes.subarray(inChunk, inChunk + n), done);
      done += n;
    }
    return out;
  }

  snapshot(options: MemoryStorageOptions = {}): MemoryStorage {
    if (this.closed) throw closedError(this.name, "snapshot");
    const copy = new Memory(this.bytes, {
      name: this.name,
      alignment: this.alignment,
      fixedSize: this.fixedSize,
      limit: this.limit,
      ...options,
    });
    for (const [index, page] of this.pages) {
      for (const chunk of page.chunks) if (chunk !== undefined) chunk.shared = true;
      // The chunk objects themselves are shared: writing replaces the object on the writing side only.
      copy.pages.set(index, { chunks: page.chunks.slice(), used: page.used });
    }
    copy.chunkCount = this.chunkCount;
    return copy;
  }

  private check(operation: string, offset: number, length: number): void {
    if (this.closed) throw closedError(this.name, operation);
    checkRange(this, operation, offset, length);
  }

  private checkWrite(operation: string, offset: number, length: number): void {
    this.check(operation, offset, length);
    checkWritable(this, operation);
  }

  private find(index: number): Chunk | undefined {
    return this.pages.get(Math.floor(index / CHUNKS_PER_PAGE))?.chunks[index % CHUNKS_PER_PAGE];
  }

  /** Index of the first existing chunk after `index`, or `limit`. */
  private nextData(index: number, limit: number): number {
    const first = Math.floor((index + 1) / CHUNKS_PER_PAGE);
    const last = Math.floor((limit - 1) / CHUNKS_PER_PAGE);
    const inPage = (number: number): number => {
      const page = this.pages.get(number);
      if (page === undefined) return -1;
      const base = number * CHUNKS_PER_PAGE;
      for (let i = Math.max(0, index + 1 - base); i < page.chunks.length; i++) if (page.chunks[i] !== undefined) return base + i;
      return -1;
    };
    if (last - first < this.pages.size) {
      for (let number = first; number <= last; number++) {
        const found = inPage(number);
        if (found >= 0) return Math.min(found, limit);
      }
      return limit;
    }
    const here = inPage(first);
    if (here >= 0) return Math.min(here, limit);
    let nearest = Infinity;
    for (const number of this.pages.keys()) if (number > first && number < nearest) nearest = number;
    return nearest === Infinity ? limit : Math.min(inPage(nearest), limit);
  }

  private newChunk(index: number, operation: string, bytes: Uint8Array | null): Chunk {
    if ((this.chunkCount + 1) * CHUNK > this.limit) throw noSpaceError(this, operation, index * CHUNK);
    const number = Math.floor(index / CHUNKS_PER_PAGE);
    let page = this.pages.get(number);
    if (page === undefined) this.pages.set(number, (page = { chunks: [], used: 0 }));
    const chunk: Chunk = { bytes: bytes ?? new Uint8Array(CHUNK), shared: false };
    const slot = index % CHUNKS_PER_PAGE;
    while (page.chunks.length < slot) page.chunks.push(undefined);
    page.chunks[slot] = chunk;
    page.used++;
    this.chunkCount++;
    return chunk;
  }

  /** The bytes of a chunk that may be written: created, or copied off a snapshot. */
  private writable(index: number, operation: string): Uint8Array {
    const page = this.pages.get(Math.floor(index / CHUNKS_PER_PAGE));
    const chunk = page?.chunks[index % CHUNKS_PER_PAGE];
    if (page === undefined || chunk === undefined) return this.newChunk(index, operation, null).bytes;
    if (!chunk.shared) return chunk.bytes;
    const own: Chunk = { bytes: chunk.bytes.slice(), shared: false };
    page.chunks[index % CHUNKS_PER_PAGE] = own;
    return own.bytes;
  }

  /** Makes a range zero; chunks that lie in it whole are dropped (`drop`) or zeroed. Holes stay holes. */
  private clear(offset: number, length: number, drop: boolean): void {
    if (length === 0) return;
    const end = offset + length;
    const firstPage = Math.floor(offset / (CHUNK * CHUNKS_PER_PAGE));
    const lastPage = Math.floor((end - 1) / (CHUNK * CHUNKS_PER_PAGE));
    if (lastPage - firstPage < this.pages.size) {
      for (let number = firstPage; number <= lastPage; number++) this.clearInPage(number, offset, end, drop);
    } else {
      for (const number of [...this.pages.keys()]) {
        if (number >= firstPage && number <= lastPage) this.clearInPage(number, offset, end, drop);
      }
    }
  }

  private clearInPage(number: number, offset: number, end: number, drop: boolean): void {
    const page = this.pages.get(number);
    if (page === undefined) return;
    const base = number * CHUNKS_PER_PAGE;
    const from = Math.max(0, Math.floor(offset / CHUNK) - base);
    const to = Math.min(page.chunks.length, Math.ceil(end / CHUNK) - base);
    for (let i = from; i < to; i++) {
      if (page.chunks[i] === undefined) continue;
      const start = (base + i) * CHUNK;
      // The bytes of the last chunk past the end are always zero, so reaching the end is reaching the chunk's end.
      const whole = offset <= start && (end >= start + CHUNK || end >= this.bytes);
      if (whole && drop) {
        page.chunks[i] = undefined;
        page.used--;
        this.chunkCount--;
      } else {
        this.writable(base + i, "write-zeroes").fill(0, Math.max(0, offset - start), Math.min(CHUNK, end - start));
      }
    }
    if (page.used === 0) this.pages.delete(number);
  }
}

/**
 * Memory as a storage, synchronous face only.
 *
 * @param content size in bytes of an all-zero storage, or the initial content (copied unless `adopt`)
 * @throws BlockError ERR_INVALID_ARGUMENT for a bad size or option, ERR_NO_SPACE if the content exceeds `limit`
 */
export function memoryStorage(content: number | Uint8Array = 0, options: MemoryStorageOptions = {}): MemoryStorage {
  const size = typeof content === "number" ? content : content.length;
  checkSize(size, "size");
  const { alignment = 1, limit } = options;
  if (!Number.isSafeInteger(alignment) || alignment < 1)
    throw new BlockError("ERR_INVALID_ARGUMENT", "alignment must be a positive integer");
  if (limit !== undefined && !(limit >= 0)) throw new BlockError("ERR_INVALID_ARGUMENT", "limit must not be negative");
  const storage = new Memory(size, options);
  if (typeof content !== "number") storage.load(content, options.adopt ?? false);
  return storage;
}
