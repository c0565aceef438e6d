/**
 * A directory of the File System Access API or of the origin private file system, by its `FileSystemDirectoryHandle`.
 *
 * The handles have no way to rename that every browser knows: what is renamed is copied and the original removed.
 */
import { BlockError, errnoError } from "../base/error.js";
import { openOpfs, type OpfsFileHandle } from "./opfs.js";
import { opfsError } from "./opfs-error.js";
import { readOnlyError } from "./shared/checks.js";
import type { AsyncDirectoryFace, Directory, DirectoryEntry, DirectoryPath } from "./directory.js";
import type { Storage } from "./storage.js";

/** The part of `FileSystemDirectoryHandle` that is used. */
export interface DirectoryHandle {
  readonly kind: "directory";
  readonly name: string;
  values(): AsyncIterable<DirectoryHandle | FileHandle>;
  getFileHandle(name: string, options?: { create?: boolean }): Promise<FileHandle>;
  getDirectoryHandle(name: string, options?: { create?: boolean }): Promise<DirectoryHandle>;
  removeEntry(name: string): Promise<void>;
}
/** The part of `FileSystemFileHandle` that is used. */
export interface FileHandle extends OpfsFileHandle {
  readonly kind: "file";
  readonly name: string;
}

const COPY = 1 << 20;

class HandleDirectory implements Directory, AsyncDirectoryFace {
  readonly sync = null;
  readonly async: AsyncDirectoryFace = this;
  /** The file that was used last stays open. */
  #open: { key: string; storage: Storage } | null = null;
  /** Calls take turns: there is one open file. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly handle: DirectoryHandle,
    readonly name: string,
    readonly readOnly: boolean,
  ) {}

  list(path: DirectoryPath): Promise<DirectoryEntry[]> {
    return this.#turn(path, "list", async () => {
      const entries: DirectoryEntry[] = [];
      for await (const item of (await this.#folder(path)).values()) {
        const file = item.kind === "file" ? ((await item.getFile()) as { size: number; lastModified?: number }) : null;
        const time = file?.lastModified ?? 0;
        entries.push({
          name: item.name,
          directory: file === null,
          size: file?.size ?? 0,
          modified: time,
          accessed: time,
          changed: time,
          readOnly: false,
        });
      }
      return entries;
    });
  }
  read(path: DirectoryPath, into: Uint8Array, offset: number): Promise<number> {
    return this.#turn(path, "read", async () => readStorage(await this.#file(path), into, offset));
  }
  write(path: DirectoryPath, from: Uint8Array, offset: number): Promise<void> {
    return this.#change(path, "write", async () => writeStorage(await this.#file(path), from, offset));
  }
  truncate(path: DirectoryPath, size: number): Promise<void> {
    return this.#change(path, "truncate", async () => {
      const storage = await this.#file(path);
      await (storage.sync ?? storage.async!).truncate(size);
    });
  }
  createFile(path: DirectoryPath): Promise<void> {
    return this.#change(path, "create", async () => {
      await this.#refuseTaken(path);
      await (await this.#folder(path.slice(0, -1))).getFileHandle(path.at(-1)!, { create: true });
    });
  }
  createDirectory(path: DirectoryPath): Promise<void> {
    return this.#change(path, "create", async () => {
      await this.#refuseTaken(path);
      await (await this.#folder(path.slice(0, -1))).getDirectoryHandle(path.at(-1)!, { create: true });
    });
  }
  rename(from: DirectoryPath, to: DirectoryPath): Promise<void> {
    return this.#change(from, "rename", async () => {
      await this.#refuseTaken(to);
      await this.#release();
      await this.#move(from, to);
    });
  }
  remove(path: DirectoryPath): Promise<void> {
    return this.#change(path, "remove", async () => {
      await this.#release();
      await (await this.#folder(path.slice(0, -1))).removeEntry(path.at(-1)!);
    });
  }
  flush(): Promise<void> {
    return this.#turn([], "flush", () => this.#release());
  }
  close(): Promise<void> {
    return this.flush();
  }

  async #folder(path: DirectoryPath): Promise<DirectoryHandle> {
    let folder = this.handle;
    for (const name of path) folder = await folder.getDirectoryHandle(name);
    return folder;
  }

  async #file(path: DirectoryPath): Promise<Storage> {
    const key = path.join("/");
    if (this.#open?.key === key) return this.#open.storage;
    await this.#release();
    const handle = await (await this.#folder(path.slice(0, -1))).getFileHandle(path.at(-1)!);
    const storage = await openOpfs(handle, { name: key, readOnly: this.readOnly });
    this.#open = { key, storage };
    return storage;
  }

  async #release(): Promise<void> {
    const open = this.#open;
    this.#open = null;
    if (open !== null) await (open.storage.sync ?? open.storage.async!).close();
  }

  async #refuseTaken(path: DirectoryPath): Promise<void> {
    const folder = await this.#folder(path.slice(0, -1));
    const name = path.at(-1)!;
    const missing = (error: unknown): boolean => opfsError(error, name, "open").code === "ERR_NOT_FOUND";
    try {
      await folder.getFileHandle(name);
    } catch (error) {
      if (missing(error)) return;
    }
    throw errnoError("EEXIST", path.join("/"));
  }

  async #move(from: DirectoryPath, to: DirectoryPath): Promise<void> {
    const folder = await this.#folder(from.slice(0, -1));
    const name = from.at(-1)!;
    let directory: DirectoryHandle | null = null;
    try {
      directory = await folder.getDirectoryHandle(name);
    } catch (error) {
      if (!["ERR_NOT_FOUND", "ERR_INVALID_ARGUMENT"].includes(opfsError(error, name, "open").code) && !isMismatch(error))
        throw error;
    }
    const target = await this.#folder(to.slice(0, -1));
    if (directory === null) {
      await copyFile(await folder.getFileHandle(name), await target.getFileHandle(to.at(-1)!, { create: true }));
    } else {
      await target.getDirectoryHandle(to.at(-1)!, { create: true });
      const names: string[] = [];
      for await (const item of directory.values()) names.push(item.name);
      for (const inner of names) await this.#move([...from, inner], [...to, inner]);
    }
    await folder.removeEntry(name);
  }

  #change<T>(path: DirectoryPath, operation: string, work: () => Promise<T>): Promise<T> {
    if (this.readOnly) return Promise.reject(readOnlyError(this.name, operation));
    return this.#turn(path, operation, work);
  }

  #turn<T>(path: DirectoryPath, operation: string, work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work).catch((error: unknown) => {
      throw error instanceof BlockError ? error : opfsError(error, path.join("/") || this.name, operation);
    });
    this.#last = mine.catch(() => {});
    return mine;
  }
}

const isMismatch = (error: unknown): boolean => (error as { name?: string } | null)?.name === "TypeMismatchError";

async function readStorage(storage: Storage, into: Uint8Array, offset: number): Promise<number> {
  return storage.sync?.read(into, offset) ?? (await storage.async!.read(into, offset));
}
async function writeStorage(storage: Storage, from: Uint8Array, offset: number): Promise<void> {
  await (storage.sync ?? storage.async!).write(from, offset);
}

async function copyFile(from: FileHandle, to: FileHandle): Promise<void> {
  const source = await openOpfs(from, { readOnly: true });
  const target = await openOpfs(to);
  try {
    const bytes = new Uint8Array(COPY);
    for (let at = 0; ;) {
      const got = await readStorage(source, bytes, at);
      if (got === 0) break;
      await writeStorage(target, bytes.subarray(0, got), at);
      at += got;
    }
  } finally {
    await (target.sync ?? target.async!).close();
    await (source.sync ?? source.async!).close();
  }
}

/** The directory behind a handle, asynchronous face only. The caller has asked the user for the permission to write where needed. */
export function handleDirectory(handle: DirectoryHandle, options: { name?: string; readOnly?: boolean } = {}): Directory {
  return new HandleDirectory(handle, options.name ?? handle.name, options.readOnly ?? true);
}
