/** Directories as virtual FAT disks on Node.js: of the host by their paths, besides what every platform has. */
import { unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Driver } from "../block/driver.js";
import { portableDirectory } from "./directories.js";
import { vvfatDriver } from "../formats/vvfat/vvfat.js";
import { nodeDirectory } from "../storage/node-directory.js";
import { createFileStorage } from "../storage/node-fs.js";
import type { Storage } from "../storage/storage.js";

export const vvfat: Driver = /* @__PURE__ */ vvfatDriver({
  openDirectory: (dir, writable) =>
    typeof dir === "string" ? nodeDirectory(dir, { readOnly: !writable }) : portableDirectory(dir, writable),
  scratch: temporaryFile,
});

/** A file without a name where the system can have one. */
function temporaryFile(): Storage {
  const path = join(tmpdir(), `vvfat-${process.getBuiltinModule("node:crypto").randomUUID()}`);
  const storage = createFileStorage(path, { faces: "sync" });
  try {
    unlinkSync(path);
  } catch {
    // Windows keeps the names of open files: the system clears its temporary directory.
  }
  return storage;
}
