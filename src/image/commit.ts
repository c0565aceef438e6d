/** Writing the content of an image down into a layer below it. */
import { BlockError, strerror, toBlockError } from "../base/error.js";
import { KiB, MiB } from "../base/int.js";
import { RateLimit } from "../base/rate-limit.js";
import { below, skipFilters } from "../block/graph.js";
import { flush, readPadded, truncate, write, writeZeroes } from "../block/io.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { imageName } from "../block/node-filename.js";
import { setWritable } from "../block/reopen.js";
import { blockStatus } from "../block/status.js";
import { blockCopy, type CopyKind } from "../jobs/block-copy.js";
import { findBackingImage, type RealPath } from "./backing.js";
import type { OperationOptions } from "./signal.js";

export interface CommitOptions extends OperationOptions {
  /** Layer to commit into, by file name; its immediate backing file when absent. */
  base?: string | undefined;
  /** Leave the image as it is; otherwise it is emptied, so that it shows its backing file alone. With layers between it stays as it is. */
  drop?: boolean;
  /** Bytes per second; 0: as fast as it goes. */
  rateLimit?: number;
  /** What the user calls the image, for messages. */
  filename?: string;
  /** For comparing `base` with the names of layers. */
  realPath?: RealPath;
}

const CHUNK = 1 * MiB;

/**
 * Commits an image that is open read-write. The base grows if it is smaller. Until everything is durable in the base the image keeps
 * all of it.
 */
export function* commitImage(node: Node, options: CommitOptions = {}): Op<void> {
  const top = skipFilters(node);
  const base = findBase(top, options);
  const immediate = base === nextLayer(top);
  const wasReadOnly = base.readOnly;
  if (wasReadOnly) yield* setWritable(base, true);
  try {
    if (base.size < top.size) yield* truncate(base, top.size, { preallocation: "off" });
    try {
      yield* copyDown(node, base, options);
      yield* flush(base);
    } catch (error) {
      const { code, errno } = toBlockError(error);
      if (code === "ERR_ABORTED") throw error;
      throw new BlockError(code, `Block job failed: ${strerror(errno)}`, { errno, cause: error });
    }
    const impl = top.impl;
    if (immediate && impl.shape === "mapped" && impl.followBacking !== undefined) yield* impl.followBacking();
    if (options.drop !== true && immediate && impl.shape === "mapped" && impl.makeEmpty !== undefined) {
      yield* emptied(top, impl.makeEmpty.bind(impl));
    }
  } finally {
    if (wasReadOnly) yield* setWritable(base, false);
  }
}

function* emptied(top: Node, makeEmpty: () => Op<void>): Op<void> {
  try {
    yield* makeEmpty();
  } catch (error) {
    const { code, errno } = toBlockError(error);
    throw new BlockError(code, `Failed to empty ${imageName(top)}: ${strerror(errno)}`, {
      errno,
      node: top.nodeName,
      cause: error,
    });
  }
}

function nextLayer(node: Node): Node | null {
  const next = below(node);
  return next === null ? null : skipFilters(next);
}

function findBase(top: Node, options: CommitOptions): Node {
  if (options.base === undefined) {
    const next = nextLayer(top);
    if (next === null) throw new BlockError("ERR_INVALID_ARGUMENT", "Image does not have a backing file");
    return next;
  }
  const found = findBackingImage(top, options.base, options.realPath);
  if (found === null) {
    throw new BlockError(
      "ERR_NOT_FOUND",
      `Did not find '${options.base}' in the backing chain of '${options.filename ?? top.filename}'`,
    );
  }
  return found;
}

function* copyDown(top: Node, base: Node, options: CommitOptions): Op<void> {
  const size = top.size;
  yield* blockCopy({
    source: {
      *status(offset, length) {
        const status = yield* blockStatus(top, offset, Math.min(length, size - offset), { base });
        const kind: CopyKind = !status.allocated ? "skip" : status.zero ? "zero" : "data";
        return { length: status.length, kind };
      },
      read: (into, offset) => readPadded(top, into, offset),
    },
    target: {
      write: (from, offset) => write(base, from, offset),
      writeZeroes: (offset, length) => writeZeroes(base, offset, length, { mayUnmap: true }),
    },
    size,
    parallel: 4,
    chunk: CHUNK,
    inOrder: false,
    detectZeroes: 64 * KiB,
    minZeroRun: CHUNK,
    ...(options.rateLimit === undefined || options.rateLimit === 0
      ? {}
      : { rateLimit: new RateLimit(options.rateLimit, top.environment.now) }),
    signal: options.signal,
    ...(options.onProgress === undefined
      ? {}
      : { onProgress: ({ done, total }) => options.onProgress!({ phase: "commit", done, total }) }),
  });
}
