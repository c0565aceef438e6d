// A lock among processes of one machine: a directory that only one of them can make. A dead owner's lock is broken.
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const pause = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

function abandoned(path) {
  try {
    process.kill(Number(readFileSync(join(path, "pid"), "utf8")), 0);
    return false;
  } catch (error) {
    if (error.code === "ESRCH") return true;
    if (error.code === "EPERM") return false;
    // Not written yet, or just released; an owner that died in between leaves an old directory without a name.
    const made = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    return made !== undefined && Date.now() - made > 10_000;
  }
}

/** Waits for the lock (at most `limitMs`, then throws) and returns the function that releases it. */
export function acquire(path, limitMs = 300_000) {
  const deadline = Date.now() + limitMs;
  mkdirSync(dirname(path), { recursive: true });
  for (;;) {
    try {
      mkdirSync(path);
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    if (abandoned(path)) rmSync(path, { recursive: true, force: true });
    else if (Date.now() > deadline) throw new Error(`another process holds ${path}`);
    else pause(100);
  }
  writeFileSync(join(path, "pid"), String(process.pid));
  const release = () => rmSync(path, { recursive: true, force: true });
  process.on("exit", release);
  return () => {
    process.off("exit", release);
    release();
  };
}
