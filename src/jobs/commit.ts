/** commit: writes what lies between `base` and `top` into `base`, then takes the layers between out of the chain. */
import { BlockError } from "../base/error.js";
import { alignDown, KiB } from "../base/int.js";
import { below, drained, replaceNode, skipFilters } from "../block/graph.js";
import { read, truncate, write, writeZeroes, flush } from "../block/io.js";
import type { Child, Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { PassThrough } from "../block/pass-through.js";
import { setWritable } from "../block/reopen.js";
import { blockStatus } from "../block/status.js";
import type { Job, JobDriver } from "./job.js";
import { copyLoop, type Piece, type Scratch } from "./copy-loop.js";
import { side, type ErrorPolicies } from "./job-io.js";

const CHUNK = 512 * KiB;

export interface CommitOptions {
  /** A layer with others above it, whose backing file becomes `base`. */
  top: Node;
  base: Node;
  backingFile?: string | null;
  policies: ErrorPolicies;
}

export interface CommitDriver extends JobDriver {
  /** Serves the node above `top` (`jobs/filter.ts`). */
  serve(child: Child): PassThrough;
}

interface CommitPiece extends Piece {
  zero: boolean;
}

/** The job for a `top` that is not the active layer (the active one is committed by a mirror into its base). */
export function commitDriver(options: CommitOptions): CommitDriver {
  const { top, base } = options;
  let filter: Node | null = null;
  let baseWasReadOnly = false;
  return {
    type: "commit",
    serve(child) {
      filter = child.parent;
      return new PassThrough(child);
    },
    *run(job: Job): Op<void> {
      job.progress = { current: 0, total: top.size };
      baseWasReadOnly = base.readOnly;
      if (baseWasReadOnly) yield* drained(base, () => setWritable(base, true));
      if (base.size < top.size) yield* side("write", truncate(base, top.size, { preallocation: "off" }));
      let cursor = 0;
      yield* copyLoop<CommitPiece>(job, {
        policies: options.policies,
        workers: 4,
        insists: true,
        *next(idle) {
          while (cursor < top.size) {
            const offset = cursor;
            const limit = Math.min(alignDown(offset, CHUNK) + CHUNK, top.size) - offset;
            const status = yield* side("read", blockStatus(top, offset, limit, { base: aboveBase(top, base) }));
            cursor = offset + status.length;
            if (status.allocated) return { offset, length: status.length, zero: status.zero };
            if (idle) job.progress.current = cursor;
            yield* job.pausePoint();
          }
          return null;
        },
        copy: (piece, scratch) => copyRange(top, base, piece, scratch),
        passed: (piece) => void (job.progress.current = piece.offset + piece.length),
      });
      job.progress.current = top.size;
      yield* side("write", flush(base));
    },
    *prepare(): Op<void> {
      yield* drained(top, () => takeOut(options, filter ?? top));
    },
    *clean(): Op<void> {
      if (baseWasReadOnly) yield* drained(base, () => setWritable(base, false));
    },
  };
}

/** Filters right above the base show what the base holds: nothing of theirs is to be copied. */
function aboveBase(top: Node, base: Node): Node {
  const image = skipFilters(base);
  for (let at: Node | null = below(top); at !== null; at = below(at)) if (skipFilters(at) === image) return at;
  return base;
}

function* copyRange(from: Node, to: Node, piece: CommitPiece, scratch: Scratch): Op<void> {
  if (piece.zero) {
    yield* side("write", writeZeroes(to, piece.offset, piece.length, { mayUnmap: true }));
    return;
  }
  const bytes = scratch.take(piece.length);
  yield* side("read", read(from, bytes, piece.offset));
  yield* side("write", write(to, bytes, piece.offset));
}

/** Whoever stands on the committed layers at this time stands on `base` from now on. @param upper the highest node that goes */
function* takeOut(options: CommitOptions, upper: Node): Op<void> {
  const { base } = options;
  if (upper.parents.length === 0)
    throw new BlockError("ERR_INVALID_ARGUMENT", `Node '${upper.nodeName}' is nobody's backing file any more`);
  for (const { parent: overlay, role } of [...upper.parents]) {
    const { impl } = overlay;
    if (role === "backing" && impl.shape === "mapped" && impl.changeBackingFile !== undefined) {
      const wasReadOnly = overlay.readOnly;
      if (wasReadOnly) yield* setWritable(overlay, true);
      try {
        const image = skipFilters(base);
        yield* impl.changeBackingFile(options.backingFile ?? image.filename, image.driver.name);
      } finally {
        if (wasReadOnly) yield* setWritable(overlay, false);
      }
    }
  }
  // Who is there now: other jobs may have taken layers out meanwhile.
  yield* replaceNode(upper, base, (edge) => edge.parent === base);
}
