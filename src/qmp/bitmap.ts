/** Finding a dirty bitmap by node and name. */
import { BlockError } from "../base/error.js";
import { getBitmap, type NamedBitmap } from "../block/named-bitmap.js";
import { str, struct, type StructType } from "../qapi/schema.js";
import type { BlockCore } from "./block-core.js";

export const bitmapMembers: StructType<{ node: string; name: string }> = struct("BlockDirtyBitmap", { node: str(), name: str() });

export function bitmapOf(core: BlockCore, { node, name }: { node: string; name: string }): NamedBitmap {
  const found = core.devices.get(node)?.medium ?? core.nodes.find(node);
  if (found === null || found === undefined)
    throw new BlockError("ERR_NOT_FOUND", `Node '${node}' not found`, { qmpClass: "GenericError" });
  return getBitmap(found, name);
}
