/**
 * A `Blob` or `File` (a file picker's, a response's) as a read-only storage, asynchronous face only.
 *
 * Each `slice().arrayBuffer()` costs the better part of a millisecond in browsers, whatever its length: reads go through a
 * block cache that merges and reads ahead.
 */
import { BlockError } from "../base/error.js";
import { BlockCache } from "./shared/block-cache.js";
import { CachedSource, checkCacheOptions, type CacheOptions } from "./shared/cached-source.js";
import type { Storage } from "./storage.js";

/** The part of `Blob` that is used. */
export interface BlobLike {
  readonly size: number;
  readonly name?: string;
  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> };
}

export interface BlobStorageOptions extends CacheOptions {
  /** What messages call it; the file's name, or "blob". */
  name?: string;
}

/** Failures of the browser's file reading, by the name of their DOMException. */
function readError(error: unknown, name: string, offset: number): BlockError {
  const kind = (error as { name?: unknown } | null)?.name;
  const details = { node: name, operation: "read", offset, cause: error };
  // What browsers answer when the file was modified after it was picked.
  if (kind === "NotReadableError")
    return new BlockError("ERR_CHANGED", `'${name}' has changed or cannot be read any more`, details);
  if (kind === "NotFoundError") return new BlockError("ERR_NOT_FOUND", `'${name}' is no longer there`, details);
  if (kind === "SecurityError") return new BlockError("ERR_PERMISSION", `'${name}' may not be read`, details);
  return new BlockError("ERR_IO", `Could not read '${name}': ${error instanceof Error ? error.message : String(error)}`, details);
}

/**
 * @throws BlockError ERR_INVALID_ARGUMENT for bad options; reads: ERR_CHANGED when the file behind was modified, ERR_IO
 */
export function blobStorage(blob: BlobLike, options: BlobStorageOptions = {}): Storage {
  const { blockSize, budget, readAhead } = checkCacheOptions(options, 4 << 20, 1 << 20);
  const given = options.name ?? blob.name;
  const name = given === undefined || given === "" ? "blob" : given;
  const { size } = blob;
  const fetch = async (parts: readonly Uint8Array[], offset: number): Promise<void> => {
    let length = 0;
    for (const part of parts) length += part.length;
    let bytes: Uint8Array;
    try {
      bytes = new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
    } catch (error) {
      throw readError(error, name, offset);
    }
    if (bytes.length !== length) {
      throw new BlockError("ERR_CHANGED", `'${name}' gave ${bytes.length} bytes instead of ${length}`, {
        node: name,
        operation: "read",
        offset,
      });
    }
    let at = 0;
    for (const part of parts) {
      part.set(bytes.subarray(at, at + part.length));
      at += part.length;
    }
  };
  const cache = new BlockCache({ size, blockSize, budget, readAhead, maxRequest: 8 << 20, parallel: 4, fetch });
  return new CachedSource({ kind: "blob", name, size, cache });
}
