/**
 * Files of the origin private file system (OPFS) and of the File System Access API.
 *
 * `openOpfs` uses a `FileSystemSyncAccessHandle` where it can be had (dedicated workers, OPFS): microseconds per call,
 * synchronous face. Elsewhere an asynchronous face over the file handle itself: reads are slices of `getFile()`; a writable
 * stream works on a copy of the whole file that replaces it when closed, so writes are kept in memory and brought out
 * together, on `flush`, `close` and whenever they exceed a budget. Each of these costs a copy of the file.
 */
import { BlockError, type ErrorCode } from "../base/error.js";
import { opfsError } from "./opfs-error.js";
import { OpfsWriteBack, type AsyncFileHandle } from "./opfs-write-back.js";
import { checkRange, checkWritable, closedError } from "./shared/checks.js";
import type { Storage, SyncStorageFace } from "./storage.js";

/** The part of `FileSystemSyncAccessHandle` that is used. */
export interface SyncAccessHandle {
  read(into: Uint8Array, options: { at: number }): number;
  write(from: Uint8Array, options: { at: number }): number;
  getSize(): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}

/** The part of `FileSystemFileHandle` that is used. */
export interface OpfsFileHandle extends AsyncFileHandle {
  createSyncAccessHandle?(options?: { mode?: string }): Promise<SyncAccessHandle>;
}

export interface OpfsOptions {
  name?: string;
  readOnly?: boolean;
  /** "sync" fails where there are no access handles, "async" does not try; "auto" (when absent) takes what there is. */
  face?: "auto" | "sync" | "async";
  /** Most bytes of writes kept in memory by the asynchronous face before they are brought out; 32 MiB when absent. */
  writeBuffer?: number;
}

class OpfsSync implements SyncStorageFace {
  private closed = false;
  private readonly checked: { name: string; readOnly: boolean; alignment: 1 };

  constructor(
    private readonly handle: SyncAccessHandle,
    private readonly name: string,
    readOnly: boolean,
  ) {
    this.checked = { name, readOnly, alignment: 1 };
  }

  read(into: Uint8Array, offset: number): number {
    this.check("read", offset, into.length);
    let done = 0;
    while (done < into.length) {
      const got = this.call("read", () => this.handle.read(done === 0 ? into : into.subarray(done), { at: offset + done }));
      this.checkCount("read", got, into.length - done, offset);
      if (got === 0) break;
      done += got;
    }
    return done;
  }

  write(from: Uint8Array, offset: number): void {
    this.checkWrite("write", offset, from.length);
    let done = 0;
    while (done < from.length) {
      const got = this.call("write", () => this.handle.write(done === 0 ? from : from.subarray(done), { at: offset + done }));
      this.checkCount("write", got, from.length - done, offset);
      // Chromium answers a full quota with a short count as well as with an exception.
      if (got === 0)
        throw new BlockError("ERR_NO_SPACE", "No space left on device", {
          node: this.name,
          operation: "write",
          offset: offset + done,
        });
      done += got;
    }
  }

  flush(): void {
    if (this.closed) throw closedError(this.name, "flush");
    if (!this.checked.readOnly) this.call("flush", () => this.handle.flush());
  }

  size(): number {
    if (this.closed) throw closedError(this.name, "size");
    const size = this.call("size", () => this.handle.getSize());
    if (!Number.isSafeInteger(size) || size < 0)
      throw new BlockError("ERR_IO", `'${this.name}': the browser reports a size of ${size}`, {
        node: this.name,
        operation: "size",
      });
    return size;
  }

  truncate(size: number): void {
    this.checkWrite("truncate", size, 0);
    this.call("truncate", () => this.handle.truncate(size));
    // Incognito profiles accept sizes they do not have room for.
    const got = this.size();
    if (got !== size)
      throw new BlockError("ERR_NO_SPACE", `Failed to resize file: it has ${got} bytes instead of ${size}`, {
        node: this.name,
        operation: "truncate",
      });
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.call("close", () => this.handle.close());
  }

  private check(operation: string, offset: number, length: number): void {
    if (this.closed) throw closedError(this.name, operation);
    checkRange(this.checked, operation, offset, length);
  }

  private checkWrite(operation: string, offset: number, length: number): void {
    this.check(operation, offset, length);
    checkWritable(this.checked, operation);
  }

  private checkCount(operation: string, count: number, most: number, offset: number): void {
    if (Number.isInteger(count) && count >= 0 && count <= most) return;
    throw new BlockError("ERR_IO", `'${this.name}': the browser reports ${count} of ${most} bytes`, {
      node: this.name,
      operation,
      offset,
    });
  }

  private call<T>(operation: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw opfsError(error, this.name, operation);
    }
  }
}

/** An access handle the caller opened, as a storage with a synchronous face. Closing the storage closes the handle. */
export function opfsStorage(handle: SyncAccessHandle, options: { name?: string; readOnly?: boolean } = {}): Storage {
  const { name = "opfs", readOnly = false } = options;
  return {
    kind: "opfs",
    name,
    readOnly,
    alignment: 1,
    fixedSize: false,
    sync: new OpfsSync(handle, name, readOnly),
    async: null,
  };
}

/**
 * Opens a file handle: with the synchronous face in dedicated workers, else with the asynchronous one.
 *
 * @throws BlockError ERR_BUSY when another access handle or writer has the file, ERR_NOT_FOUND, ERR_PERMISSION,
 * ERR_UNSUPPORTED if the face asked for is not to be had
 */
export async function openOpfs(handle: OpfsFileHandle, options: OpfsOptions = {}): Promise<Storage> {
  const { readOnly = false, face = "auto", writeBuffer = 32 << 20 } = options;
  const name = options.name ?? (handle.name === undefined || handle.name === "" ? "opfs" : handle.name);
  if (face !== "async" && typeof handle.createSyncAccessHandle === "function") {
    try {
      return opfsStorage(await syncHandle(handle, readOnly), { name, readOnly });
    } catch (error) {
      const failure = opfsError(error, name, "open");
      // Files outside OPFS have no access handles: InvalidStateError says so, and the asynchronous way works for them.
      const noHandles: ErrorCode[] = ["ERR_UNSUPPORTED", "ERR_CLOSED"];
      if (face === "sync" || !noHandles.includes(failure.code)) throw failure;
    }
  }
  if (face === "sync") {
    throw new BlockError(
      "ERR_UNSUPPORTED",
      `Could not open '${name}': synchronous access handles exist in dedicated workers only`,
      { node: name, operation: "open" },
    );
  }
  const io = await OpfsWriteBack.open(handle, name, readOnly, writeBuffer);
  return { kind: "opfs", name, readOnly, alignment: 1, fixedSize: false, sync: null, async: io };
}

/** Readers share the file where the browser knows modes (Chromium); elsewhere the option is ignored and access exclusive. */
async function syncHandle(handle: OpfsFileHandle, readOnly: boolean): Promise<SyncAccessHandle> {
  return readOnly ? handle.createSyncAccessHandle!({ mode: "read-only" }) : handle.createSyncAccessHandle!();
}
