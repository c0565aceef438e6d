/** Paths as the file system knows them, for comparing what users and images call the same file. */
import { realpathSync } from "node:fs";
import { protocolOf } from "../../block/filename.js";

export function realPath(path: string): string | null {
  const file = protocolOf(path) === "file" ? path.slice("file:".length) : path;
  try {
    return realpathSync(file);
  } catch {
    return null;
  }
}
