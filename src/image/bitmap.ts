/** What can be done with the persistent dirty bitmaps of an image, in the order given (`qemu-img bitmap`). */
import { prefixError } from "../base/error.js";
import { addBitmap, clearBitmap, enableBitmap, mergeBitmaps, removeBitmap, renameBitmap } from "../block/named-bitmap.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";

export type BitmapAction =
  | { verb: "add"; granularity?: number | undefined; disabled?: boolean }
  | { verb: "remove" | "clear" | "enable" | "disable" }
  /** Ors the bitmap `source` into the one acted on. */
  | { verb: "merge"; source: string }
  | { verb: "rename"; to: string };

export interface BitmapRequest {
  /** Open read-write. */
  node: Node;
  /** Name of the bitmap. */
  bitmap: string;
  actions: readonly BitmapAction[];
  /** Image with the sources of merges; the same image when absent. */
  source?: Node;
}

/** @throws BlockError "Operation add on bitmap x failed: …"; earlier actions have been done then */
export function* changeBitmap(request: BitmapRequest): Op<void> {
  let { bitmap } = request;
  for (const action of request.actions) {
    try {
      yield* act(request, bitmap, action);
    } catch (error) {
      throw prefixError(`Operation ${action.verb} on bitmap ${bitmap} failed: `, error);
    }
    if (action.verb === "rename") bitmap = action.to;
  }
}

function* act({ node, source }: BitmapRequest, name: string, action: BitmapAction): Op<void> {
  switch (action.verb) {
    case "add":
      addBitmap(node, { name, granularity: action.granularity, persistent: true, disabled: action.disabled === true });
      return;
    case "remove":
      yield* removeBitmap(node, name);
      return;
    case "clear":
      clearBitmap(node, name);
      return;
    case "enable":
    case "disable":
      enableBitmap(node, name, action.verb === "enable");
      return;
    case "merge":
      yield* mergeBitmaps(node, name, [{ node: source ?? node, name: action.source }]);
      return;
    case "rename":
      renameBitmap(node, name, action.to);
      return;
  }
}
