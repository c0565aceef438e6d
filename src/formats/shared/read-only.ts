/** Formats that QEMU and we only read. */
import { BlockError } from "../../base/error.js";
import type { OpenContext } from "../../block/context.js";

/** Refuses to open an image for writing whose format cannot be written. */
export function refuseWrite(context: OpenContext): void {
  if (context.flags.write)
    throw new BlockError("ERR_READ_ONLY", "Image is read-only", { errno: "EACCES", node: context.node.nodeName });
}
