/** Parents of formats in which only some images are changes to another one (VHD, VHDX, VDI). */
import { BlockError } from "../../base/error.js";
import type { Node } from "../../block/node.js";

/** The caller states the parent with the `backing` option. */
export function isParentGiven({ options }: Node): boolean {
  const { backing } = options;
  return backing !== undefined && backing !== null && backing !== "";
}

/** An image that is complete would hide whatever is put below it. */
export function refuseParent(node: Node): void {
  if (!isParentGiven(node)) return;
  throw new BlockError("ERR_INVALID_ARGUMENT", "The image is complete by itself: it cannot have a backing file", {
    errno: "EINVAL",
    node: node.nodeName,
  });
}
