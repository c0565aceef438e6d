/**
 * Objects in an object store with the interface of Cloudflare's R2 bindings, which an adapter over any S3 client can have too:
 * a read-only source by ranged `get`, and a sequential writer by multipart upload.
 *
 * The version seen at opening is pinned by its etag: reads of another version fail with ERR_CHANGED.
 */
import { BlockError } from "../base/error.js";
import { AppendFace } from "./shared/append.js";
import { BlockCache } from "./shared/block-cache.js";
import { CachedSource, checkCacheOptions, type CacheOptions } from "./shared/cached-source.js";
import { PartsWriter } from "./shared/parts.js";
import type { AsyncStorageFace, Storage } from "./storage.js";

export interface ObjectHead {
  readonly size: number;
  readonly etag: string;
}

export interface ObjectBody extends ObjectHead {
  readonly body: ReadableStream<Uint8Array>;
}

/** The part of `R2Bucket` that reading needs. A `get` whose `onlyIf` does not hold answers without a body. */
export interface ObjectSource {
  head(key: string): Promise<ObjectHead | null>;
  get(
    key: string,
    options: { range: { offset: number; length: number }; onlyIf: { etagMatches: string } },
  ): Promise<ObjectBody | ObjectHead | null>;
}

export interface UploadedPart {
  readonly partNumber: number;
  readonly etag: string;
}

/** The part of `R2MultipartUpload` that writing needs. */
export interface MultipartUpload {
  uploadPart(partNumber: number, bytes: Uint8Array): Promise<UploadedPart>;
  complete(parts: UploadedPart[]): Promise<unknown>;
  abort(): Promise<void>;
}

/** The part of `R2Bucket` that writing needs. */
export interface ObjectTarget {
  createMultipartUpload(key: string): Promise<MultipartUpload>;
}

export interface ObjectStorageOptions extends CacheOptions {
  name?: string;
  /** Repetitions of a failed request; 3 when absent. */
  retries?: number;
  /** Milliseconds before the first repetition, doubling with each; 200 when absent. */
  retryDelay?: number;
  /** Most requests at a time; 6 when absent (a Worker may have six connections). */
  parallel?: number;
  /** Most bytes of one request; 4 MiB when absent. */
  maxRequest?: number;
}

async function retrying<T>(what: string, options: { retries?: number; retryDelay?: number }, work: () => Promise<T>): Promise<T> {
  const { retries = 3, retryDelay = 200 } = options;
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof BlockError && error.code !== "ERR_IO") throw error;
      if (attempt >= retries) {
        if (error instanceof BlockError) throw error;
        throw new BlockError("ERR_IO", `${what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      }
      await new Promise((resolve) => setTimeout(resolve, retryDelay * 2 ** attempt * (0.5 + Math.random() / 2)));
    }
  }
}

/** @throws BlockError ERR_NOT_FOUND; reads: ERR_CHANGED for another version, ERR_NOT_FOUND when it was deleted, ERR_IO */
export async function objectStorage(bucket: ObjectSource, key: string, options: ObjectStorageOptions = {}): Promise<Storage> {
  const { blockSize, budget, readAhead } = checkCacheOptions(options, 16 << 20, 2 << 20);
  const { parallel = 6, maxRequest = 4 << 20, name = key } = options;
  if (!(parallel >= 1) || !(maxRequest >= blockSize))
    throw new BlockError("ERR_INVALID_ARGUMENT", "parallel must be at least 1, maxRequest at least blockSize");
  const notFound = (): BlockError =>
    new BlockError("ERR_NOT_FOUND", `Could not open '${name}': No such object`, { node: name, operation: "open" });
  const changed = (): BlockError =>
    new BlockError("ERR_CHANGED", `'${name}' has changed since it was opened`, { node: name, operation: "read" });
  const statistics = { requests: 0, bytes: 0 };

  const head = await retrying(`Could not open '${name}'`, options, () => {
    statistics.requests++;
    return bucket.head(key);
  });
  if (head === null) throw notFound();
  const { size, etag } = head;
  if (!Number.isSafeInteger(size) || size < 0)
    throw new BlockError("ERR_IO", `Could not open '${name}': the store tells no size`, { node: name });

  const fetch = async (parts: readonly Uint8Array[], offset: number): Promise<void> => {
    const writer = new PartsWriter(parts);
    await retrying(`Could not read '${name}'`, options, async () => {
      // A repetition goes on where the last one was cut off.
      const range = { offset: offset + writer.done, length: writer.total - writer.done };
      statistics.requests++;
      const found = await bucket.get(key, { range, onlyIf: { etagMatches: etag } });
      if (found === null) throw notFound();
      if (!("body" in found) || !found.body || found.etag !== etag || found.size !== size) throw changed();
      const reader = found.body.getReader();
      try {
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          statistics.bytes += value.length;
          if (!writer.push(value))
            throw new BlockError("ERR_UNSUPPORTED", `'${name}': the store sent more than the range asked for`, {
              node: name,
              offset,
            });
        }
      } finally {
        reader.cancel().catch(() => {});
      }
      if (writer.done < writer.total)
        throw new BlockError("ERR_IO", `Could not read '${name}': the answer ended too early`, {
          node: name,
          operation: "read",
          offset,
        });
    });
  };
  const cache = new BlockCache({ size, blockSize, budget, readAhead, maxRequest, parallel, fetch });
  return new CachedSource({ kind: "object", name, size, cache, statistics });
}

const MIN_PART_SIZE: number = 5 << 20;
const MAX_PARTS = 10000;

export interface ObjectSinkOptions {
  name?: string;
  /** Bytes of every part but the last, constant; 8 MiB when absent, at least 5 MiB. Times 10,000 it is the largest object. */
  partSize?: number;
  /** Uploads at a time; 2 when absent. Memory used is partSize * (parallel + 1). */
  parallel?: number;
  retries?: number;
  retryDelay?: number;
}

export interface ObjectSink extends Storage {
  readonly async: AsyncStorageFace;
  /** Uploads the rest and makes the object appear under its key. Closing the storage without it gives the upload up. */
  finish(): Promise<void>;
}

/**
 * Starts a multipart upload that is written from front to back (gaps become zeros; other orders are ERR_UNSUPPORTED).
 * A part is uploaded when the next one begins; `flush` does not make partial parts durable, `finish` does.
 *
 * @throws BlockError ERR_INVALID_ARGUMENT for a bad part size; writes: ERR_TOO_LARGE past 10,000 parts, ERR_IO
 */
export async function objectSink(bucket: ObjectTarget, key: string, options: ObjectSinkOptions = {}): Promise<ObjectSink> {
  const { partSize = 8 << 20, parallel = 2, name = key } = options;
  if (!Number.isSafeInteger(partSize) || partSize < MIN_PART_SIZE || partSize > 5 * 2 ** 30) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "partSize must be an integer between 5 MiB and 5 GiB");
  }
  if (!Number.isSafeInteger(parallel) || parallel < 1)
    throw new BlockError("ERR_INVALID_ARGUMENT", "parallel must be a positive integer");
  const upload = await retrying(`Could not create '${name}'`, options, () => bucket.createMultipartUpload(key));
  const parts: UploadedPart[] = [];
  const running = new Set<Promise<void>>();
  let failure: unknown;
  let part = new Uint8Array(0);
  let filled = 0;

  const send = async (bytes: Uint8Array): Promise<void> => {
    const number = parts.length + 1;
    if (number > MAX_PARTS) {
      throw new BlockError("ERR_TOO_LARGE", `'${name}' needs more than ${MAX_PARTS} parts`, {
        node: name,
        operation: "write",
        hint: "Use a larger part size.",
      });
    }
    // Holds the place, so that parts complete in any order.
    parts.push({ partNumber: number, etag: "" });
    const job = retrying(`Could not write '${name}'`, options, () => upload.uploadPart(number, bytes)).then(
      (done) => {
        parts[number - 1] = done;
      },
      (error: unknown) => {
        failure ??= error;
      },
    );
    running.add(job);
    void job.then(() => running.delete(job));
    while (running.size >= parallel) await Promise.race(running);
    if (failure !== undefined) throw failure;
  };
  const drain = async (): Promise<void> => {
    await Promise.all(running);
    if (failure !== undefined) throw failure;
  };

  const face = new AppendFace(name, {
    append: async (bytes) => {
      for (let from = 0; from < bytes.length;) {
        if (filled === partSize) {
          const full = part;
          part = new Uint8Array(0);
          filled = 0;
          await send(full);
        }
        if (part.length === 0) part = new Uint8Array(partSize);
        const count = Math.min(partSize - filled, bytes.length - from);
        part.set(bytes.subarray(from, from + count), filled);
        filled += count;
        from += count;
      }
    },
    flush: drain,
    finish: async () => {
      // An object of no bytes still needs one part.
      if (filled > 0 || parts.length === 0) await send(part.subarray(0, filled));
      await drain();
      await retrying(`Could not write '${name}'`, options, () => upload.complete(parts));
    },
    abort: async () => {
      await Promise.all(running);
      await upload.abort();
    },
  });
  return {
    kind: "object",
    name,
    readOnly: false,
    alignment: 1,
    fixedSize: false,
    sync: null,
    async: face,
    finish: () => face.finish(),
  };
}
