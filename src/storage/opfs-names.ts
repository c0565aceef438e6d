/** Files of the origin private file system by path: "disks/a.qcow2". */
import { BlockError, errnoError } from "../base/error.js";
import { opfsError } from "./opfs-error.js";
import { openOpfs, type OpfsFileHandle } from "./opfs.js";
import type { Storage } from "./storage.js";

/** The part of `FileSystemDirectoryHandle` that is used. */
interface DirectoryHandle {
  getDirectoryHandle(name: string, options?: { create?: boolean }): Promise<DirectoryHandle>;
  getFileHandle(name: string, options?: { create?: boolean }): Promise<OpfsFileHandle>;
}

/**
 * Opens a file for reading and writing; with `create`, makes it and the directories it is in.
 * @throws BlockError ERR_NOT_FOUND, ERR_BUSY while another opener has it, ERR_UNSUPPORTED where there is no such file system
 */
export async function openOpfsName(path: string, options: { create: boolean }): Promise<Storage> {
  const { storage } = (globalThis as { navigator?: { storage?: { getDirectory?: () => Promise<unknown> } } }).navigator ?? {};
  if (typeof storage?.getDirectory !== "function") {
    throw new BlockError("ERR_UNSUPPORTED", "There is no origin private file system here", { errno: "ENOTSUP", node: path });
  }
  const parts = path.split("/").filter((part) => part !== "");
  const file = parts.pop();
  if (file === undefined || parts.includes("..") || file === "..") throw errnoError("EINVAL", undefined, { node: path });
  let handle: OpfsFileHandle;
  try {
    let directory = (await storage.getDirectory()) as DirectoryHandle;
    for (const part of parts) directory = await directory.getDirectoryHandle(part, options);
    handle = await directory.getFileHandle(file, options);
  } catch (error) {
    throw opfsError(error, path, "open");
  }
  return await openOpfs(handle, { name: `opfs:${path}` });
}
