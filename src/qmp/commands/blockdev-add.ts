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
      const { id, rerror: _rerror, werror: _werror, aio: _aio, ...options } = args["options"] as BlockdevOptions;
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
