/**
 * THE chokepoint: every read and write of every node passes here, whatever the caller (API, CLI, QMP, job, format above).
 *
 * A read of a mapped node goes straight down: map → extents → per extent fill zeros, one storage read into the caller's
 * buffer, the backing node, or the format's `readSpecial`. A write plans with the format, moves its bytes, and commits.
 */
import { isZero } from "../base/bytes.js";
import type { WriteFlags } from "./driver.js";
import { flush } from "./flush.js";
import type { Node } from "./node.js";
import type { Op } from "./op.js";
import { checkRange } from "./read.js";
import { checkWritable, NO_FLAGS, noteWrite, writeUnchecked } from "./write.js";
import { discardUnchecked, zeroUnchecked } from "./zero.js";

export { flush } from "./flush.js";
export { read, readBytes, readPadded } from "./read.js";
export { truncate } from "./truncate.js";
export { writeGrow, writeLeased, zeroGrow } from "./write.js";

/** Writes `from` at guest offset `offset`; the range must lie inside the node. */
export function* write(node: Node, from: Uint8Array, offset: number, flags: WriteFlags = NO_FLAGS): Op<void> {
  checkWritable(node, "write");
  checkRange(node, offset, from.length, "write");
  if (from.length === 0) return;
  if (node.detectZeroes !== "off" && !flags.compressed && isZero(from)) {
    yield* writeZeroes(node, offset, from.length, { ...flags, mayUnmap: node.detectZeroes === "unmap" });
    return;
  }
  noteWrite(node, offset + from.length);
  yield* observed(node, offset, from.length, writeUnchecked(node, from, offset, flags));
  if (flags.fua || node.flags.writethrough) yield* flush(node);
}

/** A change of guest data, with those who want to hear of it before and after. */
function* observed(node: Node, offset: number, length: number, change: Op<void>): Op<void> {
  if (node.beforeWrite.size > 0) for (const hook of [...node.beforeWrite]) yield* hook(offset, length);
  try {
    yield* change;
  } finally {
    // Also those who began to listen while the change was under way.
    for (const listener of node.writeListeners) listener(offset, length);
  }
}

/** Makes a range read as zeros, as cheaply as the node can. */
export function* writeZeroes(node: Node, offset: number, length: number, flags: WriteFlags = NO_FLAGS): Op<void> {
  checkWritable(node, "write_zeroes");
  checkRange(node, offset, length, "write_zeroes");
  if (length === 0) return;
  if (flags.mayUnmap && !node.flags.unmap) flags = { ...flags, mayUnmap: false };
  noteWrite(node, offset + length);
  yield* observed(node, offset, length, zeroUnchecked(node, offset, length, flags));
  if (flags.fua || node.flags.writethrough) yield* flush(node);
}

/** Tells the node that the range is not needed any more. A hint: what cannot be given back stays. */
export function* discard(node: Node, offset: number, length: number): Op<void> {
  checkWritable(node, "discard");
  checkRange(node, offset, length, "discard");
  if (length === 0 || !node.flags.unmap) return;
  yield* observed(node, offset, length, discardUnchecked(node, offset, length));
}
