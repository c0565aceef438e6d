/** Directories as disks with a FAT file system, on any platform: directory handles of browsers, trees in memory, directories of the user's own. */
import { BlockError } from "../base/error.js";
import type { Driver } from "../block/driver.js";
import { runAsync } from "../block/op.js";
import { openFat, vvfatDriver, type FatOptions } from "../formats/vvfat/vvfat.js";
import { WritableFatImage } from "../formats/vvfat/image.js";
import { customStorage } from "../storage/custom.js";
import type { Directory } from "../storage/directory.js";
import { handleDirectory, type DirectoryHandle } from "../storage/opfs-directory.js";
import { memoryStorage } from "../storage/memory.js";
import type { Storage } from "../storage/storage.js";

/** A `FileSystemDirectoryHandle`, or a directory as `memoryDirectory` makes one. */
export type DirectorySource = Directory | DirectoryHandle;

export interface FatDiskOptions extends FatOptions {
  /** What is written to the disk changes the files of the directory. */
  writable?: boolean;
  onWarning?: (message: string) => void;
}

/** @throws BlockError ERR_INVALID_ARGUMENT for anything else */
export function portableDirectory(source: unknown, writable: boolean): Directory {
  if (typeof source === "object" && source !== null) {
    if ("sync" in source && "async" in source) return source as Directory;
    if ((source as { kind?: unknown }).kind === "directory" && "getDirectoryHandle" in source)
      return handleDirectory(source as DirectoryHandle, { readOnly: !writable });
  }
  throw new BlockError("ERR_INVALID_ARGUMENT", "This cannot be opened as a directory", {
    hint: "Pass a FileSystemDirectoryHandle or a directory of this library (memoryDirectory, …).",
  });
}

/** The `vvfat` driver. What a guest writes is kept in memory until it is part of a file. */
export const portableVvfat: Driver = /* @__PURE__ */ vvfatDriver({
  openDirectory: portableDirectory,
  scratch: () => memoryStorage(0),
});

/**
 * A directory as the bytes of a FAT disk, to be opened as a raw image: `open(await fatDisk(handle), { format: "raw" })`. Names and
 * sizes are read now, contents when they are needed. Closing the storage brings the last changes to the files.
 *
 * @throws BlockError ERR_TOO_LARGE when the files do not fit: 504 MiB, a floppy 2.88 MB
 */
export async function fatDisk(source: DirectorySource, options: FatDiskOptions = {}): Promise<Storage> {
  const { writable = false, onWarning = () => {}, ...shape } = options;
  const directory = portableDirectory(source, writable);
  const image = await runAsync(openFat(directory, shape, writable ? memoryStorage(0) : null, onWarning));
  const name = `fat:${directory.name}`;
  return customStorage(
    {
      size: image.size,
      read: (into, at) => runAsync(image.read(into, at)).then(() => into.length),
      ...(image instanceof WritableFatImage
        ? { write: (from: Uint8Array, at: number) => runAsync(image.write(from, at)), flush: () => runAsync(image.flush()) }
        : {}),
      close: () => runAsync(image.close()),
    },
    { name, alignment: 512, fixedSize: true, readOnly: !writable },
  );
}
