/** A bitmap goes, from the image too. Only when the transaction is sure. */
import { checkBitmap, removeBitmap } from "../../block/named-bitmap.js";
import { action, type Action } from "../action.js";
import { bitmapMembers, bitmapOf } from "../bitmap.js";

export const bitmapRemove: Action = action({
  type: "block-dirty-bitmap-remove",
  data: bitmapMembers,
  // eslint-disable-next-line require-yield
  *prepare(core, data) {
    const bitmap = bitmapOf(core, data);
    checkBitmap(bitmap, { allowInconsistent: true });
    return { commit: () => removeBitmap(bitmap.node, data.name) };
  },
});
