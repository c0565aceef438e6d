/** From a name to an open descriptor with its lock: what must hold before there is a storage. */
import { closeSync, constants, fstatSync, openSync, statSync, type Stats } from "node:fs";
import { fileURLToPath } from "node:url";
import { BlockError, prefixError } from "../base/error.js";
import { descriptorSets, type BorrowedDescriptor } from "./node-descriptors.js";
import { systemError } from "./node-errors.js";
import type { FileStorageOptions } from "./node-fs.js";
import { imageLock, Permission, type ImageLock } from "./node-locks.js";
import { nativeFiles, type NativeFiles } from "./node-native.js";

export interface Opened {
  fd: number;
  path: string;
  readOnly: boolean;
  stats: Stats;
  options: FileStorageOptions;
  native: () => NativeFiles | null;
  lock: ImageLock | null;
  /** Gives the descriptor back. */
  release: () => void;
}

/** What opening an image uses and shares, as QEMU's permissions for a file node. */
export function permissionsOf(readOnly: boolean, options: FileStorageOptions): [number, number] {
  const used = readOnly ? Permission.consistentRead : Permission.consistentRead | Permission.write | Permission.resize;
  return [options.permissions ?? used, options.shared ?? Permission.consistentRead | Permission.writeUnchanged];
}

function lockFor(
  fd: number,
  path: string,
  readOnly: boolean,
  options: FileStorageOptions,
  native: () => NativeFiles | null,
): ImageLock | null {
  const locking = options.locking ?? "auto";
  if (locking === "off" || options.forceShare === true) return null;
  const calls = native();
  if (locking === "on" && calls === null) {
    throw new BlockError("ERR_UNSUPPORTED", "File lock requested but OFD locking is unavailable", {
      node: path,
      operation: "lock",
      hint: "Image locks need Linux and the optional package 'koffi'.",
    });
  }
  const lock = imageLock(fd, path, calls);
  lock.set(...permissionsOf(readOnly, options));
  return lock;
}

export function pathOf(path: string | URL): string {
  if (typeof path !== "string") {
    try {
      return fileURLToPath(path);
    } catch (cause) {
      throw new BlockError("ERR_INVALID_ARGUMENT", `Could not open '${path.href}': not a file URL`, { cause, operation: "open" });
    }
  }
  if (path === "" || path.includes("\0"))
    throw new BlockError("ERR_INVALID_ARGUMENT", "A file name must not be empty or contain NUL", { operation: "open" });
  return path;
}

/** @param afterOpen what is to be done with the lock and before anybody has the file */
export function openDescriptor(
  path: string,
  options: FileStorageOptions,
  flags: number,
  verb: "open" | "create",
  afterOpen: (fd: number) => void,
): Opened {
  const readOnly = options.readOnly ?? false;
  if (options.forceShare === true && !readOnly) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "force-share=on can only be used with read-only images", {
      node: path,
      operation: "open",
    });
  }
  const native = (): NativeFiles | null => (options.native === undefined ? nativeFiles() : options.native);
  const context = `Could not ${verb} '${path}'`;
  const borrowed = borrow(path, readOnly, verb);
  let fd: number;
  try {
    // A fifo or socket must be refused without waiting for somebody at its other end.
    const found = borrowed === null ? statSync(path, { throwIfNoEntry: false }) : undefined;
    // Opening a directory for writing fails by itself.
    if (found !== undefined && (readOnly || !found.isDirectory())) checkType(found, path, options.only);
    fd =
      borrowed?.fd ??
      openSync(path, flags | (readOnly ? constants.O_RDONLY : constants.O_RDWR) | (constants.O_NONBLOCK ?? 0), 0o644);
  } catch (error) {
    throw systemError(error, context, { node: path, operation: verb });
  }
  const release = borrowed?.release ?? (() => closeSync(fd));
  let lock: ImageLock | null = null;
  try {
    const stats = fstatSync(fd);
    checkType(stats, path, options.only);
    lock = lockFor(fd, path, readOnly, options, native);
    afterOpen(fd);
    return { fd, path, readOnly, stats, options, native, lock, release };
  } catch (error) {
    lock?.release();
    release();
    throw systemError(error, context, { node: path, operation: verb });
  }
}

/** The inherited descriptor that a name stands for, if it does. */
function borrow(path: string, readOnly: boolean, verb: "open" | "create"): BorrowedDescriptor | null {
  try {
    return descriptorSets.borrow(path, readOnly);
  } catch (error) {
    throw prefixError(`Could not ${verb} '${path}': `, error);
  }
}

function checkType(stats: Stats, path: string, only: FileStorageOptions["only"]): void {
  const device = stats.isBlockDevice() || stats.isCharacterDevice();
  if (only === undefined ? stats.isFile() || device : only === "file" ? stats.isFile() : device) return;
  const wanted = only === undefined || only === "file" ? "a regular file" : "either a character or block device";
  throw new BlockError("ERR_INVALID_ARGUMENT", `'${only ?? "file"}' driver requires '${path}' to be ${wanted}`, {
    node: path,
    operation: "open",
  });
}

/** Whether there is a block or character device of that name. */
export function isDevice(path: string): boolean {
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    return found !== undefined && (found.isBlockDevice() || found.isCharacterDevice());
  } catch {
    return false;
  }
}
