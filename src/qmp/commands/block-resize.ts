/** Another size for a node in use. */
import { BlockError } from "../../base/error.js";
import { drained } from "../../block/graph.js";
import { truncate } from "../../block/io.js";
import { int64, optional, str, struct, toSafeNumber } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

export const blockResize: Command = command({
  name: "block_resize",
  since: "0.14",
  summary: "Changes the size of a disk in use, in bytes.",
  arguments: struct("block_resize-arg", { device: optional(str()), "node-name": optional(str()), size: int64() }),
  returns: null,
  *run(core, args) {
    const node = core.lookup(args.device, args["node-name"]);
    if (args.size < 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'size' expects a >0 size");
    const size = toSafeNumber(args.size, "size");
    core.checkFree(node);
    if (node.readOnly) throw new BlockError("ERR_READ_ONLY", "Image is read-only", { errno: "EACCES" });
    yield* drained(node, () => truncate(node, size, { preallocation: "off", exact: false }));
  },
});
