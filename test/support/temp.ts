/** Temporary directories that go away with the process. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

let root: string | null = null;
let count = 0;

/** A fresh path in this process's temporary directory; nothing is created there. */
export function tempPath(name = "file"): string {
  if (root === null) {
    const made = (root = mkdtempSync(join(tmpdir(), "blockcore-")));
    process.on("exit", () => rmSync(made, { recursive: true, force: true }));
  }
  return join(root, `${++count}-${name}`);
}
