/** The beginning of a file of the host, or of what comes out of a pipe or device. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** Of what has no size of its own. */
const MOST_OF_A_STREAM: number = 1024 * 1024;

/** At most `limit` bytes. */
export function readBeginning(path: string, limit: number): Uint8Array {
  const fd = openSync(path, "r");
  try {
    const stats = fstatSync(fd);
    const bytes = new Uint8Array(Math.min(stats.isFile() ? stats.size : MOST_OF_A_STREAM, limit));
    let length = 0;
    while (length < bytes.length) {
      const n = readSync(fd, bytes, length, bytes.length - length, null);
      if (n === 0) break;
      length += n;
    }
    return bytes.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}
