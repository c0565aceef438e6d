/** External snapshots: an overlay takes the place of a node, which becomes its backing file. */
import { BlockError } from "../base/error.js";
import { drained, replaceNode } from "../block/graph.js";
import { flush } from "../block/io.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { cumulativePermissions, Permission } from "../block/permissions.js";
import { setWritable } from "../block/reopen.js";
import type { BlockCore } from "./block-core.js";
import type { Prepared } from "./action.js";

export function checkOverlay(overlay: Node): void {
  if (overlay.users.size > 0) throw new BlockError("ERR_BUSY", "The overlay is already in use");
  if (overlay.backing !== null) throw new BlockError("ERR_INVALID_ARGUMENT", "The overlay already has a backing image");
  // One that nobody reads yet may be the target of a mirror.
  if ((cumulativePermissions(overlay).needed & Permission.consistentRead) !== 0)
    throw new BlockError("ERR_BUSY", "The overlay is already in use");
  if (overlay.driver.supportsBacking !== true)
    throw new BlockError("ERR_UNSUPPORTED", "The overlay does not support backing images");
}

/** Puts `overlay` on top of `old`, at once; `abort` takes it off again. */
export function* appendOverlay(core: BlockCore, old: Node, overlay: Node): Op<Prepared> {
  core.checkFree(old);
  const wasWritable = old.flags.write;
  yield* drained(old, function* (): Op<void> {
    if (wasWritable) yield* flush(old);
    overlay.attach("backing", "backing", old.ref());
    yield* replaceNode(old, overlay, (edge) => edge.parent === overlay);
  });
  return {
    *commit(): Op<void> {
      if (wasWritable) yield* drained(old, () => setWritable(old, false));
    },
    *abort(): Op<void> {
      yield* drained(overlay, function* (): Op<void> {
        overlay.ref();
        yield* replaceNode(overlay, old);
        overlay.detach("backing");
        yield* old.unref();
        yield* overlay.unref();
      });
    },
  };
}
