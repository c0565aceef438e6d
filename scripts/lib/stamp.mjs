// "Is this build step up to date?": a step's inputs (path, time, size) are hashed and compared with those of its last success.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { root } from "./proc.mjs";

/** A hash over names, times and sizes of files (a missing file counts too, so a deletion is a change). */
export function fingerprint(files, extra = "") {
  const hash = createHash("sha256").update(process.version).update(extra);
  for (const file of files) {
    const stat = statSync(join(root, file), { throwIfNoEntry: false });
    hash.update(stat ? `${file}\0${stat.mtimeMs}\0${stat.size}\n` : `${file}\0-\n`);
  }
  return hash.digest("hex");
}

/**
 * Runs `action` unless the step's inputs are those of its last success and all of `outputs` exist.
 * @returns {Promise<boolean>} whether it ran
 */
export async function step(name, { inputs, outputs = [], extra = "" }, action) {
  const stamp = join(root, "build/.stamps", name);
  const now = fingerprint(inputs, extra);
  const fresh = existsSync(stamp) && readFileSync(stamp, "utf8") === now && outputs.every((file) => existsSync(join(root, file)));
  if (fresh) return false;
  const start = performance.now();
  rmSync(stamp, { force: true });
  await action();
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, now);
  console.log(`build: ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  return true;
}
