/** Another backing file for an image, with or without keeping what a reader sees. */
import { BlockError, prefixError, strerror, toBlockError } from "../base/error.js";
import { alignDown, alignUp, MiB } from "../base/int.js";
import type { OpenFlags } from "../block/context.js";
import { skipFilters } from "../block/graph.js";
import { flush, readPadded, write, writeZeroes } from "../block/io.js";
import type { Node } from "../block/node.js";
import { resolveIn } from "../block/node-filename.js";
import { openNode } from "../block/open.js";
import type { Op } from "../block/op.js";
import { blockStatus, layerStatus } from "../block/status.js";
import { createKernel } from "../kernel/kernel.js";
import type { Kernel } from "../kernel/types.js";
import { canChangeBackingFile, changeBackingFile, findLayer, refuseChange, type RealPath } from "./backing.js";
import { clusterSize } from "./convert.js";
import { closeQuietly, SECTOR } from "./open.js";
import { throwIfAborted, type OperationOptions } from "./signal.js";

export interface RebaseOptions extends OperationOptions {
  /** As the image is to name it, relative to the image; null: none. */
  backingFile: string | null;
  backingFormat?: string | null | undefined;
  /** Only the name changes: old and new backing file are known to hold the same. The image may be open without its backing file. */
  unsafe?: boolean;
  /** For finding the new backing file in the present chain. */
  realPath?: RealPath;
  /** For opening the new backing file. */
  backingFlags?: Partial<OpenFlags>;
  /** What has to be copied into the image is stored compressed. */
  compress?: boolean;
}

const CHUNK = 2 * MiB;
/** Shorter runs of zeros in the old backing file are written as they are. */
const MIN_ZEROS = 1 * MiB;
/** Drivers of QEMU that an image may name though we have none of the name. */
const FOREIGN_FORMATS: ReadonlySet<string> = new Set([
  "host_device",
  "host_cdrom",
  "blkdebug",
  "blkverify",
  "gluster",
  "iscsi",
  "rbd",
  "ssh",
  "nfs",
  "vvfat",
]);

/**
 * Changes the backing file of an image that is open read-write. Unless `unsafe`, clusters in which old and new backing file differ
 * are copied into the image first, so that its content stays; a failure or crash meanwhile leaves the content as it is.
 */
export function* rebaseImage(node: Node, options: RebaseOptions): Op<void> {
  const { backingFile } = options;
  const format = options.backingFormat ?? null;
  const { drivers } = node.environment;
  if (format !== null && !drivers.has(format) && !(options.unsafe === true && FOREIGN_FORMATS.has(format)))
    throw new BlockError("ERR_UNSUPPORTED", `Invalid format name: '${format}'`, { errno: "EINVAL" });
  const name = backingFile === "" ? null : backingFile;
  // Before anything is opened for, or copied into, an image that could not be changed after all.
  if (!canChangeBackingFile(node, format)) refuseChange(node, name, format);
  if (options.unsafe !== true) yield* keepContent(node, options, name, format);
  yield* changeBackingFile(node, name, format);
}

function* keepContent(node: Node, options: RebaseOptions, backingFile: string | null, format: string | null): Op<void> {
  const overlay = skipFilters(node);
  const old = overlay.backing;
  let fresh: Node | null = null;
  /** The new backing file, where it is a layer of the present chain. */
  let prefix: Node | null = null;
  if (backingFile !== null) {
    let resolved: string;
    try {
      resolved = resolveIn(overlay, backingFile);
    } catch (error) {
      throw prefixError("Could not resolve backing filename: ", error);
    }
    prefix = findLayer(overlay, resolved, options.realPath);
    if (prefix !== null) {
      fresh = prefix.ref();
    } else {
      try {
        fresh = yield* openNode(node.environment, {
          filename: resolved,
          ...(format === null ? {} : { driver: format }),
          flags: { forceShare: overlay.flags.forceShare, ...options.backingFlags },
        });
      } catch (error) {
        throw prefixError(`Could not open new backing file '${backingFile}': `, error);
      }
    }
  }
  try {
    refuseChange(node, backingFile, format);
    yield* copyDifferences(new Rebase(node, overlay, old, fresh, prefix, options));
  } finally {
    if (fresh !== null) yield* closeQuietly(fresh);
  }
  // What was copied must be there before the image names the other file.
  yield* flush(node);
}

class Rebase {
  readonly chunk: number;
  /** Differences are copied in whole units of this many bytes. */
  readonly unit: number;
  readonly kernel: Kernel;
  constructor(
    readonly node: Node,
    readonly overlay: Node,
    readonly old: Node | null,
    readonly fresh: Node | null,
    readonly prefix: Node | null,
    readonly options: RebaseOptions,
  ) {
    this.unit = options.compress === true ? clusterSize(overlay) : SECTOR;
    this.chunk = Math.max(CHUNK, this.unit);
    this.kernel = createKernel(2 * this.chunk);
  }
}

function* copyDifferences(rebase: Rebase): Op<void> {
  const { overlay, options, chunk } = rebase;
  const total = overlay.size;
  for (let offset = 0; offset < total;) {
    throwIfAborted(options.signal);
    const limit = Math.min(total, alignDown(offset, chunk) + chunk) - offset;
    offset += yield* rebasePiece(rebase, offset, limit);
    options.onProgress?.({ phase: "rebase", done: offset, total });
  }
}

/** Deals with a prefix of the range; returns its length. */
function* rebasePiece(rebase: Rebase, offset: number, limit: number): Op<number> {
  const { overlay, old, prefix } = rebase;
  const length = yield* unallocatedLength(overlay, offset, limit);
  if (length < 0) return -length;
  let end = length;
  if (prefix !== null && old !== null && offset < old.size) {
    if (old === prefix) return end;
    // What no layer between holds shows the same through the new backing file.
    const inside = Math.min(end, old.size - offset);
    const status = yield* statusOf(() => blockStatus(old, offset, inside, { base: prefix }));
    if (!status.allocated) {
      const whole = wholeUnits(rebase, offset, end, status.length);
      if (whole > 0) return whole;
    }
    // What is written is whole units, so what is compared is, too.
    end = Math.min(end, alignUp(offset + status.length, rebase.unit) - offset);
  }
  end = yield* skipZeros(rebase, offset, end);
  if (end < 0) return -end;
  yield* compareAndCopy(rebase, offset, end);
  return end;
}

/** Bytes from `offset` on that the image does not hold itself; negative: bytes that it does hold. */
function* unallocatedLength(overlay: Node, offset: number, limit: number): Op<number> {
  const status = yield* statusOf(() => layerStatus(overlay, offset, limit, false));
  return status.allocated ? -status.length : status.length;
}

function* statusOf<T>(ask: () => Op<T>): Op<T> {
  try {
    return yield* ask();
  } catch (error) {
    throw metadataError(error);
  }
}

const metadataError = (error: unknown): BlockError => {
  const inner = toBlockError(error);
  return new BlockError(inner.code, `error while reading image metadata: ${strerror(inner.errno)}`, {
    errno: inner.errno,
    cause: error,
  });
};

/** Where both read as zeros there is nothing to compare: the negative length of that, or `limit`. */
function* skipZeros(rebase: Rebase, offset: number, limit: number): Op<number> {
  const { old, fresh } = rebase;
  let common = limit;
  let zero = true;
  for (const node of [old, fresh]) {
    if (node === null || offset >= node.size) continue;
    const status = yield* statusOf(() => blockStatus(node, offset, Math.min(common, node.size - offset)));
    common = Math.min(common, status.length);
    zero &&= status.zero;
  }
  // Beside data, zeros are compared like data: a difference that spans both becomes one write, and one run of clusters.
  const whole = zero ? wholeUnits(rebase, offset, limit, common) : 0;
  return whole > 0 ? -whole : limit;
}

/** The part of a run from `offset` on that ends with a unit, or with the range. */
function wholeUnits({ unit }: Rebase, offset: number, limit: number, run: number): number {
  return run >= limit ? limit : Math.max(0, alignDown(offset + run, unit) - offset);
}

function* compareAndCopy(rebase: Rebase, offset: number, length: number): Op<void> {
  const { kernel, chunk, old, fresh, unit } = rebase;
  const ours = kernel.memory.subarray(0, length);
  yield* readBacking(old, ours, offset, "old");
  yield* readBacking(fresh, kernel.memory.subarray(chunk, chunk + length), offset, "new");
  const same = (at: number): boolean => {
    const n = Math.min(unit, length - at);
    return kernel.firstDifference(at, chunk + at, n) === n;
  };
  for (let at = 0; at < length;) {
    const skip = kernel.firstDifference(at, chunk + at, length - at);
    if (skip === length - at) return;
    const start = at + alignDown(skip, unit);
    let end = Math.min(start + unit, length);
    while (end < length && !same(end)) end = Math.min(end + unit, length);
    yield* put(rebase, ours, start, end, offset);
    at = end;
  }
}

function* readBacking(node: Node | null, into: Uint8Array, offset: number, which: "old" | "new"): Op<void> {
  if (node === null) {
    into.fill(0);
    return;
  }
  try {
    yield* readPadded(node, into, offset);
  } catch (error) {
    throw new BlockError(toBlockError(error).code, `error while reading from ${which} backing file`, {
      errno: toBlockError(error).errno,
      cause: error,
    });
  }
}

function* put({ node, old, kernel, options }: Rebase, bytes: Uint8Array, start: number, end: number, offset: number): Op<void> {
  const behind = offset + start >= (old?.size ?? 0);
  try {
    if (behind || (end - start >= MIN_ZEROS && kernel.isZero(start, end - start)))
      yield* writeZeroes(node, offset + start, end - start);
    else yield* write(node, bytes.subarray(start, end), offset + start, options.compress === true ? { compressed: true } : {});
  } catch (error) {
    const inner = toBlockError(error);
    throw new BlockError(inner.code, `Error while writing to COW image: ${strerror(inner.errno)}`, {
      errno: inner.errno,
      cause: error,
    });
  }
}
