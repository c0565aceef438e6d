/** Argument and state checks every storage makes the same way, with the same errors. */
import { BlockError } from "../../base/error.js";
import { isOffset } from "../../base/int.js";

export function closedError(name: string, operation: string): BlockError {
  return new BlockError("ERR_CLOSED", `'${name}' is closed`, { node: name, operation });
}

export function readOnlyError(name: string, operation: string): BlockError {
  return new BlockError("ERR_READ_ONLY", `'${name}' is read-only`, { node: name, operation });
}

export function unsupportedError(name: string, operation: string, why: string): BlockError {
  return new BlockError("ERR_UNSUPPORTED", `'${name}': ${why}`, { node: name, operation });
}

/** A size or offset the storage was constructed with. */
export function checkSize(value: number, what: string): void {
  if (!isOffset(value)) throw new BlockError("ERR_INVALID_ARGUMENT", `${what} must be an integer between 0 and 2^53 - 1`);
}

export interface Checked {
  readonly name: string;
  readonly readOnly: boolean;
  readonly alignment: number;
}

/** Offset and length are safe integers, their sum too, and both fit the storage's alignment. */
export function checkRange(storage: Checked, operation: string, offset: number, length: number): void {
  if (!isOffset(offset) || !isOffset(length) || !isOffset(offset + length)) {
    throw new BlockError("ERR_INVALID_ARGUMENT", `'${storage.name}': offset and length must be integers between 0 and 2^53 - 1`, {
      node: storage.name,
      operation,
    });
  }
  const { alignment } = storage;
  if (alignment !== 1 && (offset % alignment !== 0 || length % alignment !== 0)) {
    throw new BlockError("ERR_INVALID_ARGUMENT", `'${storage.name}': requests must be aligned to ${alignment} bytes`, {
      node: storage.name,
      operation,
      offset,
    });
  }
}

export function checkWritable(storage: Checked, operation: string): void {
  if (storage.readOnly) throw readOnlyError(storage.name, operation);
}

/** For requests that are only defined inside the storage (zero, discard, extents). */
export function checkInside(storage: Checked, operation: string, offset: number, length: number, size: number): void {
  if (offset + length > size) {
    throw new BlockError("ERR_OUT_OF_RANGE", `'${storage.name}': request beyond the end (${offset} + ${length} > ${size})`, {
      node: storage.name,
      operation,
      offset,
    });
  }
}

/** Writing past the end of something that cannot grow: what a full disk says. */
export function noSpaceError(storage: Checked, operation: string, offset: number): BlockError {
  return new BlockError("ERR_NO_SPACE", "No space left on device", { node: storage.name, operation, offset });
}
