/** OVA files for callers with promises: listing what is inside, and writing one. Exported by every entry that has all formats. */
import { BlockError } from "../base/error.js";
import type { Environment } from "../block/context.js";
import { done, runAsync, storageFlush, storageWrite, type Op } from "../block/op.js";
import { storageNode } from "../block/storage-node.js";
import { Codecs } from "../codec/codec.js";
import { readOva, type OvaContents } from "../formats/ova/read.js";
import { writeOva as writeArchive, type OvaOptions, type OvaResult, type OvaSink } from "../formats/ova/write.js";
import { newCid } from "../formats/vmdk/descriptor.js";
import { nodeSource } from "../formats/shared/stream.js";
import { writeStreamOptimized } from "../formats/vmdk/stream.js";
import type { ImageReader } from "../image/reader.js";
import { throwIfAborted, type OperationOptions } from "../image/signal.js";
import type { Storage, StorageKind } from "../storage/storage.js";

export type { OvaContents, OvaDisk } from "../formats/ova/read.js";
export type { OvaResult } from "../formats/ova/write.js";

/** Media that can be written at any place. Others take bytes in order: what is to be said before the data needs a pass of its own. */
const RANDOM_ACCESS: ReadonlySet<StorageKind> = new Set(["memory", "file", "opfs"]);

/** Listing needs no formats, no codecs and no names. */
function bareEnvironment(): Environment {
  return {
    drivers: new Map(),
    codecs: new Codecs([]),
    crypto: { blockCipher: noCrypto, hash: noCrypto, pbkdf2Sync: noCrypto, pbkdf2: noCrypto },
    gate: () => done(false),
    secrets: () => done(null),
    now: () => Date.now(),
    memoryBudget: 0,
    warn: () => {},
  };
}
function noCrypto(): never {
  throw new BlockError("ERR_UNSUPPORTED", "There is no cryptography here");
}

/** The members and disks of an OVA. A disk is opened with `open(sliceStorage(source, disk.offset, disk.size))`. `source` stays open. */
export function listOva(source: Storage): Promise<OvaContents> {
  return runAsync(
    (function* (): Op<OvaContents> {
      return yield* readOva(yield* storageNode(bareEnvironment(), source, { write: false }));
    })(),
  );
}

export interface WriteOvaOptions extends OvaOptions, OperationOptions {
  /** zlib's 0 (stored) to 9. */
  level?: number;
}

/**
 * Writes an OVA with one disk, the content of `image`, to an empty `target`, and flushes it; memory does not grow with the image.
 * Streams and objects cannot be written at an earlier place: for them the disk is compressed twice.
 */
export function writeOva(image: ImageReader, target: Storage, options: WriteOvaOptions): Promise<OvaResult> {
  const { node } = image;
  const filename = `${options.name}-disk1.vmdk`;
  const cid = newCid();
  let at = 0;
  const sink: OvaSink = {
    *append(bytes) {
      throwIfAborted(options.signal);
      yield* storageWrite(target, bytes, at);
      at += bytes.length;
    },
    ...(RANDOM_ACCESS.has(target.kind)
      ? { patch: (offset: number, bytes: Uint8Array) => storageWrite(target, bytes, offset) }
      : {}),
  };
  const level = options.level === undefined ? {} : { level: options.level };
  return runAsync(
    (function* (): Op<OvaResult> {
      const result = yield* writeArchive(
        sink,
        node.size,
        (append) =>
          writeStreamOptimized(
            { size: node.size, source: nodeSource(node), codecs: node.environment.codecs },
            {
              *append(bytes) {
                throwIfAborted(options.signal);
                yield* append(bytes);
              },
            },
            { filename, cid, ...level, onProgress: (soFar, total) => options.onProgress?.({ phase: "ova", done: soFar, total }) },
          ),
        options,
        node.environment.now() / 1000,
      );
      yield* storageFlush(target);
      return result;
    })(),
  );
}
