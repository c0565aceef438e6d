/** stream: copies what shows through from the backing chain into the top image, then drops the copied layers from the chain. */
import { BlockError, toBlockError } from "../base/error.js";
import { alignDown, KiB } from "../base/int.js";
import { below, drained, skipFilters } from "../block/graph.js";
import { readPadded, writeLeased } from "../block/io.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { setWritable } from "../block/reopen.js";
import { blockStatus, layerStatus } from "../block/status.js";
import type { Job, JobDriver } from "./job.js";
import { copyLoop, type Piece, type Scratch } from "./copy-loop.js";
import { side, SideError, type ErrorPolicies } from "./job-io.js";

const CHUNK = 512 * KiB;

export interface StreamOptions {
  top: Node;
  /** Layers from here down stay; null: the whole chain is copied. */
  base: Node | null;
  /** Written into the image as its new backing file; default: what `base` is called. */
  backingFile?: string | null;
  backingFormat?: string | null;
  policies: ErrorPolicies;
}

export function streamDriver(options: StreamOptions): JobDriver {
  const { top } = options;
  const lowest = aboveBase(top, options.base);
  /** What stays below: another job may put something else there meanwhile. */
  const currentBase = (): Node | null => (options.base === null ? null : below(lowest));
  const impl = top.impl;
  if (impl.shape !== "mapped" || impl.prepareWrite === undefined || impl.changeBackingFile === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", `Format driver '${top.driver.name}' cannot stream into an image`, {
      qmpClass: "NotSupported",
    });
  }
  return {
    type: "stream",
    *run(job: Job): Op<void> {
      job.progress = { current: 0, total: top.size };
      if (top.backing === null || top.backing === currentBase()) {
        job.progress = { current: 0, total: 0 };
        return;
      }
      let cursor = 0;
      let ignored: BlockError | null = null;
      const { policies } = options;
      yield* copyLoop<Piece>(job, {
        policies,
        workers: 4,
        *next(idle) {
          while (cursor < top.size) {
            const offset = cursor;
            const limit = Math.min(alignDown(offset, CHUNK) + CHUNK, top.size) - offset;
            const under = currentBase();
            const base = under === null ? null : skipFilters(under);
            const status = yield* side("read", blockStatus(top, offset, limit, { base, wantZero: false }));
            cursor = offset + status.length;
            // In the top image already, or nowhere above the base: nothing to copy.
            if (status.depth > 0 && (status.allocated || (base === null && !status.zero)))
              return { offset, length: status.length };
            if (idle) job.progress.current = cursor;
            yield* job.pausePoint();
          }
          return null;
        },
        *copy(piece, scratch) {
          try {
            yield* populate(top, piece, scratch);
          } catch (error) {
            if (error instanceof SideError && policies.read === "ignore") ignored ??= toBlockError(error.inner);
            throw error;
          }
        },
        passed: (piece) => void (job.progress.current = piece.offset + piece.length),
      });
      job.progress.current = top.size;
      // What could not be copied is still in the layers below: they stay.
      if (ignored !== null) throw ignored;
    },
    *prepare(): Op<void> {
      yield* drained(top, () => dropLayers(options, currentBase));
    },
  };
}

/** Copies the parts of a range that the top image does not hold, with guest writers kept out meanwhile. */
function* populate(top: Node, { offset, length }: Piece, scratch: Scratch): Op<void> {
  const impl = top.impl;
  if (impl.shape !== "mapped") return;
  const lease = yield* top.requests.acquire(offset, length, impl.allocationUnit);
  try {
    let at = offset;
    while (at < offset + length) {
      const status = yield* side("read", layerStatus(top, at, offset + length - at, false));
      const backing = top.backing;
      if (!status.allocated && backing !== null) {
        const bytes = scratch.take(status.length);
        yield* side("read", readPadded(backing, bytes, at));
        yield* side("write", writeLeased(top, impl, bytes, at));
      }
      at += status.length;
    }
  } finally {
    top.requests.release(lease);
  }
}

/** The lowest layer that is copied; no filter, as those of other jobs go when they end. */
function aboveBase(top: Node, base: Node | null): Node {
  let lowest = top;
  for (let at = below(top); at !== null && at !== base; at = below(at)) if (at.driver.category !== "filter") lowest = at;
  return lowest;
}

function* dropLayers(options: StreamOptions, currentBase: () => Node | null): Op<void> {
  const { top } = options;
  const base = currentBase();
  const impl = top.impl;
  const edge = top.children.find((child) => child.role === "backing");
  if (edge === undefined || edge.node === base || impl.shape !== "mapped") return;
  const filename = options.backingFile ?? (base === null ? null : skipFilters(base).filename);
  const format = base === null ? null : (options.backingFormat ?? skipFilters(base).driver.name);
  const wasReadOnly = top.readOnly;
  if (wasReadOnly) yield* setWritable(top, true);
  try {
    // The string in the image changes first: data is all there, so either way of reading the image gives the same bytes.
    yield* impl.flush();
    yield* impl.changeBackingFile!(base === null ? null : filename, format);
  } finally {
    if (wasReadOnly) yield* setWritable(top, false);
  }
  if (base === null) {
    const old = top.detach(edge.name);
    if (old !== null) yield* old.unref();
    return;
  }
  const old = edge.node;
  // Another job may have put something else there meanwhile.
  top.redirect(edge, currentBase()!.ref());
  yield* old.unref();
}
