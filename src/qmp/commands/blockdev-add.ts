/** Adds a node (and those below it) that the monitor owns. */
import { BlockError } from "../../base/error.js";
import type { BlockdevOptions, OpenFlags } from "../../block/context.js";
import type { ErrorPolicy } from "../../block/error-policy.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { openNode } from "../../block/open.js";
import { checkPermissions } from "../../block/permissions.js";
import { struct, type UnionType } from "../../qapi/schema.js";
import type { BlockCore } from "../command.js";
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
      // One thread pool serves either kind of aio.
      const { id, rerror, werror, aio: _aio, ...options } = args["options"] as BlockdevOptions;
      if (typeof id !== "string") throw new BlockError("ERR_INVALID_ARGUMENT", "Block device needs an ID");
      if (core.devices.has(id)) throw new BlockError("ERR_EXISTS", `Device with id '${id}' already exists`);
      if (rerror === "enospc") throw new BlockError("ERR_INVALID_ARGUMENT", "'enospc' invalid read error action");
      core.nodes.checkNames(options, (name) => core.devices.has(name));
      const node = yield* openPerhapsLocked(core, options, takeWriteback(options) ? {} : { writethrough: true });
      try {
        core.addDevice(id, node, {
          rerror: (rerror as ErrorPolicy | undefined) ?? "auto",
          werror: (werror as ErrorPolicy | undefined) ?? "auto",
        });
      } finally {
        yield* node.unref();
      }
      return;
    }
    const options = args as BlockdevOptions;
    if (options["node-name"] === undefined)
      throw new BlockError("ERR_INVALID_ARGUMENT", "'node-name' must be specified for the root node");
    core.nodes.checkNames(options, (name) => core.devices.has(name));
    core.nodes.owned.add(yield* openChecked(core, options));
  },
});

/** 2.2 has what belongs to the drive among the options of its node. */
function takeWriteback(options: BlockdevOptions): boolean {
  const { cache } = options;
  if (typeof cache !== "object" || cache === null) return true;
  const { writeback, ...rest } = cache as BlockdevOptions;
  options["cache"] = rest;
  return writeback !== false;
}

/** An encrypted image without its key: block_passwd brings it later. */
function* openPerhapsLocked(core: BlockCore, options: BlockdevOptions, flags: Partial<OpenFlags>): Op<Node> {
  try {
    return yield* openChecked(core, options, flags);
  } catch (error) {
    if (!(error instanceof BlockError) || error.code !== "ERR_ENCRYPTED") throw error;
    return yield* openChecked(core, options, { ...flags, noIO: true });
  }
}

/** Opens a node that does not get in the way of others who use the same nodes. */
function* openChecked(core: BlockCore, options: BlockdevOptions, flags: Partial<OpenFlags> = {}): Op<Node> {
  const node = yield* openNode(core.environment, { options, flags: core.openFlags(flags) });
  try {
    checkPermissions(node);
  } catch (error) {
    yield* node.unref();
    throw error;
  }
  return node;
}
