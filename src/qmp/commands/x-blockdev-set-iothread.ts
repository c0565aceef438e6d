/** Moves a node to an I/O thread. There is one thread for all: what is asked for is checked, and then it is so. */
import { BlockError } from "../../base/error.js";
import { bool, optional, str, struct, nul, alternate } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

export const xBlockdevSetIothread: Command = command({
  name: "x-blockdev-set-iothread",
  since: "2.12",
  summary: "Moves a node to an I/O thread, or back. All nodes run in one thread here: checked, without other effect.",
  arguments: struct("x-blockdev-set-iothread-arg", {
    "node-name": str(),
    iothread: alternate("StrOrNull", { s: str(), n: nul() }),
    force: optional(bool()),
  }),
  returns: null,
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, args) {
    const name = args["node-name"];
    const node = core.nodes.find(name);
    if (node === null)
      throw new BlockError("ERR_NOT_FOUND", `Failed to find node with node-name='${name}'`, { qmpClass: "GenericError" });
    // A guest would go on with its requests in the old thread.
    if (args.force !== true && node.users.size > 0)
      throw new BlockError(
        "ERR_BUSY",
        `Node ${name} is associated with a BlockBackend and could be in use (use force=true to override this check)`,
      );
    const { iothread } = args;
    if (iothread !== null && core.objects.find(iothread)?.type !== "iothread")
      throw new BlockError("ERR_NOT_FOUND", `Cannot find iothread ${iothread}`, { qmpClass: "GenericError" });
  },
});
