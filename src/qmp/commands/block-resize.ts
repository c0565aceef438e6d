/** Another size for a node in use. */
import { BlockError } from "../../base/error.js";
import { drained } from "../../block/graph.js";
import { truncate } from "../../block/io.js";
import { int64, optional, str, struct, toSafeNumber } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { dialectError } from "../profile.js";

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
    if (node.blockers.size > 0) throw dialectError(core.profile, "busy-device", `Device '${args.device ?? "(null)"}' is in use`);
    // The copy that a backup makes is of a disk of this size.
    const filter = node.parents.find(({ role, parent }) => role === "filtered" && parent.blockers.size > 0);
    if (filter !== undefined) {
      throw new BlockError(
        "ERR_BUSY",
        `Permission conflict on node '${node.nodeName}': permissions 'resize' are both required by an unnamed block device ` +
          `(uses node '${node.nodeName}' as 'root' child) and unshared by node '${filter.parent.nodeName}' ` +
          `(uses node '${node.nodeName}' as '${filter.name}' child).`,
      );
    }
    if (node.readOnly) throw new BlockError("ERR_READ_ONLY", "Image is read-only", { errno: "EACCES" });
    yield* drained(node, () => truncate(node, size, { preallocation: "off", exact: false }));
  },
});
