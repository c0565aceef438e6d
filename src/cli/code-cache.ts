/**
 * V8's code cache of the programs: what an earlier run compiled need not be compiled again, which is half of what a short command
 * takes over Node.js itself.
 *
 * Files lie in the user's cache directory, one for each program, verb, build and kind of V8. They are code that this process will
 * run: a directory that belongs to somebody else, or that others may write to, is left alone, and so is a file that was damaged
 * (V8 checks neither). Whatever else goes wrong only costs the time it would have saved.
 *
 * A file holds the code twice, as comparing the two is a call of Node.js' core: for a checksum node:zlib would have to be loaded,
 * which takes longer than reading the file.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Older files go when a new one makes them more than this: a megabyte each. */
const MOST_FILES = 64;
const SUFFIX = ".v8";

/**
 * The directory caches go to, or null where there is to be none. Node's own names for its own cache of modules hold here, too:
 * NODE_DISABLE_COMPILE_CACHE and NODE_COMPILE_CACHE.
 */
export function cacheDirectory(env: Readonly<Record<string, string | undefined>>, platform: string): string | null {
  if (set(env["NODE_DISABLE_COMPILE_CACHE"])) return null;
  if (set(env["NODE_COMPILE_CACHE"])) return env["NODE_COMPILE_CACHE"]!;
  const home = env["HOME"];
  if (platform === "win32") return under(env["LOCALAPPDATA"]);
  if (platform === "darwin") return set(home) ? under(join(home!, "Library/Caches")) : null;
  return under(env["XDG_CACHE_HOME"]) ?? (set(home) ? under(join(home!, ".cache")) : null);
}

const set = (value: string | undefined): boolean => value !== undefined && value !== "";
const under = (directory: string | undefined): string | null => (set(directory) ? join(directory!, "blockcore") : null);

/** The code kept under `name` (see `writeCode`); undefined when there is none that can be trusted. */
export function readCode(directory: string, name: string): Buffer | undefined {
  try {
    if (!isOurs(directory)) return undefined;
    const bytes = readFileSync(join(directory, name + SUFFIX));
    const half = bytes.length / 2;
    const code = bytes.subarray(0, half);
    return half > 0 && code.equals(bytes.subarray(half)) ? code : undefined;
  } catch {
    return undefined;
  }
}

/** Keeps code under `name` (of letters, digits, "-" and "."): whole or not at all, whoever else does the same at this moment. */
export function writeCode(directory: string, name: string, code: Buffer): void {
  const file = join(directory, name + SUFFIX);
  const fresh = `${file}.${process.pid}`;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (!isOurs(directory)) return;
    writeFileSync(fresh, Buffer.concat([code, code]), { mode: 0o600 });
    renameSync(fresh, file);
    removeOldest(directory);
  } catch {
    try {
      rmSync(fresh, { force: true });
    } catch {
      // where nothing can be written there is nothing to remove
    }
  }
}

function isOurs(directory: string): boolean {
  const { uid, mode } = statSync(directory);
  return process.geteuid === undefined || (uid === process.geteuid() && (mode & 0o022) === 0);
}

function removeOldest(directory: string): void {
  const files = readdirSync(directory).filter((name) => name.endsWith(SUFFIX));
  if (files.length <= MOST_FILES) return;
  const dated = files.map((name) => ({ path: join(directory, name), time: statSync(join(directory, name)).mtimeMs }));
  dated.sort((a, b) => a.time - b.time);
  for (const { path } of dated.slice(0, files.length - MOST_FILES)) rmSync(path, { force: true });
}
