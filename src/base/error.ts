/**
 * The one error type of Blockcore.
 *
 * `code` is API and covered by semantic versioning; `message` uses QEMU's wording wherever a QEMU user
 * would see it; `errno` names the POSIX error a QEMU program would report (`strerror` text in `base/errno.ts`).
 */
export type ErrorCode =
  | "ERR_INVALID_ARGUMENT" // the caller's argument or option is wrong
  | "ERR_OUT_OF_RANGE" // beyond the end of the image, or not representable
  | "ERR_TOO_LARGE" // larger than a named limit of ours or of the format
  | "ERR_CORRUPT" // the image contradicts its format
  | "ERR_NOT_THIS_FORMAT" // the bytes are not of the format that was asked for
  | "ERR_UNSUPPORTED" // valid, but this runtime/format/option cannot do it
  | "ERR_DENIED" // the gate refused what the image names
  | "ERR_PERMISSION" // EACCES, EPERM
  | "ERR_READ_ONLY"
  | "ERR_NOT_FOUND"
  | "ERR_EXISTS"
  | "ERR_BUSY" // in use by another node, job or program (also image locks)
  | "ERR_CHANGED" // the object changed under us (ETag, size)
  | "ERR_IO"
  | "ERR_NO_SPACE"
  | "ERR_ENCRYPTED" // a secret is missing or wrong
  | "ERR_CLOSED"
  | "ERR_TIMEOUT"
  | "ERR_ABORTED";

/** POSIX error names we use; text as glibc's strerror has it. */
export type Errno =
  | "EPERM"
  | "ENOENT"
  | "EIO"
  | "ENXIO"
  | "EBADF"
  | "EAGAIN"
  | "ENOMEM"
  | "EACCES"
  | "EBUSY"
  | "EEXIST"
  | "ENODEV"
  | "ENOTDIR"
  | "EISDIR"
  | "EINVAL"
  | "EMFILE"
  | "EFBIG"
  | "ENOSPC"
  | "ESPIPE"
  | "EROFS"
  | "EPIPE"
  | "EDOM"
  | "ERANGE"
  | "ENOTSUP"
  | "ECANCELED"
  | "ETIMEDOUT"
  | "ECONNREFUSED"
  | "ECONNRESET"
  | "EMEDIUMTYPE"
  | "ENOMEDIUM"
  | "EOVERFLOW"
  | "ESHUTDOWN"
  | "ENAMETOOLONG"
  | "ELOOP"
  | "ESTALE"
  | "ENOTTY";

const STRERROR: Record<Errno, string> = {
  EPERM: "Operation not permitted",
  ENOENT: "No such file or directory",
  EIO: "Input/output error",
  ENXIO: "No such device or address",
  EBADF: "Bad file descriptor",
  EAGAIN: "Resource temporarily unavailable",
  ENOMEM: "Cannot allocate memory",
  EACCES: "Permission denied",
  EBUSY: "Device or resource busy",
  EEXIST: "File exists",
  ENODEV: "No such device",
  ENOTDIR: "Not a directory",
  EISDIR: "Is a directory",
  EINVAL: "Invalid argument",
  EMFILE: "Too many open files",
  EFBIG: "File too large",
  ENOSPC: "No space left on device",
  ESPIPE: "Illegal seek",
  EROFS: "Read-only file system",
  EPIPE: "Broken pipe",
  EDOM: "Numerical argument out of domain",
  ERANGE: "Numerical result out of range",
  ENOTSUP: "Operation not supported",
  ECANCELED: "Operation canceled",
  ETIMEDOUT: "Connection timed out",
  ECONNREFUSED: "Connection refused",
  ECONNRESET: "Connection reset by peer",
  EMEDIUMTYPE: "Wrong medium type",
  ENOMEDIUM: "No medium found",
  EOVERFLOW: "Value too large for defined data type",
  ESHUTDOWN: "Cannot send after transport endpoint shutdown",
  ENAMETOOLONG: "File name too long",
  ELOOP: "Too many levels of symbolic links",
  ESTALE: "Stale file handle",
  ENOTTY: "Inappropriate ioctl for device",
};

/** The text `strerror` prints for an errno name. */
export function strerror(errno: Errno): string {
  return STRERROR[errno];
}

const ERRNO_OF_CODE: Record<ErrorCode, Errno> = {
  ERR_INVALID_ARGUMENT: "EINVAL",
  ERR_OUT_OF_RANGE: "EINVAL",
  ERR_TOO_LARGE: "EFBIG",
  ERR_CORRUPT: "EINVAL",
  ERR_NOT_THIS_FORMAT: "EINVAL",
  ERR_UNSUPPORTED: "ENOTSUP",
  ERR_DENIED: "EACCES",
  ERR_PERMISSION: "EACCES",
  ERR_READ_ONLY: "EROFS",
  ERR_NOT_FOUND: "ENOENT",
  ERR_EXISTS: "EEXIST",
  ERR_BUSY: "EBUSY",
  ERR_CHANGED: "EIO",
  ERR_IO: "EIO",
  ERR_NO_SPACE: "ENOSPC",
  ERR_ENCRYPTED: "EINVAL",
  ERR_CLOSED: "EBADF",
  ERR_TIMEOUT: "ETIMEDOUT",
  ERR_ABORTED: "ECANCELED",
};

/** QMP error classes of the seeds and of today's QEMU. */
export type QmpErrorClass =
  | "GenericError"
  | "CommandNotFound"
  | "DeviceNotActive"
  | "DeviceNotFound"
  | "KVMMissingCap"
  | "DeviceEncrypted"
  | "DeviceInUse"
  | "NotSupported"
  | "InvalidParameter"
  | "DeviceNotEncrypted";

export interface BlockErrorDetails {
  /** POSIX name; defaults to what fits the code. */
  errno?: Errno;
  qmpClass?: QmpErrorClass;
  /** Name of the node or file the error is about. */
  node?: string;
  /** Byte offset in the node or file. */
  offset?: number;
  operation?: string;
  /** What the user can do about it (QEMU's "hint", printed below the error). */
  hint?: string;
  cause?: unknown;
}

export class BlockError extends Error {
  readonly code: ErrorCode;
  readonly errno: Errno;
  readonly qmpClass: QmpErrorClass;
  readonly node: string | undefined;
  readonly offset: number | undefined;
  readonly operation: string | undefined;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, details: BlockErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "BlockError";
    this.code = code;
    this.errno = details.errno ?? ERRNO_OF_CODE[code];
    this.qmpClass = details.qmpClass ?? "GenericError";
    this.node = details.node;
    this.offset = details.offset;
    this.operation = details.operation;
    this.hint = details.hint;
  }
}

/** The same failure seen from further out: "Could not open 'x': <what happened>". Keeps code, errno, details, and the hint unless there is a new one. */
export function prefixError(prefix: string, error: unknown, newHint?: string): BlockError {
  const inner = toBlockError(error);
  const details: BlockErrorDetails = { errno: inner.errno, qmpClass: inner.qmpClass, cause: inner };
  if (inner.node !== undefined) details.node = inner.node;
  if (inner.offset !== undefined) details.offset = inner.offset;
  if (inner.operation !== undefined) details.operation = inner.operation;
  const hint = newHint ?? inner.hint;
  if (hint !== undefined) details.hint = hint;
  return new BlockError(inner.code, `${prefix}${inner.message}`, details);
}

const CODE_OF_ERRNO: Partial<Record<string, ErrorCode>> = {
  ENOENT: "ERR_NOT_FOUND",
  EEXIST: "ERR_EXISTS",
  EACCES: "ERR_PERMISSION",
  EPERM: "ERR_PERMISSION",
  EROFS: "ERR_READ_ONLY",
  EBUSY: "ERR_BUSY",
  EAGAIN: "ERR_BUSY",
  ENOSPC: "ERR_NO_SPACE",
  EDQUOT: "ERR_NO_SPACE",
  EFBIG: "ERR_TOO_LARGE",
  EINVAL: "ERR_INVALID_ARGUMENT",
  ENOTSUP: "ERR_UNSUPPORTED",
  EOPNOTSUPP: "ERR_UNSUPPORTED",
  EBADF: "ERR_CLOSED",
  ETIMEDOUT: "ERR_TIMEOUT",
  ECANCELED: "ERR_ABORTED",
};

/** The code that goes with an errno; ERR_IO for those without one of their own. */
export function codeOfErrno(errno: string): ErrorCode {
  return CODE_OF_ERRNO[errno] ?? "ERR_IO";
}

/** A failure with an errno, worded as strerror does; `context` (if any) comes before it: "context: strerror". */
export function errnoError(errno: Errno, context?: string, details: BlockErrorDetails = {}): BlockError {
  const text = strerror(errno);
  return new BlockError(codeOfErrno(errno), context === undefined ? text : `${context}: ${text}`, { errno, ...details });
}

/** Anything thrown, as a BlockError. System errors (with a string `code` like "ENOENT") keep their errno. */
export function toBlockError(error: unknown): BlockError {
  if (error instanceof BlockError) return error;
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === "string" && code in STRERROR) return errnoError(code as Errno, undefined, { cause: error });
  if (error instanceof Error && error.name === "AbortError")
    return new BlockError("ERR_ABORTED", error.message, { cause: error });
  const message = error instanceof Error ? error.message : String(error);
  return new BlockError("ERR_IO", message, { cause: error });
}

/** A broken promise of our own code; never used for image content or user input. */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(`Blockcore internal error: ${what}`);
}
