/** An existing node becomes the overlay of another one. */
import { struct, str } from "../../qapi/schema.js";
import { action, type Action } from "../action.js";
import { appendOverlay, checkOverlay } from "../overlay.js";

export const blockdevSnapshot: Action = action({
  type: "blockdev-snapshot",
  data: struct("BlockdevSnapshot", { node: str(), overlay: str() }),
  *prepare(core, { node, overlay }) {
    const old = core.any(node);
    const top = core.any(overlay);
    checkOverlay(top);
    return yield* appendOverlay(core, old, top);
  },
});
