/**
 * The storage contract: where the bytes of an image file live.
 *
 * A storage has a synchronous face, an asynchronous face, or both; each is present exactly when the storage declares
 * that it can work that way. Everything above (nodes, formats, jobs) is written once and driven over either face
 * (`block/op.ts`).
 *
 * Rules every storage keeps (checked by `test/conformance/storage-suite.ts`):
 *  - `read` fills `into` from `offset` and returns the number of bytes read. It is short only at the end of the storage;
 *    interrupted or partial system reads are continued inside. The bytes of `into` past the count are left untouched.
 *  - `write` writes all of `from` or throws; writing past the end grows the storage, a gap reads as zeros.
 *  - `flush` returns after everything written before the call is durable (as far as the medium can promise it).
 *  - offsets and lengths are safe integers >= 0; a storage may refuse what its medium cannot hold (`ERR_TOO_LARGE`).
 *  - failures are `BlockError`s with the errno of the medium (`EIO`, `ENOSPC`, ...).
 *  - after `close`, every call fails with `ERR_CLOSED`; closing twice is fine.
 *  - buffers belong to the caller before and after the call and must not be kept.
 */
export type StorageKind = "memory" | "file" | "opfs" | "blob" | "http" | "object" | "custom" | "nbd" | "ftp" | "tftp" | "ssh";

/** A run of a storage that is either data or a hole that reads as zeros. */
export interface StorageExtent {
  offset: number;
  length: number;
  /** false: certainly a hole reading as zeros; true: data, or not known. */
  data: boolean;
  /** Where that is not the whole truth (NBD servers tell of stored zeros, and of holes that do not read as zeros). Absent: `!data`. */
  zero?: boolean;
}

export interface WriteZeroesFlags {
  /** The range may be deallocated (hole punched) as long as it reads as zeros. */
  mayUnmap?: boolean;
  /** Fail with ERR_UNSUPPORTED rather than write explicit zeros (NBD "fast zero"). */
  noFallback?: boolean;
}

export type Preallocation = "off" | "metadata" | "falloc" | "full";

/** All optional members are capabilities: absent means "this medium cannot", and the caller emulates or goes without. */
export interface StorageFace<Read, Done, Size, Extents, Maybe> {
  read(into: Uint8Array, offset: number): Read;
  write(from: Uint8Array, offset: number): Done;
  flush(): Done;
  /** Current size in bytes. */
  size(): Size;
  /** Sets the size; growing adds zeros. */
  truncate(size: number): Done;
  /** Makes the range (inside the size) read as zeros more cheaply than writing them. Throws ERR_UNSUPPORTED if it cannot after all. */
  writeZeroes?(offset: number, length: number, flags: WriteZeroesFlags): Done;
  /** Gives space back; afterwards the range reads as zeros. Throws ERR_UNSUPPORTED if it cannot after all. */
  discard?(offset: number, length: number): Done;
  /** Reserves space (posix_fallocate): the range exists, reads as before or zeros. */
  allocate?(offset: number, length: number): Done;
  /**
   * Data/hole runs that cover [offset, offset+length) in order, at least the first; never empty unless length is 0. More than
   * `limit` of them need not be looked for.
   */
  extents?(offset: number, length: number, limit?: number): Extents;
  /** Bytes really occupied on the medium; null when unknown. */
  allocatedSize?(): Maybe;
  close(): Done;
}

export type SyncStorageFace = StorageFace<number, void, number, StorageExtent[], number | null>;
export type AsyncStorageFace = StorageFace<
  Promise<number>,
  Promise<void>,
  Promise<number>,
  Promise<StorageExtent[]>,
  Promise<number | null>
>;

export interface Storage {
  readonly kind: StorageKind;
  /** What a user calls it: path, URL, file name. Used in messages and as the image's file name. */
  readonly name: string;
  readonly readOnly: boolean;
  /** Reads, writes and their buffers' lengths must be multiples of this many bytes (1 for most). */
  readonly alignment: number;
  /** The size never changes and does not grow by writes (block devices, File, HTTP objects). */
  readonly fixedSize: boolean;
  readonly sync: SyncStorageFace | null;
  readonly async: AsyncStorageFace | null;
  /**
   * Of a storage with both faces: only reads of at least this many bytes are worth waiting for, as another thread makes them while
   * the caller goes on; everything else is done on the spot. Absent: whoever can wait does, for every call.
   */
  readonly awaitReadsFrom?: number;
  /**
   * The same medium opened anew, read-only or read-write; locks pass on, this object is closed by the caller. Absent: it cannot.
   * `forceShare`: with locks or without, where that changes.
   */
  reopen?(readOnly: boolean, forceShare?: boolean): Storage;
  /** Counters some storages keep (HTTP: requests, bytes). */
  readonly statistics?: Readonly<Record<string, number>>;
}

export interface StorageOpenOptions {
  readOnly: boolean;
  /** Take no lock and accept others' locks (`-U`, force-share). */
  forceShare?: boolean;
  /** "off" | "on" | "auto" as the file driver's `locking`. */
  locking?: "off" | "on" | "auto";
}

/** How a protocol gets at a storage by name; either way may be null where the platform cannot. */
export interface StorageOpener {
  sync: ((filename: string, options: StorageOpenOptions) => Storage) | null;
  async: ((filename: string, options: StorageOpenOptions) => Promise<Storage>) | null;
}

/** How a protocol removes a file by name. */
export interface StorageRemover {
  sync: ((filename: string) => void) | null;
  async: ((filename: string) => Promise<void>) | null;
}
