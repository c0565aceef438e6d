/** Bitmaps are added to another one. */
import { checkBitmap, mergeBitmaps } from "../../block/named-bitmap.js";
import { alternate, array, str, struct } from "../../qapi/schema.js";
import { action, type Action } from "../action.js";
import { bitmapMembers, bitmapOf } from "../bitmap.js";

export const bitmapMerge: Action = action({
  type: "block-dirty-bitmap-merge",
  data: struct("BlockDirtyBitmapMerge", {
    node: str(),
    target: str(),
    bitmaps: array(alternate("BlockDirtyBitmapOrStr", { local: str(), external: bitmapMembers })),
  }),
  *prepare(core, data) {
    const target = bitmapOf(core, { node: data.node, name: data.target });
    checkBitmap(target);
    const before = (yield* target.load()).copy();
    const sources = data.bitmaps.map((source) =>
      typeof source === "string" ? { node: target.node, name: source } : { node: bitmapOf(core, source).node, name: source.name },
    );
    yield* mergeBitmaps(target.node, data.target, sources);
    return {
      // eslint-disable-next-line require-yield
      *abort() {
        target.replace(before);
      },
    };
  },
});
