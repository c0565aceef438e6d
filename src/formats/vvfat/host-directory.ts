/** The verbs of a directory as Ops. */
import type { AsyncDirectoryFace, Directory, DirectoryEntry, DirectoryPath, SyncDirectoryFace } from "../../storage/directory.js";
import { foreign, type Op } from "../../block/op.js";

export class HostDirectory {
  readonly #directory: Directory;

  constructor(directory: Directory) {
    this.#directory = directory;
  }
  get name(): string {
    return this.#directory.name;
  }
  get readOnly(): boolean {
    return this.#directory.readOnly;
  }

  list(path: DirectoryPath): Op<DirectoryEntry[]> {
    return this.#call(
      (face) => face.list(path),
      (face) => face.list(path),
    );
  }
  read(path: DirectoryPath, into: Uint8Array, offset: number): Op<number> {
    return this.#call(
      (face) => face.read(path, into, offset),
      (face) => face.read(path, into, offset),
    );
  }
  write(path: DirectoryPath, from: Uint8Array, offset: number): Op<void> {
    return this.#call(
      (face) => face.write(path, from, offset),
      (face) => face.write(path, from, offset),
    );
  }
  truncate(path: DirectoryPath, size: number): Op<void> {
    return this.#call(
      (face) => face.truncate(path, size),
      (face) => face.truncate(path, size),
    );
  }
  create(path: DirectoryPath, directory: boolean): Op<void> {
    const verb = directory ? "createDirectory" : "createFile";
    return this.#call(
      (face) => face[verb](path),
      (face) => face[verb](path),
    );
  }
  rename(from: DirectoryPath, to: DirectoryPath): Op<void> {
    return this.#call(
      (face) => face.rename(from, to),
      (face) => face.rename(from, to),
    );
  }
  remove(path: DirectoryPath): Op<void> {
    return this.#call(
      (face) => face.remove(path),
      (face) => face.remove(path),
    );
  }
  flush(): Op<void> {
    return this.#call(
      (face) => face.flush(),
      (face) => face.flush(),
    );
  }
  close(): Op<void> {
    return this.#call(
      (face) => face.close(),
      (face) => face.close(),
    );
  }

  #call<T>(now: (face: SyncDirectoryFace) => T, later: (face: AsyncDirectoryFace) => PromiseLike<T>): Op<T> {
    const directory = this.#directory;
    return foreign(
      `Using the directory '${directory.name}'`,
      directory.sync === null ? null : () => now(directory.sync!),
      directory.async === null ? null : () => later(directory.async!) as never,
    );
  }
}
