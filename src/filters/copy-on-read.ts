/**
 * `copy-on-read`: what a read finds in a layer below is written into the filtered image, so that the next read finds it there.
 *
 * Only clusters that the image itself does not hold are copied, whole ones, zeros as zeros. With `bottom` copying ends at that
 * layer: what only the layers below it hold is read but not copied.
 */
import { BlockError } from "../base/error.js";
import { alignDown, alignUp } from "../base/int.js";
import type { OpenContext } from "../block/context.js";
import type { Driver } from "../block/driver.js";
import { below as layerBelow, skipFilters } from "../block/graph.js";
import { read, write, writeZeroes } from "../block/io.js";
import type { Child, Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { blockStatus, layerStatus } from "../block/status.js";
import { takeString } from "../block/take.js";
import { PassThrough } from "../block/pass-through.js";

/** Bytes that one copy moves at most. */
const MAX_COPY = 1024 * 1024;

class CopyOnRead extends PassThrough {
  /** The last layer whose content is copied; null: all are. */
  readonly #bottom: Node | null;

  constructor(child: Child, bottom: Node | null) {
    super(child);
    this.#bottom = bottom;
  }

  override *read(into: Uint8Array, offset: number): Op<void> {
    const top = this.below;
    if (top.readOnly || into.length === 0) {
      yield* read(top, into, offset);
      return;
    }
    const impl = skipFilters(top).impl;
    const unit = Math.max(
      impl.shape === "mapped" ? impl.allocationUnit : 1,
      top.impl.shape === "intercept" ? (top.impl.alignment ?? 1) : 1,
    );
    const end = offset + into.length;
    for (let at = offset; at < end;) {
      const start = alignDown(at, unit);
      const stop = Math.min(alignUp(end, unit), top.size);
      const found = yield* layerStatus(top, start, stop - start, false);
      const runEnd = start + found.length;
      if (found.allocated || !(yield* this.#copies(start, found.length))) {
        const part = into.subarray(at - offset, Math.min(runEnd, end) - offset);
        yield* read(top, part, at);
        at += part.length;
        continue;
      }
      // Not only what was asked for: the allocation takes a whole cluster in any case.
      const copyEnd = Math.min(
        Math.max(alignDown(Math.min(runEnd, start + MAX_COPY), unit), Math.min(start + unit, top.size)),
        top.size,
      );
      const copied = yield* this.#copy(top, start, copyEnd - start);
      const to = Math.min(copyEnd, end);
      into.set(copied.subarray(at - start, to - start), at - offset);
      at = to;
    }
  }

  /** Whether the layer that holds `offset` is one of those to copy from. */
  *#copies(offset: number, length: number): Op<boolean> {
    if (this.#bottom === null) return true;
    const base = layerBelow(skipFilters(this.#bottom));
    const found = yield* blockStatus(this.below, offset, length, { base, wantZero: false });
    return found.allocated;
  }

  /** Brings a range that the image does not hold into it, under its lease so that no write of the guest's is lost. */
  *#copy(top: Node, offset: number, length: number): Op<Uint8Array> {
    const bytes = new Uint8Array(length);
    const lease = yield* this.node.requests.acquire(offset, length, 1);
    try {
      yield* read(top, bytes, offset);
      const debug = top.impl.debug;
      if (debug !== undefined) yield* debug.event("cor_write");
      if (bytes.every((byte) => byte === 0)) yield* writeZeroes(top, offset, length);
      else yield* write(top, bytes, offset);
    } finally {
      this.node.requests.release(lease);
    }
    return bytes;
  }

  override *write(from: Uint8Array, offset: number, flags: Parameters<PassThrough["write"]>[2]): Op<void> {
    const lease = yield* this.node.requests.acquire(offset, from.length, 1);
    try {
      yield* super.write(from, offset, flags);
    } finally {
      this.node.requests.release(lease);
    }
  }
  override *writeZeroes(offset: number, length: number, flags: Parameters<PassThrough["writeZeroes"]>[2]): Op<void> {
    const lease = yield* this.node.requests.acquire(offset, length, 1);
    try {
      yield* super.writeZeroes(offset, length, flags);
    } finally {
      this.node.requests.release(lease);
    }
  }
}
export const copyOnRead: Driver = {
  name: "copy-on-read",
  category: "filter",
  runtimeOptions: ["file", "bottom"],
  *open(context: OpenContext) {
    const name = takeString(context.options, "bottom");
    const child = yield* context.openChild("file", "filtered");
    if (child.node.staysReadOnly)
      throw new BlockError("ERR_READ_ONLY", "Block node is read-only", { errno: "EPERM", node: child.node.nodeName });
    return new CopyOnRead(child, name === undefined ? null : findBottom(context, child.node, name));
  },
};

function findBottom(context: OpenContext, top: Node, name: string): Node {
  const bottom = context.environment.findNode?.(name) ?? null;
  if (bottom === null) throw new BlockError("ERR_NOT_FOUND", `Bottom node '${name}' not found`, { errno: "EINVAL" });
  if (layerBelow(bottom) === null)
    throw new BlockError("ERR_INVALID_ARGUMENT", `Bottom node '${name}' is not a backing file of the image`, { errno: "EINVAL" });
  for (let node: Node | null = top; node !== null; node = layerBelow(node)) if (node === bottom) return bottom;
  throw new BlockError("ERR_INVALID_ARGUMENT", `Bottom node '${name}' is not in the backing chain`, { errno: "EINVAL" });
}
