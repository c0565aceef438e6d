/**
 * The directory contract: a tree of files that a virtual FAT disk shows (`formats/vvfat`).
 *
 * A path is the list of names below the directory, none of them empty, "." or ".." or with a separator in it: nothing outside
 * can be named. Like a storage, a directory has a synchronous face, an asynchronous one, or both.
 *
 * Rules:
 *  - `list` tells the entries of a directory in the order of the medium. What is neither a file nor a directory is left out. An
 *    entry "." at the start tells the times of the directory itself, where the medium has them.
 *  - `read` returns the number of bytes read, short only at the end of the file.
 *  - The verbs that change something are called on writable directories only. `createFile`, `createDirectory` and `rename` fail
 *    with ERR_EXISTS where the name is taken; `remove` takes a file or an empty directory.
 *  - failures are `BlockError`s.
 */
export type DirectoryPath = readonly string[];

export interface DirectoryEntry {
  readonly name: string;
  readonly directory: boolean;
  /** Bytes; 0 for directories. */
  readonly size: number;
  /** Milliseconds since the epoch: of the content, of the last access, and of the entry itself (ctime); 0: not known. */
  readonly modified: number;
  readonly accessed: number;
  readonly changed: number;
  /** Must not be written, even where the directory is writable. */
  readonly readOnly: boolean;
}

export interface DirectoryFace<Entries, Count, Done> {
  list(path: DirectoryPath): Entries;
  read(path: DirectoryPath, into: Uint8Array, offset: number): Count;
  write(path: DirectoryPath, from: Uint8Array, offset: number): Done;
  truncate(path: DirectoryPath, size: number): Done;
  createFile(path: DirectoryPath): Done;
  createDirectory(path: DirectoryPath): Done;
  rename(from: DirectoryPath, to: DirectoryPath): Done;
  remove(path: DirectoryPath): Done;
  /** Brings what was written to the medium. */
  flush(): Done;
  close(): Done;
}

export type SyncDirectoryFace = DirectoryFace<DirectoryEntry[], number, void>;
export type AsyncDirectoryFace = DirectoryFace<Promise<DirectoryEntry[]>, Promise<number>, Promise<void>>;

export interface Directory {
  /** What a user calls it. */
  readonly name: string;
  readonly readOnly: boolean;
  readonly sync: SyncDirectoryFace | null;
  readonly async: AsyncDirectoryFace | null;
}
