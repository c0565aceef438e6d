/** Everything is clean again. */
import { checkBitmap } from "../../block/named-bitmap.js";
import { action, type Action } from "../action.js";
import { bitmapMembers, bitmapOf } from "../bitmap.js";

export const bitmapClear: Action = action({
  type: "block-dirty-bitmap-clear",
  data: bitmapMembers,
  *prepare(core, data) {
    const bitmap = bitmapOf(core, data);
    checkBitmap(bitmap);
    const before = (yield* bitmap.load()).copy();
    bitmap.clear();
    return {
      // eslint-disable-next-line require-yield
      *abort() {
        bitmap.replace(before);
      },
    };
  },
});
