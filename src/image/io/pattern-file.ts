/** The repeated content of a file as the bytes to write (`write -s`). */
import { strerror, toBlockError } from "../../base/error.js";
import type { IoSession } from "./session.js";

/** At most `limit` bytes from the beginning of the file; null after telling the user why there are none. */
export function readPatternFile(session: IoSession, path: string, limit: number): Uint8Array | null {
  if (session.readFile === null) {
    session.complain(`${path}: ${strerror("ENOTSUP")}`);
    return null;
  }
  try {
    const bytes = session.readFile(path, limit);
    if (bytes.length > 0 || limit === 0) return bytes;
    session.complain(`${path}: file is empty`);
  } catch (error) {
    session.complain(`${path}: ${strerror(toBlockError(error).errno)}`);
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
