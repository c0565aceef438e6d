/**
 * A directory of the host through node:fs.
 *
 * Nothing outside of it is ever opened: symbolic links are shown only where they lead to a file inside, such files are read-only,
 * and the path to every other file is looked at again before it is opened for writing.
 */
import * as fs from "node:fs";
import { join, sep } from "node:path";
import { BlockError, errnoError } from "../base/error.js";
import { systemError } from "./node-errors.js";
import { readOnlyError } from "./shared/checks.js";
import type { Directory, DirectoryEntry, DirectoryPath, SyncDirectoryFace } from "./directory.js";

const NO_FOLLOW = fs.constants.O_NOFOLLOW ?? 0;

class NodeDirectory implements Directory, SyncDirectoryFace {
  readonly sync: SyncDirectoryFace = this;
  readonly async = null;
  /** Where the directory really is. */
  readonly #root: string;
  /** The file that was used last stays open. */
  #open: { key: string; fd: number; writable: boolean } | null = null;
  readonly #touched = new Set<string>();

  constructor(
    readonly name: string,
    readonly readOnly: boolean,
  ) {
    try {
      this.#root = fs.realpathSync(name === "" ? "\0" : name);
      fs.opendirSync(this.#root).closeSync();
    } catch (error) {
      const { code, errno } = systemError(error, undefined, {});
      throw new BlockError(code, `Could not read directory ${name}`, { errno, cause: error, operation: "open" });
    }
  }

  list(path: DirectoryPath): DirectoryEntry[] {
    return this.#call(path, "list", (full) => {
      const entries: DirectoryEntry[] = [entryOf(".", fs.statSync(full), true)];
      const directory = fs.opendirSync(full);
      try {
        for (let item = directory.readSync(); item !== null; item = directory.readSync()) {
          const entry = this.#entry(full, item.name);
          if (entry !== null) entries.push(entry);
        }
      } finally {
        directory.closeSync();
      }
      return entries;
    });
  }

  #entry(folder: string, name: string): DirectoryEntry | null {
    // A name that is not UTF-8 does not survive the way through a string.
    if (name.includes("\ufffd")) return null;
    const full = join(folder, name);
    let stat = fs.lstatSync(full, { throwIfNoEntry: false });
    if (stat === undefined) return null;
    const link = stat.isSymbolicLink();
    if (link) {
      if (!this.#leadsInside(full)) return null;
      stat = fs.statSync(full, { throwIfNoEntry: false });
      // A directory could hold itself this way.
      if (stat === undefined || stat.isDirectory()) return null;
    }
    if (!stat.isDirectory() && !stat.isFile()) return null;
    return entryOf(name, stat, !link && (stat.mode & 0o222) !== 0);
  }

  #leadsInside(full: string): boolean {
    try {
      return this.#isInside(fs.realpathSync(full));
    } catch {
      return false;
    }
  }
  #isInside(real: string): boolean {
    return real === this.#root || real.startsWith(this.#root.endsWith(sep) ? this.#root : this.#root + sep);
  }

  read(path: DirectoryPath, into: Uint8Array, offset: number): number {
    return this.#call(path, "read", (full) => {
      const fd = this.#file(full, path, false);
      let done = 0;
      while (done < into.length) {
        const got = fs.readSync(fd, into, done, into.length - done, offset + done);
        if (got === 0) break;
        done += got;
      }
      return done;
    });
  }
  write(path: DirectoryPath, from: Uint8Array, offset: number): void {
    this.#change(path, "write", (full) => {
      const fd = this.#file(full, path, true);
      for (let done = 0; done < from.length;) done += fs.writeSync(fd, from, done, from.length - done, offset + done);
    });
  }
  truncate(path: DirectoryPath, size: number): void {
    this.#change(path, "truncate", (full) => fs.ftruncateSync(this.#file(full, path, true), size));
  }
  createFile(path: DirectoryPath): void {
    this.#change(path, "create", (full) => fs.closeSync(fs.openSync(full, "wx", 0o666)));
  }
  createDirectory(path: DirectoryPath): void {
    this.#change(path, "create", (full) => fs.mkdirSync(full, 0o755));
  }
  rename(from: DirectoryPath, to: DirectoryPath): void {
    this.#change(from, "rename", (full) => {
      const target = this.#full(to, true);
      const there = fs.lstatSync(target, { throwIfNoEntry: false, bigint: true });
      // Where case does not count, a file is in its own way.
      if (there !== undefined && there.ino !== fs.lstatSync(full, { bigint: true }).ino) throw errnoError("EEXIST", target);
      this.#release();
      fs.renameSync(full, target);
    });
  }
  remove(path: DirectoryPath): void {
    this.#change(path, "remove", (full) => {
      this.#release();
      if (fs.lstatSync(full).isDirectory()) fs.rmdirSync(full);
      else fs.unlinkSync(full);
    });
  }
  /** Files that were written and are still there. */
  flush(): void {
    this.#release();
    for (const full of this.#touched) {
      try {
        const fd = fs.openSync(full, fs.constants.O_RDONLY | NO_FOLLOW);
        try {
          fs.fsyncSync(fd);
        } finally {
          fs.closeSync(fd);
        }
      } catch (error) {
        // Renamed or removed since.
        if ((error as { code?: string }).code !== "ENOENT") throw systemError(error, full, { operation: "flush" });
      }
    }
    this.#touched.clear();
  }
  close(): void {
    this.#release();
  }

  #release(): void {
    if (this.#open !== null) fs.closeSync(this.#open.fd);
    this.#open = null;
  }

  #file(full: string, path: DirectoryPath, writable: boolean): number {
    if (this.#open !== null && this.#open.key === full && (this.#open.writable || !writable)) return this.#open.fd;
    this.#release();
    let fd: number;
    if (writable) {
      fd = fs.openSync(full, fs.constants.O_RDWR | NO_FOLLOW);
      this.#touched.add(full);
    } else {
      // A link that led inside when it was listed may have been turned round since.
      if (!this.#isInside(fs.realpathSync(full)))
        throw new BlockError("ERR_DENIED", `'${path.join("/")}' leads out of '${this.name}'`);
      fd = fs.openSync(full, fs.constants.O_RDONLY);
    }
    this.#open = { key: full, fd, writable };
    return fd;
  }

  #change(path: DirectoryPath, operation: string, work: (full: string) => void): void {
    if (this.readOnly) throw readOnlyError(this.name, operation);
    this.#call(path, operation, () => work(this.#full(path, true)));
  }

  #call<T>(path: DirectoryPath, operation: string, work: (full: string) => T): T {
    try {
      return work(this.#full(path, false));
    } catch (error) {
      throw systemError(error, join(this.name, ...path), { operation });
    }
  }

  /** @param parents look at the directories on the way: none of them may be a link by now */
  #full(path: DirectoryPath, parents: boolean): string {
    for (const name of path) {
      if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes(sep) || name.includes("\0"))
        throw new BlockError("ERR_DENIED", `'${name}' is not a file name`);
    }
    if (parents && path.length > 1) {
      const folder = join(this.#root, ...path.slice(0, -1));
      if (fs.realpathSync(folder) !== folder)
        throw new BlockError("ERR_DENIED", `'${path.join("/")}' leads out of '${this.name}'`);
    }
    return join(this.#root, ...path);
  }
}

function entryOf(name: string, stat: fs.Stats, writable: boolean): DirectoryEntry {
  const directory = stat.isDirectory();
  return {
    name,
    directory,
    size: directory ? 0 : stat.size,
    modified: stat.mtimeMs,
    accessed: stat.atimeMs,
    changed: stat.ctimeMs,
    readOnly: !writable,
  };
}

/**
 * Opens a directory of the host.
 *
 * @throws BlockError ERR_NOT_FOUND, ERR_PERMISSION … "Could not read directory …"
 */
export function nodeDirectory(path: string, options: { readOnly?: boolean } = {}): Directory {
  return new NodeDirectory(path, options.readOnly ?? true);
}
