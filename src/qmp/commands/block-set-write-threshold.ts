/** Reports a write that goes far: so that a disk can be made larger in time. */
import { BlockError } from "../../base/error.js";
import { str, struct, toSafeNumber, uint64 } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

export const blockSetWriteThreshold: Command = command({
  name: "block-set-write-threshold",
  since: "2.3",
  summary: "Sends BLOCK_WRITE_THRESHOLD once when a write to the node reaches behind this offset; 0: never.",
  arguments: struct("block-set-write-threshold-arg", { "node-name": str(), "write-threshold": uint64() }),
  returns: null,
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, args) {
    const node = core.nodes.find(args["node-name"]);
    if (node === null)
      throw new BlockError("ERR_NOT_FOUND", `Device '${args["node-name"]}' not found`, { qmpClass: "GenericError" });
    node.writeThreshold = toSafeNumber(args["write-threshold"], "write-threshold");
  },
});
