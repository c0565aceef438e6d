/** Sizes of block and character devices, which `stat` does not tell. */
import { fstatSync, readFileSync, readSync } from "node:fs";
import { BlockError } from "../base/error.js";
import type { NativeFiles } from "./node-native.js";

const SECTOR = 512;

/**
 * Size in bytes of the device open as `fd`: from the kernel where it says so, else by finding the last readable sector.
 *
 * @throws BlockError ERR_UNSUPPORTED if the device has no end (a terminal, /dev/zero)
 */
export function deviceSize(fd: number, name: string, native: () => NativeFiles | null): number {
  return sysfsSize(fd) ?? seekSize(fd, native()) ?? probeSize(fd, name);
}

function sysfsSize(fd: number): number | null {
  const { rdev } = fstatSync(fd);
  const major = Math.floor(rdev / 256) % 4096;
  const minor = (rdev % 256) + Math.floor(rdev / 1048576) * 256;
  try {
    const sectors = Number(readFileSync(`/sys/dev/block/${major}:${minor}/size`, "latin1"));
    return Number.isSafeInteger(sectors * SECTOR) && sectors >= 0 ? sectors * SECTOR : null;
  } catch {
    return null;
  }
}

function seekSize(fd: number, native: NativeFiles | null): number | null {
  const end = native?.seekEnd(fd);
  return typeof end === "number" && end > 0 ? end : null;
}

/** Doubles an offset until nothing can be read there, then halves the doubt: about 100 reads at most. */
function probeSize(fd: number, name: string): number {
  const sector = new Uint8Array(SECTOR);
  const readable = (index: number): boolean => {
    try {
      return readSync(fd, sector, 0, SECTOR, index * SECTOR) > 0;
    } catch {
      return false;
    }
  };
  if (!readable(0)) return 0;
  let good = 0;
  let bad = 1;
  while (readable(bad)) {
    good = bad;
    bad *= 2;
    if (bad > 2 ** 43) throw new BlockError("ERR_UNSUPPORTED", `'${name}' has no size`, { node: name, operation: "open" });
  }
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2);
    if (readable(middle)) good = middle;
    else bad = middle;
  }
  return bad * SECTOR;
}
