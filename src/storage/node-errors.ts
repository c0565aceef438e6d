/** Failures of `node:fs` and libc as BlockErrors. */
import { constants } from "node:os";
import { BlockError, codeOfErrno, errnoError, type BlockErrorDetails, type Errno } from "../base/error.js";

/** Names outside our errno table that mean the same to a user. */
const SAME: Record<string, Errno> = {
  EDQUOT: "ENOSPC",
  EOPNOTSUPP: "ENOTSUP",
  ENOSYS: "ENOTSUP",
  ETXTBSY: "EBUSY",
  EWOULDBLOCK: "EAGAIN",
};

const KNOWN = new Set<string>([
  "EPERM",
  "ENOENT",
  "EIO",
  "ENXIO",
  "EBADF",
  "EAGAIN",
  "ENOMEM",
  "EACCES",
  "EBUSY",
  "EEXIST",
  "ENODEV",
  "ENOTDIR",
  "EISDIR",
  "EINVAL",
  "EMFILE",
  "EFBIG",
  "ENOSPC",
  "ESPIPE",
  "EROFS",
  "EPIPE",
  "ERANGE",
  "ENOTSUP",
  "ENOMEDIUM",
  "EOVERFLOW",
  "ENAMETOOLONG",
  "ELOOP",
  "ESTALE",
  "ENOTTY",
  "ETIMEDOUT",
]);

const NAME_OF_NUMBER = new Map<number, string>(Object.entries(constants.errno).map(([name, number]) => [number, name]));

/** The name of an errno number of this system, e.g. 28 -> "ENOSPC". */
export function errnoName(number: number): string {
  return NAME_OF_NUMBER.get(number) ?? "EIO";
}

/** The errno name of a system error; undefined for other errors. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === "string" && /^E[A-Z0-9]+$/.test(code)) return code;
  // Deno leaves the code out for errors it has no class for, and tells the number in the text.
  const number = error instanceof Error ? /\(os error (\d+)\)/.exec(error.message)?.[1] : undefined;
  return number === undefined ? undefined : NAME_OF_NUMBER.get(Number(number));
}

export function namedError(errno: string, context: string | undefined, details: BlockErrorDetails): BlockError {
  const known = SAME[errno] ?? errno;
  if (KNOWN.has(known)) return errnoError(known as Errno, context, details);
  const text = `Input/output error (${errno})`;
  return new BlockError(codeOfErrno(errno), context === undefined ? text : `${context}: ${text}`, { errno: "EIO", ...details });
}

/** A thrown `fs` error with its errno kept; `context` comes before strerror's text. */
export function systemError(error: unknown, context: string | undefined, details: BlockErrorDetails): BlockError {
  if (error instanceof BlockError) return error;
  const errno = errnoOf(error);
  if (errno !== undefined) return namedError(errno, context, { cause: error, ...details });
  // Offsets were checked before: what the runtime finds out of range is beyond what it can hand to the system (Bun: 2^52).
  if ((error as { code?: unknown } | null)?.code === "ERR_OUT_OF_RANGE")
    return namedError("EFBIG", context, { cause: error, ...details });
  const message = error instanceof Error ? error.message : String(error);
  return new BlockError("ERR_IO", context === undefined ? message : `${context}: ${message}`, { cause: error, ...details });
}
