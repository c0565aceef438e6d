/** Copying the content of one or more images into another one. */
import { BlockError, strerror, toBlockError } from "../base/error.js";
import { RateLimit } from "../base/rate-limit.js";
import { KiB, MiB } from "../base/int.js";
import { flush, write, writeZeroes } from "../block/io.js";
import type { MappedImpl } from "../block/driver.js";
import { ExtentKind, ExtentList } from "../block/extent.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { blockCopy } from "../jobs/block-copy.js";
import { imageSize } from "./open.js";
import { throwIfAborted, type OperationOptions } from "./signal.js";
import { ConcatenatedSource } from "./source.js";

export interface ConvertOptions extends OperationOptions {
  /** The target was made for this and is known to read as zeros. */
  targetIsZero: boolean;
  /** Leave out what is below the top layer of the source: the target has a backing file that shows it. */
  overBacking?: boolean;
  /** The target's clusters are allocated already: zeros are left out in pieces as small as asked for. */
  preallocated?: boolean;
  /** Store clusters compressed. */
  compress?: boolean;
  /** Runs of zeros of at least this many bytes stay unallocated; 0: everything is written. Default 4096. */
  sparseSize?: number;
  /** Requests in flight, 1..16; default 8. */
  parallel?: number;
  /** Write as data comes in rather than in ascending order. */
  outOfOrder?: boolean;
  /** Bytes per second; 0: as fast as it goes. */
  rateLimit?: number;
  /** Go on after read errors, with zeros for what cannot be read; called with a message for each. */
  onBadSector?: ((message: string) => void) | undefined;
}

const DEFAULT_SPARSE = 4 * KiB;
const DEFAULT_PARALLEL = 8;
/** As QEMU copies; compressed clusters are handed out in smaller lots, so that all threads have some. */
const CHUNK = 2 * MiB;
const COMPRESS_CHUNK = 1 * MiB;

/**
 * Writes the content of `sources`, one after the other, into `target` (open read-write, at least as large) and flushes it.
 * @throws BlockError "error while reading|writing at byte …"
 */
export function* convertInto(sources: readonly Node[], target: Node, options: ConvertOptions): Op<void> {
  const overBacking = options.overBacking ?? false;
  const compress = options.compress === true || (target.impl.shape === "mapped" && target.impl.compressedOnly === true);
  const sparse = options.sparseSize ?? DEFAULT_SPARSE;
  const source = new ConcatenatedSource(sources, {
    overBacking,
    targetBackingSize: target.backing === null ? Infinity : imageSize(target.backing),
    onBadSector: options.onBadSector ?? null,
  });
  const impl = target.impl;
  const unit = compress ? clusterSize(target) : 1;
  const environment = target.environment;
  const writesZeros = !options.targetIsZero || (overBacking && target.backing !== null);
  const flags = compress ? { compressed: true } : {};
  const granule =
    sparse === 0
      ? 0
      : compress
        ? unit
        : zeroGranule(
            sparse,
            impl.shape === "mapped" && options.preallocated !== true ? (impl.zeroUnit ?? impl.allocationUnit) : 1,
          );
  const salvage = options.onBadSector !== undefined;
  if (salvage) yield* tellUnknown(source, options);
  yield* blockCopy({
    source,
    target: {
      *write(from, offset) {
        try {
          yield* write(target, from, offset, flags);
        } catch (error) {
          throw writeError(offset, error);
        }
      },
      writeZeroes: writesZeros
        ? function* (offset, length) {
            try {
              yield* writeZeroes(target, offset, length, { mayUnmap: true });
            } catch (error) {
              throw writeError(offset, error);
            }
          }
        : null,
    },
    size: source.size,
    // Failing disks are read from front to back, and complained about in that order.
    parallel: salvage ? 1 : (options.parallel ?? DEFAULT_PARALLEL),
    chunk: compress ? COMPRESS_CHUNK : CHUNK,
    inOrder: options.outOfOrder !== true,
    detectZeroes: granule,
    minZeroRun: compress ? unit : sparse,
    unit,
    ...(options.rateLimit === undefined || options.rateLimit === 0
      ? {}
      : { rateLimit: new RateLimit(options.rateLimit, environment.now) }),
    signal: options.signal,
    ...(options.onProgress === undefined
      ? {}
      : { onProgress: ({ done, total }) => options.onProgress!({ phase: "convert", done, total }) }),
  });
  yield* flush(target);
}

/** Asks for the status of everything once before salvaging, so that, as in QEMU, what cannot be told about is known before the first read. */
function* tellUnknown(source: ConcatenatedSource, options: ConvertOptions): Op<void> {
  for (let at = 0; at < source.size;) {
    throwIfAborted(options.signal);
    at += (yield* source.status(at, source.size - at)).length;
  }
}

/** Zeros are looked for in units the target can leave out: a power of two, at least what was asked for or the target's own unit. */
function zeroGranule(sparse: number, unit: number): number {
  let granule = 512;
  while (granule * 2 <= sparse) granule *= 2;
  return Math.min(Math.max(granule, unit), CHUNK);
}

/** Bytes of one cluster of a format with compression. */
export function clusterSize(node: Node): number {
  const impl = node.impl;
  const size = impl.blockInfo?.().clusterSize;
  if (impl.shape !== "mapped" || impl.writeCompressed === undefined || size === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", "Compression not supported for this file format", {
      errno: "ENOTSUP",
      node: node.nodeName,
    });
  }
  return size;
}

/** Whether the image's tables say at first sight that nothing is stored in it. */
function hasNothing(node: Node, impl: MappedImpl): boolean {
  const list = new ExtentList();
  if (node.size === 0) return true;
  return (
    impl.map(0, node.size, list) === null &&
    list.count === 1 &&
    list.at(0).kind === ExtentKind.unallocated &&
    list.end === node.size
  );
}

/** Whether a node that was just made by `create` reads as zeros: not on a device, whose old content stays. */
export function startsZeroed(node: Node): boolean {
  const impl = node.impl;
  if (node.backing !== null) return false;
  if (impl.shape === "storage") return !impl.storage.fixedSize;
  if (node.driver.name === "luks") return false;
  // What was preallocated reads as zeros decrypted: as noise.
  if (impl.shape === "mapped" && impl.encrypt !== undefined && node.driver.name === "qcow2" && !hasNothing(node, impl))
    return false;
  for (const child of node.children) if (child.role === "data" && !startsZeroed(child.node)) return false;
  return true;
}

function writeError(offset: number, error: unknown): BlockError {
  const inner = toBlockError(error);
  return new BlockError(inner.code, `error while writing at byte ${offset}: ${strerror(inner.errno)}`, {
    errno: inner.errno,
    offset,
    cause: error,
  });
}
