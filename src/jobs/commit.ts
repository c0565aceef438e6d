/** commit: writes what lies between `base` and `top` into `base`, then takes the layers between out of the chain. */
import { BlockError } from "../base/error.js";
import { alignDown, KiB } from "../base/int.js";
import { drained } from "../block/graph.js";
import { read, truncate, write, writeZeroes, flush } from "../block/io.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { setWritable } from "../block/reopen.js";
import { blockStatus } from "../block/status.js";
import type { Job, JobDriver } from "./job.js";
import { copyLoop, side, type ErrorPolicies, type Piece } from "./job-io.js";

const CHUNK = 512 * KiB;

export interface CommitOptions {
  /** The image whose backing file `top` is; its backing file becomes `base`. */
  overlay: Node;
  top: Node;
  base: Node;
  backingFile?: string | null;
  policies: ErrorPolicies;
}

interface CommitPiece extends Piece {
  zero: boolean;
}

/** The job for a `top` that is not the active layer (the active one is committed by a mirror into its base). */
export function commitDriver(options: CommitOptions): JobDriver {
  const { top, base, overlay } = options;
  let baseWasReadOnly = false;
  return {
    type: "commit",
    *run(job: Job): Op<void> {
      job.progress = { current: 0, total: top.size };
      baseWasReadOnly = base.readOnly;
      if (baseWasReadOnly) yield* drained(base, () => setWritable(base, true));
      if (base.size < top.size) yield* side("write", truncate(base, top.size, { preallocation: "off" }));
      let cursor = 0;
      let current = 0;
      yield* copyLoop<CommitPiece>(job, {
        policies: options.policies,
        batch: 4,
        *next() {
          while (cursor < top.size) {
            const offset = cursor;
            const limit = Math.min(alignDown(offset, CHUNK) + CHUNK, top.size) - offset;
            const status = yield* side("read", blockStatus(top, offset, limit, { base }));
            cursor = offset + status.length;
            if (status.allocated) return { offset, length: status.length, zero: status.zero };
            job.progress.current = current += status.length;
            yield* job.pausePoint();
          }
          return null;
        },
        *copy(piece) {
          yield* copyRange(top, base, piece);
          job.progress.current = current += piece.length;
        },
        failed(piece, outcome) {
          if (outcome === "skip") job.progress.current = current += piece.length;
        },
      });
      yield* side("write", flush(base));
    },
    *prepare(): Op<void> {
      yield* drained(overlay, () => takeOut(options));
    },
    *clean(): Op<void> {
      if (baseWasReadOnly && base.users.size === 0) yield* drained(base, () => setWritable(base, false));
    },
  };
}

function* copyRange(from: Node, to: Node, piece: CommitPiece): Op<void> {
  if (piece.zero) {
    yield* side("write", writeZeroes(to, piece.offset, piece.length, { mayUnmap: true }));
    return;
  }
  const bytes = new Uint8Array(piece.length);
  yield* side("read", read(from, bytes, piece.offset));
  yield* side("write", write(to, bytes, piece.offset));
}

function* takeOut(options: CommitOptions): Op<void> {
  const { overlay, base } = options;
  const impl = overlay.impl;
  const edge = overlay.children.find((child) => child.role === "backing");
  if (edge === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", `Node '${overlay.nodeName}' has no backing file any more`);
  if (impl.shape === "mapped" && impl.changeBackingFile !== undefined) {
    const wasReadOnly = overlay.readOnly;
    if (wasReadOnly) yield* setWritable(overlay, true);
    try {
      yield* impl.changeBackingFile(options.backingFile ?? base.filename, base.driver.name);
    } finally {
      if (wasReadOnly) yield* setWritable(overlay, false);
    }
  }
  const old = edge.node;
  overlay.redirect(edge, base.ref());
  yield* old.unref();
}
