/** The browser's file system failures (DOMExceptions, told apart by name) as BlockErrors. */
import { BlockError, type ErrorCode } from "../base/error.js";

const KNOWN: Record<string, [ErrorCode, string]> = {
  NoModificationAllowedError: [
    "ERR_BUSY",
    "another access handle or writer has the file open (of this page, a worker or another tab)",
  ],
  NotFoundError: ["ERR_NOT_FOUND", "No such file or directory"],
  QuotaExceededError: ["ERR_NO_SPACE", "No space left on device (the browser's storage quota is used up)"],
  NotAllowedError: ["ERR_PERMISSION", "Permission denied (by the user or the browser)"],
  SecurityError: ["ERR_PERMISSION", "Permission denied"],
  InvalidStateError: ["ERR_CLOSED", "the file handle is closed or can not be used this way"],
  NotReadableError: ["ERR_CHANGED", "the file was changed by somebody else, or can not be read any more"],
  NotSupportedError: ["ERR_UNSUPPORTED", "Operation not supported"],
  TypeMismatchError: ["ERR_INVALID_ARGUMENT", "Is a directory"],
};

export function opfsError(error: unknown, name: string, operation: string): BlockError {
  if (error instanceof BlockError) return error;
  const kind = (error as { name?: unknown } | null)?.name;
  const [code, text] = KNOWN[typeof kind === "string" ? kind : ""] ?? [
    "ERR_IO" as const,
    error instanceof Error ? error.message : String(error),
  ];
  return new BlockError(code, `Could not ${operation} '${name}': ${text}`, { node: name, operation, cause: error });
}
