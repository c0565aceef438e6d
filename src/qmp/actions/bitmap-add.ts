/** A new dirty bitmap. */
import { addBitmap, removeBitmap } from "../../block/named-bitmap.js";
import { bool, optional, str, struct, uint32 } from "../../qapi/schema.js";
import { action, type Action } from "../action.js";

export const bitmapAdd: Action = action({
  type: "block-dirty-bitmap-add",
  data: struct("BlockDirtyBitmapAdd", {
    node: str(),
    name: str(),
    granularity: optional(uint32()),
    persistent: optional(bool()),
    disabled: optional(bool()),
  }),
  // eslint-disable-next-line require-yield
  *prepare(core, data) {
    const node = core.any(data.node);
    addBitmap(node, {
      name: data.name,
      granularity: data.granularity,
      persistent: data.persistent ?? false,
      disabled: data.disabled ?? false,
    });
    return { abort: () => removeBitmap(node, data.name) };
  },
});
