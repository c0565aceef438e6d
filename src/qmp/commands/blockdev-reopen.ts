/** Changes options of nodes that are open. */
import { BlockError } from "../../base/error.js";
import type { BlockdevOptions } from "../../block/context.js";
import { reopenNodes } from "../../block/reopen-nodes.js";
import { array, struct, type UnionType } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { blockdevOptions } from "../schema/blockdev-options.js";

export const blockdevReopen: Command = command({
  name: "blockdev-reopen",
  since: "6.1",
  summary: "Gives nodes new options, all of them or none; what is left out goes back to its default, and children may be others.",
  arguments: struct("blockdev-reopen-arg", { options: array(blockdevOptions as UnionType<BlockdevOptions>) }),
  returns: null,
  profiles: ["qemu-7.2"],
  *run(core, { options }) {
    const requests = options.map((each) => {
      const name = each["node-name"];
      if (typeof name !== "string") throw new BlockError("ERR_INVALID_ARGUMENT", "node-name not specified");
      const node = core.nodes.find(name);
      if (node === null)
        throw new BlockError("ERR_NOT_FOUND", `Failed to find node with node-name='${name}'`, { qmpClass: "GenericError" });
      return { node, options: each };
    });
    yield* reopenNodes(requests);
  },
});
