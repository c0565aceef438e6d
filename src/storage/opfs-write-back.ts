/** The asynchronous face over a file handle without synchronous access: see opfs.ts for what it costs. */
import { BlockError } from "../base/error.js";
import { opfsError } from "./opfs-error.js";
import { checkRange, checkWritable, closedError } from "./shared/checks.js";
import type { AsyncStorageFace } from "./storage.js";

interface FileSnapshot {
  readonly size: number;
  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> };
}

interface FileWriter {
  write(
    change: { type: "write"; position: number; data: Uint8Array<ArrayBuffer> } | { type: "truncate"; size: number },
  ): Promise<void>;
  close(): Promise<void>;
  abort?(reason?: unknown): Promise<void>;
}

/** The part of `FileSystemFileHandle` that reading and writing without access handles needs. */
export interface AsyncFileHandle {
  readonly name?: string;
  getFile(): Promise<FileSnapshot>;
  createWritable?(options?: { keepExistingData?: boolean }): Promise<FileWriter>;
}

const CHUNK = 65536;

export class OpfsWriteBack implements AsyncStorageFace {
  private closed = false;
  /** Chunks that differ from the file, whole; bytes past the size are zero. */
  private readonly dirty = new Map<number, Uint8Array<ArrayBuffer>>();
  private bytes: number;
  /** Everything of the file from here on is gone (truncated) or was never there: reads as zeros unless dirty. */
  private valid: number;
  /** Requests that touch `dirty` or the file go one after the other. */
  private queue: Promise<unknown> = Promise.resolve();
  private readonly checked: { name: string; readOnly: boolean; alignment: 1 };

  private constructor(
    private readonly handle: AsyncFileHandle,
    private file: FileSnapshot,
    private readonly name: string,
    private readonly readOnly: boolean,
    private readonly budget: number,
  ) {
    this.bytes = this.valid = file.size;
    this.checked = { name, readOnly, alignment: 1 };
  }

  static async open(handle: AsyncFileHandle, name: string, readOnly: boolean, budget: number): Promise<OpfsWriteBack> {
    if (!readOnly && typeof handle.createWritable !== "function") {
      throw new BlockError("ERR_UNSUPPORTED", `Could not open '${name}': this browser can not write it here`, {
        node: name,
        operation: "open",
      });
    }
    try {
      return new OpfsWriteBack(handle, await handle.getFile(), name, readOnly, budget);
    } catch (error) {
      throw opfsError(error, name, "open");
    }
  }

  read(into: Uint8Array, offset: number): Promise<number> {
    return this.inTurn(
      "read",
      () => this.check("read", offset, into.length),
      async () => {
        const count = Math.max(0, Math.min(into.length, this.bytes - offset));
        await this.fill(into.subarray(0, count), offset);
        return count;
      },
    );
  }

  write(from: Uint8Array, offset: number): Promise<void> {
    return this.inTurn(
      "write",
      () => this.checkWrite("write", offset, from.length),
      async () => {
        for (let done = 0; done < from.length;) {
          const at = offset + done;
          const inChunk = at % CHUNK;
          const count = Math.min(CHUNK - inChunk, from.length - done);
          const chunk = await this.dirtyChunk((at - inChunk) / CHUNK, count === CHUNK);
          chunk.set(from.subarray(done, done + count), inChunk);
          done += count;
          this.bytes = Math.max(this.bytes, at + count);
          if (this.dirty.size * CHUNK > this.budget) await this.bringOut();
        }
      },
    );
  }

  flush(): Promise<void> {
    return this.inTurn(
      "flush",
      () => {},
      () => this.bringOut(),
    );
  }

  async size(): Promise<number> {
    return this.inTurn(
      "size",
      () => {},
      async () => this.bytes,
    );
  }

  truncate(size: number): Promise<void> {
    return this.inTurn(
      "truncate",
      () => this.checkWrite("truncate", size, 0),
      async () => {
        if (size < this.bytes) {
          for (const [index, chunk] of this.dirty) {
            if (index * CHUNK >= size) this.dirty.delete(index);
            else if ((index + 1) * CHUNK > size) chunk.fill(0, size - index * CHUNK);
          }
          this.valid = Math.min(this.valid, size);
        }
        this.bytes = size;
      },
    );
  }

  /** Brings out what is still in memory. If that fails the storage is closed all the same. */
  async close(): Promise<void> {
    if (this.closed) return;
    const last = this.inTurn(
      "close",
      () => {},
      () => this.bringOut(),
    );
    this.closed = true;
    try {
      await last;
    } finally {
      this.dirty.clear();
    }
  }

  private check(operation: string, offset: number, length: number): void {
    checkRange(this.checked, operation, offset, length);
  }

  private checkWrite(operation: string, offset: number, length: number): void {
    this.check(operation, offset, length);
    checkWritable(this.checked, operation);
  }

  private async inTurn<T>(operation: string, check: () => void, work: () => Promise<T>): Promise<T> {
    if (this.closed) throw closedError(this.name, operation);
    check();
    const result = this.queue.then(work);
    this.queue = result.catch(() => {});
    try {
      return await result;
    } catch (error) {
      throw opfsError(error, this.name, operation);
    }
  }

  /** Content at `offset`, inside the size, from memory and file. */
  private async fill(into: Uint8Array, offset: number): Promise<void> {
    const end = offset + into.length;
    const fileEnd = Math.min(end, this.valid);
    const clean = Math.max(offset, fileEnd);
    if (fileEnd > offset && !this.allDirty(offset, fileEnd)) {
      const bytes = new Uint8Array(await this.file.slice(offset, fileEnd).arrayBuffer());
      if (bytes.length !== fileEnd - offset)
        throw new BlockError("ERR_CHANGED", `'${this.name}' was changed by somebody else`, {
          node: this.name,
          operation: "read",
          offset,
        });
      into.set(bytes);
    }
    into.fill(0, clean - offset);
    if (this.dirty.size === 0) return;
    for (let index = Math.floor(offset / CHUNK); index * CHUNK < end; index++) {
      const chunk = this.dirty.get(index);
      if (chunk === undefined) continue;
      const start = index * CHUNK;
      const from = Math.max(offset, start);
      into.set(chunk.subarray(from - start, Math.min(end, start + CHUNK) - start), from - offset);
    }
  }

  private allDirty(from: number, to: number): boolean {
    for (let index = Math.floor(from / CHUNK); index * CHUNK < to; index++) if (!this.dirty.has(index)) return false;
    return true;
  }

  private async dirtyChunk(index: number, overwritten: boolean): Promise<Uint8Array<ArrayBuffer>> {
    const found = this.dirty.get(index);
    if (found !== undefined) return found;
    const chunk = new Uint8Array(CHUNK);
    const start = index * CHUNK;
    if (!overwritten && start < this.valid) await this.fill(chunk.subarray(0, Math.min(CHUNK, this.valid - start)), start);
    this.dirty.set(index, chunk);
    return chunk;
  }

  /** One writable stream for everything that is pending; the file changes as a whole when it is closed, or not at all. */
  private async bringOut(): Promise<void> {
    if (this.readOnly || (this.dirty.size === 0 && this.bytes === this.file.size && this.valid === this.file.size)) return;
    const writer = await this.handle.createWritable!({ keepExistingData: this.valid > 0 });
    try {
      // First down to what still counts, so that growing again gives zeros.
      if (this.valid > 0 && this.valid < this.file.size) await writer.write({ type: "truncate", size: this.valid });
      await writer.write({ type: "truncate", size: this.bytes });
      for (const index of [...this.dirty.keys()].sort((a, b) => a - b)) {
        const start = index * CHUNK;
        const chunk = this.dirty.get(index)!;
        const length = Math.min(CHUNK, this.bytes - start);
        await writer.write({ type: "write", position: start, data: length === CHUNK ? chunk : chunk.subarray(0, length) });
      }
      await writer.close();
    } catch (error) {
      await writer.abort?.(error).catch(() => {});
      throw error;
    }
    // The old snapshot can not be read any more.
    this.file = await this.handle.getFile();
    if (this.file.size !== this.bytes)
      throw new BlockError("ERR_NO_SPACE", `'${this.name}' has ${this.file.size} bytes instead of ${this.bytes} after writing`, {
        node: this.name,
        operation: "flush",
      });
    this.dirty.clear();
    this.valid = this.bytes;
  }
}
