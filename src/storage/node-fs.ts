/**
 * Files and block devices through `node:fs`, with a synchronous and an asynchronous face over one descriptor.
 *
 * Holes, hole punching, preallocation and QEMU-compatible image locks come from node-native.ts where that loads. Without
 * it: a file occupying no blocks is a hole, anything else counts as data; `discard`, `writeZeroes` and `allocate` throw
 * ERR_UNSUPPORTED (the caller emulates or goes without); locks are those described in node-locks.ts.
 */
import { constants, fdatasync, fdatasyncSync, fstatSync, ftruncate, ftruncateSync, writeSync, type Stats } from "node:fs";
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
import { MAX_EXTENTS } from "./shared/extent-list.js";
import { DataRuns } from "./node-data-runs.js";
import { deviceSize } from "./node-device.js";
import { namedError, systemError } from "./node-errors.js";
import { fail, readAll, readAllAsync, writeAll, writeAllAsync } from "./node-io.js";
import type { ImageLock } from "./node-locks.js";
import { NOT_POSSIBLE, type NativeFiles } from "./node-native.js";
import { openDescriptor, pathOf, permissionsOf, type Opened } from "./node-open.js";
import type {
  AsyncStorageFace,
  Storage,
  StorageExtent,
  StorageOpenOptions,
  SyncStorageFace,
  WriteZeroesFlags,
} from "./storage.js";

export interface FileStorageOptions extends Partial<StorageOpenOptions> {
  /** Refuse anything but regular files, or anything but devices, in the name of this driver of QEMU. Absent: both will do. */
  only?: "file" | "host_device" | "host_cdrom";
  /**
   * Which faces the storage has; "both" when absent. "ahead": both, of which the asynchronous one is for large reads only: others
   * make them while the caller writes.
   */
  faces?: "both" | "sync" | "async" | "ahead";
  /** `Permission` bits we use; absent: what opening an image read-only or read-write needs. */
  permissions?: number;
  /** `Permission` bits others may use meanwhile; absent: all but write and resize. */
  shared?: number;
  /** A file that grows from nothing begins with a block of zeros on the medium, as QEMU's do: direct I/O finds its alignment by it. */
  firstBlock?: boolean;
  /** The native calls to use: absent: node-native.ts's if they load, null: none. */
  native?: NativeFiles | null;
}

export interface CreateFileOptions extends Omit<FileStorageOptions, "readOnly" | "forceShare"> {
  /** Fail with ERR_EXISTS if the file exists; otherwise it is emptied (after its lock was got). */
  exclusive?: boolean;
  /** Initial size in bytes, a hole; 0 when absent. */
  size?: number;
}

export interface FileStorage extends Storage {
  readonly kind: "file";
  readonly path: string;
  /** A block or character device rather than a file. */
  readonly device: boolean;
  /** "ofd": QEMU-compatible locks; "process": within this process (see node-locks.ts); "off": none. */
  readonly locking: "ofd" | "process" | "off";
  /**
   * Changes what we use and share (`Permission` bits), with QEMU's errors on a conflict. Nothing happens when locking is off.
   * @throws BlockError ERR_BUSY; what was held before is still held
   */
  setPermissions(permissions: number, shared: number): void;
  /**
   * The same file opened anew, read-only or read-write: its locks pass to the new storage, this one is left open without
   * any until it is closed. On failure nothing has changed.
   */
  reopen(readOnly: boolean, forceShare?: boolean): FileStorage;
}

/** Bytes whose copying takes several times as long as handing the work to another thread. */
const LARGE_READ = 256 * 1024;

class NodeFile implements FileStorage {
  readonly kind = "file" as const;
  readonly name: string;
  readonly path: string;
  readonly readOnly: boolean;
  readonly alignment: number;
  readonly fixedSize: boolean;
  readonly device: boolean;
  readonly locking: "ofd" | "process" | "off";
  readonly sync: SyncStorageFace | null;
  readonly async: AsyncStorageFace | null;
  readonly awaitReadsFrom?: number;

  private readonly fd: number;
  private readonly lock: ImageLock | null;
  private readonly release: () => void;
  private readonly native: () => NativeFiles | null;
  private readonly options: FileStorageOptions;
  private readonly deviceBytes: number;
  private closed = false;
  /** Asynchronous calls under way: the descriptor is closed after the last of them, or they could hit its successor. */
  private pending = 0;
  private idle: (() => void) | null = null;
  /** After a failed flush nobody knows which pages were dropped: later flushes must not claim success. */
  private flushError: BlockError | null = null;
  /** Something may have been written since the last flush: through this descriptor, or before it was opened. */
  private unflushed = true;
  private canPunch = true;
  private canZero = true;
  private readonly runs: DataRuns;
  /** The size when it was last asked for. */
  private sizeSeen = 0;

  constructor(opened: Opened) {
    this.fd = opened.fd;
    this.runs = new DataRuns(opened.fd);
    this.path = this.name = opened.path;
    this.readOnly = opened.readOnly;
    this.options = opened.options;
    this.native = opened.native;
    this.lock = opened.lock;
    this.release = opened.release;
    this.locking = opened.lock?.kind ?? "off";
    this.device = !opened.stats.isFile();
    this.fixedSize = this.device;
    // Raw character devices (macOS, BSD) take whole sectors only; Linux' block devices are buffered.
    this.alignment = opened.stats.isCharacterDevice() ? 512 : 1;
    this.deviceBytes = this.device ? deviceSize(opened.fd, opened.path, opened.native) : 0;
    const faces = opened.options.faces ?? "both";
    this.sync = faces === "async" ? null : this.syncFace();
    this.async = faces === "sync" ? null : this.asyncFace();
    if (faces === "ahead") this.awaitReadsFrom = LARGE_READ;
  }

  setPermissions(permissions: number, shared: number): void {
    if (this.closed) throw closedError(this.name, "lock");
    this.lock?.set(permissions, shared);
  }

  reopen(readOnly: boolean, forceShare: boolean = this.options.forceShare ?? false): FileStorage {
    if (this.closed) throw closedError(this.name, "reopen");
    const options = { ...this.options, readOnly, forceShare };
    delete options.permissions;
    delete options.shared;
    const before = fstatSync(this.fd, { bigint: true });
    this.lock?.release();
    try {
      const opened = openDescriptor(this.path, options, constants.O_RDONLY, "open", (fd) => {
        const now = fstatSync(fd, { bigint: true });
        if (now.dev !== before.dev || now.ino !== before.ino) {
          throw new BlockError("ERR_CHANGED", `Could not reopen '${this.path}': another file has its name now`, {
            node: this.path,
            operation: "reopen",
          });
        }
      });
      return new NodeFile(opened);
    } catch (error) {
      this.lock?.set(...permissionsOf(this.readOnly, this.options));
      throw error;
    }
  }

  private syncFace(): SyncStorageFace {
    return {
      read: (into, offset) => {
        this.check("read", offset, into.length);
        return readAll(this.fd, into, offset, { name: this.name, operation: "read" });
      },
      write: (from, offset) => {
        this.checkWrite("write", offset, from.length);
        this.checkGrowth("write", offset, from.length);
        writeAll(this.fd, from, offset, { name: this.name, operation: "write" });
      },
      flush: () => {
        if (!this.flushNeeded(0)) return;
        try {
          fdatasyncSync(this.fd);
        } catch (error) {
          throw this.flushFailed(error);
        }
      },
      size: () => this.size(),
      truncate: (size) => {
        if (!this.truncateNeeded(size)) return;
        const first = this.options.firstBlock === true && this.size() === 0;
        try {
          ftruncateSync(this.fd, size);
        } catch (error) {
          throw this.truncateFailed(error);
        }
        if (first) allocateFirstBlock(this.fd, size);
      },
      writeZeroes: (offset, length, flags) => {
        for (const attempt of this.zeroAttempts(offset, length, flags)) if (attempt.done(attempt.sync())) return;
        throw this.cannot("write-zeroes");
      },
      discard: (offset, length) => {
        for (const attempt of this.discardAttempts(offset, length)) if (attempt.done(attempt.sync())) return;
        throw this.cannot("discard");
      },
      allocate: (offset, length) => {
        const native = this.allocateWith(offset, length);
        if (length > 0) this.allocateDone(native.reserve(this.fd, offset, length), offset);
      },
      extents: (offset, length, limit) => this.extents(offset, length, limit),
      allocatedSize: () => this.allocatedSize(),
      close: () => {
        if (this.closed) return;
        this.closed = true;
        if (this.pending === 0) this.closeNow();
        else this.idle = () => this.closeNow();
      },
    };
  }

  private asyncFace(): AsyncStorageFace {
    return {
      read: (into, offset) =>
        this.tracked(() => {
          this.check("read", offset, into.length);
          return readAllAsync(this.fd, into, offset, { name: this.name, operation: "read" });
        }),
      write: (from, offset) =>
        this.tracked(() => {
          this.checkWrite("write", offset, from.length);
          this.checkGrowth("write", offset, from.length);
          return writeAllAsync(this.fd, from, offset, { name: this.name, operation: "write" });
        }),
      flush: () =>
        this.tracked(async () => {
          if (!this.flushNeeded(1)) return;
          await new Promise<void>((resolve, reject) => {
            fdatasync(this.fd, (error) => (error ? reject(this.flushFailed(error)) : resolve()));
          });
        }),
      size: () => this.tracked(async () => this.size()),
      truncate: (size) =>
        this.tracked(async () => {
          if (!this.truncateNeeded(size)) return;
          const first = this.options.firstBlock === true && this.size() === 0;
          await new Promise<void>((resolve, reject) => {
            ftruncate(this.fd, size, (error) => (error ? reject(this.truncateFailed(error)) : resolve()));
          });
          if (first) allocateFirstBlock(this.fd, size);
        }),
      writeZeroes: (offset, length, flags) =>
        this.tracked(async () => {
          for (const attempt of this.zeroAttempts(offset, length, flags)) if (attempt.done(await attempt.async())) return;
          throw this.cannot("write-zeroes");
        }),
      discard: (offset, length) =>
        this.tracked(async () => {
          for (const attempt of this.discardAttempts(offset, length)) if (attempt.done(await attempt.async())) return;
          throw this.cannot("discard");
        }),
      allocate: (offset, length) =>
        this.tracked(async () => {
          const native = this.allocateWith(offset, length);
          if (length > 0) this.allocateDone(await native.reserveAsync(this.fd, offset, length), offset);
        }),
      extents: (offset, length, limit) => this.tracked(async () => this.extents(offset, length, limit)),
      allocatedSize: () => this.tracked(async () => this.allocatedSize()),
      close: async () => {
        if (this.closed) return;
        this.closed = true;
        if (this.pending > 0) await new Promise<void>((resolve) => (this.idle = resolve));
        this.closeNow();
      },
    };
  }

  /** Counts a call as under way until it is settled; what it throws at once rejects. */
  private async tracked<T>(call: () => Promise<T>): Promise<T> {
    this.pending++;
    try {
      return await call();
    } finally {
      if (--this.pending === 0 && this.idle !== null) this.idle();
    }
  }

  private closeNow(): void {
    // Closing the descriptor ends OFD locks; the table of this process needs telling.
    this.lock?.release();
    try {
      this.release();
    } catch (error) {
      throw fail(error, { name: this.name, operation: "close" });
    }
  }

  private check(operation: string, offset: number, length: number): void {
    if (this.closed) throw closedError(this.name, operation);
    checkRange(this, operation, offset, length);
  }

  /** Comes before every change of the file. */
  private checkWrite(operation: string, offset: number, length: number): void {
    this.check(operation, offset, length);
    checkWritable(this, operation);
    this.unflushed = true;
  }

  private checkGrowth(operation: string, offset: number, length: number): void {
    if (this.fixedSize && offset + length > this.deviceBytes) throw noSpaceError(this, operation, offset);
  }

  private stat(operation: string): Stats {
    if (this.closed) throw closedError(this.name, operation);
    try {
      return fstatSync(this.fd);
    } catch (error) {
      throw fail(error, { name: this.name, operation });
    }
  }

  /** Asked anew each time (about 1 µs): other programs, and other opens of ours, may have changed it. */
  private size(): number {
    const { size } = this.stat("size");
    const bytes = this.device ? this.deviceBytes : size;
    if (!Number.isSafeInteger(bytes))
      throw new BlockError("ERR_TOO_LARGE", `'${this.name}' is larger than 2^53 - 1 bytes`, { node: this.name });
    this.sizeSeen = bytes;
    return bytes;
  }

  private allocatedSize(): number | null {
    const { blocks } = this.stat("allocated-size") as { blocks: number | undefined };
    return blocks === undefined || !Number.isSafeInteger(blocks) ? null : blocks * 512;
  }

  /** @param own asynchronous calls under way that are this flush: what others write meanwhile is for the next one */
  private flushNeeded(own: 0 | 1): boolean {
    if (this.closed) throw closedError(this.name, "flush");
    if (this.flushError !== null) throw this.flushError;
    // While others are under way, one that flushes may still fail, and one that writes may end after this flush.
    const alone = this.pending === own;
    if (this.readOnly || (alone && !this.unflushed)) return false;
    if (alone) this.unflushed = false;
    return true;
  }

  private flushFailed(error: unknown): BlockError {
    this.unflushed = true;
    const failure = fail(error, { name: this.name, operation: "flush" });
    // A device or file system without flushing at all is not a lost write.
    if (failure.errno !== "EINVAL" && failure.errno !== "ENOTSUP") this.flushError = failure;
    return failure;
  }

  private truncateNeeded(size: number): boolean {
    this.checkWrite("truncate", size, 0);
    if (!this.device) {
      this.sizeSeen = Math.min(size, this.sizeSeen);
      this.runs.forget(size, Infinity);
      return true;
    }
    if (size === this.deviceBytes) return false;
    throw new BlockError("ERR_UNSUPPORTED", size > this.deviceBytes ? "Cannot grow device files" : "Cannot resize device files", {
      node: this.name,
      operation: "truncate",
    });
  }

  private truncateFailed(error: unknown): BlockError {
    return systemError(error, "Failed to resize file", { node: this.name, operation: "truncate" });
  }

  /** Ways to make a range zero, best first. Yields nothing when there is none. */
  private *zeroAttempts(offset: number, length: number, flags: WriteZeroesFlags): Generator<Attempt> {
    this.checkZeroing("write-zeroes", offset, length);
    if (length === 0) yield NOTHING;
    const native = this.native();
    if (native === null) return;
    this.runs.forget(offset, offset + length);
    if (flags.mayUnmap === true && this.canPunch) yield this.punch(native, "write-zeroes", offset, length);
    if (this.canZero) {
      yield {
        sync: () => native.zeroRange(this.fd, offset, length),
        async: () => native.zeroRangeAsync(this.fd, offset, length),
        done: (errno) => this.attemptDone(errno, "write-zeroes", offset, () => (this.canZero = false)),
      };
    }
  }

  private *discardAttempts(offset: number, length: number): Generator<Attempt> {
    this.checkZeroing("discard", offset, length);
    if (length === 0) yield NOTHING;
    const native = this.native();
    if (native === null || !this.canPunch) return;
    this.runs.forget(offset, offset + length);
    yield this.punch(native, "discard", offset, length);
  }

  private punch(native: NativeFiles, operation: string, offset: number, length: number): Attempt {
    return {
      sync: () => native.punchHole(this.fd, offset, length),
      async: () => native.punchHoleAsync(this.fd, offset, length),
      done: (errno) => this.attemptDone(errno, operation, offset, () => (this.canPunch = false)),
    };
  }

  private attemptDone(errno: string | null, operation: string, offset: number, never: () => void): boolean {
    if (errno === null) return true;
    if (!NOT_POSSIBLE.has(errno)) throw namedError(errno, undefined, { node: this.name, operation, offset });
    // Devices say EINVAL for a range they find unaligned: that is about this range only.
    if (!(errno === "EINVAL" && this.device)) never();
    return false;
  }

  private checkZeroing(operation: string, offset: number, length: number): void {
    this.checkWrite(operation, offset, length);
    checkInside(this, operation, offset, length, this.size());
  }

  private cannot(operation: string): BlockError {
    return unsupportedError(this.name, operation, `${operation} is not possible on this file system or without native calls`);
  }

  private allocateWith(offset: number, length: number): NativeFiles {
    this.checkWrite("allocate", offset, length);
    this.checkGrowth("allocate", offset, length);
    const native = this.native();
    if (native === null || this.device) throw this.cannot("allocate");
    return native;
  }

  private allocateDone(errno: string | null, offset: number): void {
    if (errno === null) return;
    if (NOT_POSSIBLE.has(errno)) throw this.cannot("allocate");
    throw namedError(errno, undefined, { node: this.name, operation: "allocate", offset });
  }

  private extents(offset: number, length: number, limit = MAX_EXTENTS): StorageExtent[] {
    this.check("extents", offset, length);
    const known = this.runs.known(offset, length);
    if (known !== null) return known;
    // Files seldom shrink, and where one has there is no data.
    if (offset + length > this.sizeSeen) checkInside(this, "extents", offset, length, this.size());
    if (length === 0) return [];
    const native = this.device || !this.runs.canSeek ? null : this.native();
    if (native !== null) {
      return this.runs.find(native, offset, length, limit, () => checkInside(this, "extents", offset, length, this.size()));
    }
    // A device occupies no blocks of the file system it has its name on.
    const hole = !this.device && this.stat("extents").blocks === 0;
    return [{ offset, length, data: !hole }];
  }
}

interface Attempt {
  sync(): string | null;
  async(): Promise<string | null>;
  /** true: it worked; false: try the next way. Throws on a real failure. */
  done(errno: string | null): boolean;
}

const NOTHING: Attempt = { sync: () => null, async: async () => null, done: () => true };

/**
 * Opens an existing file or block device, read-write unless `readOnly`, and takes its image lock unless `locking` or
 * `forceShare` say otherwise.
 *
 * @throws BlockError with the errno of `open`, ERR_BUSY when another program holds the image
 */
export function openFileStorage(path: string | URL, options: FileStorageOptions = {}): FileStorage {
  return new NodeFile(openDescriptor(pathOf(path), options, 0, "open", () => {}));
}

/** As openFileStorage. Opening is a handful of system calls made synchronously: only failures and I/O are asynchronous. */
export async function openFileStorageAsync(path: string | URL, options: FileStorageOptions = {}): Promise<FileStorage> {
  return openFileStorage(path, options);
}

/** Zeros for the first block; not missed where they cannot be written. */
function allocateFirstBlock(fd: number, size: number): void {
  try {
    if (size > 0) writeSync(fd, new Uint8Array(Math.min(size, 4096)), 0, Math.min(size, 4096), 0);
  } catch {
    // full, or not to be written like that
  }
}

/**
 * Creates a file, or empties an existing one (a device keeps its size and content) once its lock was got, and opens it
 * read-write.
 */
export function createFileStorage(path: string | URL, options: CreateFileOptions = {}): FileStorage {
  const { exclusive = false, size = 0, ...rest } = options;
  checkSize(size, "size");
  const name = pathOf(path);
  const flags = constants.O_CREAT | (exclusive ? constants.O_EXCL : 0);
  const opened = openDescriptor(name, { ...rest, readOnly: false }, flags, "create", (fd) => {
    if (!fstatSync(fd).isFile()) return;
    ftruncateSync(fd, 0);
    if (size > 0) {
      try {
        ftruncateSync(fd, size);
      } catch (error) {
        throw systemError(error, "Failed to resize file", { node: name, operation: "create" });
      }
      if (options.firstBlock === true) allocateFirstBlock(fd, size);
    }
  });
  return new NodeFile(opened);
}
