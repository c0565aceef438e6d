/** Telling a debugging filter (blkdebug) below a format what the format is about to do. Costs nothing where there is none. */
import type { Node } from "./node.js";
import type { Op } from "./op.js";

/** `file` is the child that the requests go to, `event` one of QEMU's `BlkdebugEvent`s. */
export function* debugEvent(file: Node, event: string): Op<void> {
  const { debug } = file.impl;
  if (debug !== undefined) yield* debug.event(event);
}
