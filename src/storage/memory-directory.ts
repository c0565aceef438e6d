/** A tree of files in memory. */
import { errnoError, type Errno } from "../base/error.js";
import { readOnlyError } from "./shared/checks.js";
import type { Directory, DirectoryEntry, DirectoryPath, SyncDirectoryFace } from "./directory.js";

/** Names with their content; a nested object is a directory. */
export type FileTree = { [name: string]: Uint8Array | string | FileTree };

interface Folder {
  entries: Map<string, Item>;
}
interface File {
  bytes: Uint8Array;
  modified: number;
}
type Item = Folder | File;
const isFolder = (item: Item): item is Folder => "entries" in item;

export interface MemoryDirectory extends Directory, SyncDirectoryFace {
  readonly sync: SyncDirectoryFace;
  readonly async: null;
  /** The present content. */
  toTree(): FileTree;
}

/** @param now what the times of new files say, in milliseconds since the epoch */
class Memory implements MemoryDirectory {
  readonly sync: SyncDirectoryFace = this;
  readonly async = null;
  readonly #root: Folder;

  constructor(
    tree: FileTree,
    readonly name: string,
    readonly readOnly: boolean,
    private readonly now: () => number,
  ) {
    this.#root = this.#take(tree);
  }

  #take(tree: FileTree): Folder {
    const entries = new Map<string, Item>();
    for (const [name, value] of Object.entries(tree)) {
      if (typeof value === "string") entries.set(name, { bytes: new TextEncoder().encode(value), modified: this.now() });
      else if (value instanceof Uint8Array) entries.set(name, { bytes: value.slice(), modified: this.now() });
      else entries.set(name, this.#take(value));
    }
    return { entries };
  }

  list(path: DirectoryPath): DirectoryEntry[] {
    return [...this.#folder(path).entries].map(([name, item]) => {
      const time = isFolder(item) ? 0 : item.modified;
      return {
        name,
        directory: isFolder(item),
        size: isFolder(item) ? 0 : item.bytes.length,
        modified: time,
        accessed: time,
        changed: time,
        readOnly: false,
      };
    });
  }
  read(path: DirectoryPath, into: Uint8Array, offset: number): number {
    const part = this.#file(path).bytes.subarray(offset, offset + into.length);
    into.set(part);
    return part.length;
  }
  write(path: DirectoryPath, from: Uint8Array, offset: number): void {
    const file = this.#change(path);
    if (offset + from.length > file.bytes.length) this.truncate(path, offset + from.length);
    file.bytes.set(from, offset);
  }
  truncate(path: DirectoryPath, size: number): void {
    const file = this.#change(path);
    const bytes = new Uint8Array(size);
    bytes.set(file.bytes.subarray(0, size));
    file.bytes = bytes;
  }
  createFile(path: DirectoryPath): void {
    this.#add(path, { bytes: new Uint8Array(0), modified: this.now() });
  }
  createDirectory(path: DirectoryPath): void {
    this.#add(path, { entries: new Map() });
  }
  rename(from: DirectoryPath, to: DirectoryPath): void {
    const item = this.#item(from);
    this.#add(to, item);
    this.#folder(from.slice(0, -1)).entries.delete(from.at(-1)!);
  }
  remove(path: DirectoryPath): void {
    this.#writable();
    const item = this.#item(path);
    if (isFolder(item) && item.entries.size > 0) throw this.#error("EBUSY", path);
    this.#folder(path.slice(0, -1)).entries.delete(path.at(-1)!);
  }
  flush(): void {}
  close(): void {}

  toTree(): FileTree {
    const give = (folder: Folder): FileTree =>
      Object.fromEntries([...folder.entries].map(([name, item]) => [name, isFolder(item) ? give(item) : item.bytes.slice()]));
    return give(this.#root);
  }

  #error(errno: Errno, path: DirectoryPath): Error {
    return errnoError(errno, path.join("/"));
  }
  #writable(): void {
    if (this.readOnly) throw readOnlyError(this.name, "write");
  }
  #item(path: DirectoryPath): Item {
    let item: Item = this.#root;
    for (const name of path) {
      const next: Item | undefined = isFolder(item) ? item.entries.get(name) : undefined;
      if (next === undefined) throw this.#error("ENOENT", path);
      item = next;
    }
    return item;
  }
  #folder(path: DirectoryPath): Folder {
    const item = this.#item(path);
    if (!isFolder(item)) throw this.#error("ENOTDIR", path);
    return item;
  }
  #file(path: DirectoryPath): File {
    const item = this.#item(path);
    if (isFolder(item)) throw this.#error("EISDIR", path);
    return item;
  }
  #change(path: DirectoryPath): File {
    this.#writable();
    const file = this.#file(path);
    file.modified = this.now();
    return file;
  }
  #add(path: DirectoryPath, item: Item): void {
    this.#writable();
    const { entries } = this.#folder(path.slice(0, -1));
    if (entries.has(path.at(-1)!)) throw this.#error("EEXIST", path);
    entries.set(path.at(-1)!, item);
  }
}

/** A tree of files in memory, with the given content (copied). */
export function memoryDirectory(
  tree: FileTree = {},
  options: { name?: string; readOnly?: boolean; now?: () => number } = {},
): MemoryDirectory {
  return new Memory(tree, options.name ?? "memory", options.readOnly ?? false, options.now ?? (() => Date.now()));
}
