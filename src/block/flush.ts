/** From memory to the medium. */
import type { Node } from "./node.js";
import { StorageRequest, type Op } from "./op.js";

/** Everything written before is durable when this returns. */
export function* flush(node: Node): Op<void> {
  if (node.readOnly) return;
  const impl = node.impl;
  if (impl.shape === "storage") {
    if (!node.flags.noFlush) yield new StorageRequest(impl.storage, "flush");
    return;
  }
  const debug = node.child("file")?.impl.debug;
  if (debug !== undefined) {
    yield* debug.event("flush_to_os");
    if (impl.shape !== "mapped" || impl.tellsFlush !== true) yield* debug.event("flush_to_disk");
  }
  yield* impl.flush();
}
