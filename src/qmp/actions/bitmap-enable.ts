/** Bitmaps follow writes, or stop to. */
import { checkBitmap } from "../../block/named-bitmap.js";
import { action, type Action } from "../action.js";
import { bitmapMembers, bitmapOf } from "../bitmap.js";

const turn = (type: string, enabled: boolean): Action =>
  action({
    type,
    data: bitmapMembers,
    // eslint-disable-next-line require-yield
    *prepare(core, data) {
      const bitmap = bitmapOf(core, data);
      checkBitmap(bitmap, { allowReadOnly: true });
      const before = bitmap.enabled;
      bitmap.enabled = enabled;
      return {
        // eslint-disable-next-line require-yield
        *abort() {
          bitmap.enabled = before;
        },
      };
    },
  });

export const bitmapEnable: Action = turn("block-dirty-bitmap-enable", true);
export const bitmapDisable: Action = turn("block-dirty-bitmap-disable", false);
