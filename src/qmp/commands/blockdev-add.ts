/** Adds a node (and those below it) that the monitor owns. */
import { BlockError } from "../../base/error.js";
import type { BlockdevOptions } from "../../block/context.js";
import { READ_WRITE } from "../../block/flags.js";
import { openNode } from "../../block/open.js";
import { struct, type UnionType } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { blockdevOptions, blockdevOptions22 } from "../schema/blockdev-options.js";

export const blockdevAdd: Command = command({
  name: "blockdev-add",
  since: "1.7",
  summary: "Adds a block node, with its children inside or by name.",
  arguments: blockdevOptions as UnionType<BlockdevOptions>,
  arguments22: struct("blockdev-add-arg", { options: blockdevOptions22 as UnionType<BlockdevOptions> }),
  returns: null,
  *run(core, args) {
    if (core.profile === "qemu-2.2") {
      const { id, rerror, werror, aio, ...options } = args["options"] as BlockdevOptions;
      // Errors are reported to whoever made the request: there is no machine to stop, and none are hidden.
      refuseUnless("rerror", rerror, ["report"]);
      refuseUnless("werror", werror, ["report"]);
      refuseUnless("aio", aio, ["threads"]);
      if (typeof id !== "string") throw new BlockError("ERR_INVALID_ARGUMENT", "Block device needs an ID");
      if (core.devices.has(id)) throw new BlockError("ERR_EXISTS", `Device with id '${id}' already exists`);
      core.nodes.checkNames(options, (name) => core.devices.has(name));
      const node = yield* openNode(core.environment, { options, flags: READ_WRITE });
      core.addDevice(id, node);
      yield* node.unref();
      return;
    }
    const options = args as BlockdevOptions;
    if (options["node-name"] === undefined)
      throw new BlockError("ERR_INVALID_ARGUMENT", "'node-name' must be specified for the root node");
    core.nodes.checkNames(options, (name) => core.devices.has(name));
    core.nodes.owned.add(yield* openNode(core.environment, { options, flags: READ_WRITE }));
  },
});

/** An option that can only have the values that are true here. */
function refuseUnless(name: string, value: unknown, possible: readonly string[]): void {
  if (value === undefined || possible.includes(value as string)) return;
  throw new BlockError("ERR_UNSUPPORTED", `${name}=${String(value)} is not supported`, {
    hint: `Possible: ${possible.join(", ")}`,
  });
}
