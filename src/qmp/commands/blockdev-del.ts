/** Gives up a node that blockdev-add made. */
import { BlockError } from "../../base/error.js";
import { str, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

export const blockdevDel: Command = command({
  name: "blockdev-del",
  since: "2.9",
  summary: "Deletes a node that was added with blockdev-add and that nobody uses.",
  arguments: struct("blockdev-del-arg", { "node-name": str() }),
  returns: null,
  *run(core, args) {
    const name = args["node-name"];
    const node = core.nodes.find(name);
    if (node === null) throw new BlockError("ERR_NOT_FOUND", `Failed to find node with node-name='${name}'`);
    if (node.users.size > 0) throw new BlockError("ERR_BUSY", `Node ${name} is in use`);
    core.checkFree(node);
    const above = [...node.parents].reverse().find(({ role }) => role === "backing");
    if (above !== undefined)
      throw new BlockError("ERR_BUSY", `Node '${name}' is busy: node is used as backing hd of '${above.parent.nodeName}'`);
    if (!core.nodes.owned.has(node)) throw new BlockError("ERR_INVALID_ARGUMENT", `Node ${name} is not owned by the monitor`);
    if (node.references > 1) throw new BlockError("ERR_BUSY", `Block device ${name} is in use`);
    core.nodes.owned.delete(node);
    yield* node.unref();
  },
});
