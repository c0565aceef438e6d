/** What the read-only, cached storages (HTTP, Blob, object store) have in common: an asynchronous face over a BlockCache. */
import { BlockError } from "../../base/error.js";
import { checkInside, checkRange, closedError, readOnlyError } from "./checks.js";
import type { BlockCache } from "./block-cache.js";
import type { AsyncStorageFace, Storage, StorageExtent, StorageKind } from "../storage.js";

export interface CacheOptions {
  /** Bytes of one cached block; 65536 when absent. At least 512. */
  blockSize?: number;
  /** Most bytes of cached blocks. */
  cacheSize?: number;
  /** Largest read-ahead window in bytes; 0: none. */
  readAhead?: number;
}

export interface CheckedCacheOptions {
  blockSize: number;
  budget: number;
  readAhead: number;
}

export function checkCacheOptions(options: CacheOptions, defaultCache: number, defaultAhead: number): CheckedCacheOptions {
  const { blockSize = 65536, cacheSize = defaultCache, readAhead = defaultAhead } = options;
  if (!Number.isSafeInteger(blockSize) || blockSize < 512)
    throw new BlockError("ERR_INVALID_ARGUMENT", "blockSize must be an integer of at least 512");
  if (!Number.isSafeInteger(cacheSize) || cacheSize < 0)
    throw new BlockError("ERR_INVALID_ARGUMENT", "cacheSize must be an integer of at least 0");
  if (!Number.isSafeInteger(readAhead) || readAhead < 0)
    throw new BlockError("ERR_INVALID_ARGUMENT", "readAhead must be an integer of at least 0");
  return { blockSize, budget: cacheSize, readAhead };
}

export interface SourceDetails {
  kind: StorageKind;
  name: string;
  size: number;
  cache: BlockCache;
  statistics?: Readonly<Record<string, number>>;
  /** Ends requests under way. */
  onClose?(): void;
}

export class CachedSource implements Storage, AsyncStorageFace {
  readonly kind: StorageKind;
  readonly name: string;
  readonly readOnly = true;
  readonly alignment = 1;
  readonly fixedSize = true;
  readonly sync = null;
  readonly async: AsyncStorageFace = this;
  readonly statistics: Readonly<Record<string, number>>;
  private closed = false;

  constructor(private readonly details: SourceDetails) {
    this.kind = details.kind;
    this.name = details.name;
    this.statistics = details.statistics ?? (details.cache.statistics as unknown as Record<string, number>);
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    this.check("read");
    checkRange(this, "read", offset, into.length);
    try {
      return await this.details.cache.read(into, offset);
    } catch (error) {
      // Requests cut off by close fail in their own way; the reason is the same for all.
      if (this.closed) throw closedError(this.name, "read");
      throw error;
    }
  }

  async write(): Promise<void> {
    this.check("write");
    throw readOnlyError(this.name, "write");
  }

  async flush(): Promise<void> {
    this.check("flush");
  }

  async size(): Promise<number> {
    this.check("size");
    return this.details.size;
  }

  async truncate(): Promise<void> {
    this.check("truncate");
    throw readOnlyError(this.name, "truncate");
  }

  async extents(offset: number, length: number): Promise<StorageExtent[]> {
    this.check("extents");
    checkRange(this, "extents", offset, length);
    checkInside(this, "extents", offset, length, this.details.size);
    return length === 0 ? [] : [{ offset, length, data: true }];
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.details.cache.clear();
    this.details.onClose?.();
  }

  private check(operation: string): void {
    if (this.closed) throw closedError(this.name, operation);
  }
}
