/** A bitmap goes, from the image at once; should the transaction fail, the image gets it again when it is closed. */
import { checkBitmap, removeFromImage } from "../../block/named-bitmap.js";
import { action, type Action } from "../action.js";
import { bitmapMembers, bitmapOf } from "../bitmap.js";

export const bitmapRemove: Action = action({
  type: "block-dirty-bitmap-remove",
  data: bitmapMembers,
  *prepare(core, data) {
    const bitmap = bitmapOf(core, data);
    checkBitmap(bitmap, { allowInconsistent: true });
    yield* removeFromImage(bitmap);
    // A snapshot in the same transaction stores what its base has.
    bitmap.skipStore = true;
    bitmap.busy = "transaction";
    return {
      // eslint-disable-next-line require-yield
      *commit() {
        bitmap.release();
      },
      // eslint-disable-next-line require-yield
      *abort() {
        bitmap.skipStore = false;
        bitmap.busy = null;
      },
    };
  },
});
