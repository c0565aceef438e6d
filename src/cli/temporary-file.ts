/** Files that nobody keeps: they have no name any more as soon as they are open. */
import { unlinkSync } from "node:fs";
import { join } from "node:path";
import { BlockError, strerror, toBlockError } from "../base/error.js";
import { createFileStorage } from "../storage/node-fs.js";
import type { Storage } from "../storage/storage.js";

/** An empty, writable file in `TMPDIR` or /var/tmp; its storage is called by the name that the file had. */
export function temporaryFile(): Storage {
  const base = join(process.env["TMPDIR"] ?? "/var/tmp", "vl.");
  const path = base + process.getBuiltinModule("node:crypto").randomBytes(4).toString("hex").slice(0, 6);
  let file: Storage;
  try {
    file = createFileStorage(path, { exclusive: true, locking: "off" });
  } catch (error) {
    throw new BlockError("ERR_IO", `Could not open temporary file '${base}XXXXXX': ${strerror(toBlockError(error).errno)}`);
  }
  unlinkSync(path);
  return file;
}
