/** The repeated content of a file as the bytes to write (`write -s`). */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { strerror, toBlockError } from "../../base/error.js";
import type { IoSession } from "./session.js";

/** At most `limit` bytes from the beginning of the file; null after telling the user why there are none. */
export function readPatternFile(session: IoSession, path: string, limit: number): Uint8Array | null {
  let fd = -1;
  try {
    fd = openSync(path, "r");
    const stats = fstatSync(fd);
    const bytes = new Uint8Array(stats.isFile() ? Math.min(stats.size, limit) : Math.min(limit, 1024 * 1024));
    let length = 0;
    while (length < bytes.length) {
      const n = readSync(fd, bytes, length, bytes.length - length, null);
      if (n === 0) break;
      length += n;
    }
    if (length > 0 || limit === 0) return bytes.subarray(0, length);
    session.complain(`${path}: file is empty`);
  } catch (error) {
    session.complain(`${path}: ${strerror(toBlockError(error).errno)}`);
  } finally {
    if (fd >= 0) closeSync(fd);
  }
  return null;
}

/** Fills `bytes`, which begin `at` bytes into the request, with the pattern repeated from the request's start. */
export function repeatInto(bytes: Uint8Array, at: number, pattern: Uint8Array): void {
  let from = at % pattern.length;
  for (let done = 0; done < bytes.length; from = 0) {
    const part = pattern.subarray(from, Math.min(pattern.length, from + bytes.length - done));
    bytes.set(part, done);
    done += part.length;
  }
}
