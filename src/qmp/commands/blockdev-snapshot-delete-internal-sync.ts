/** Deletes a snapshot inside an image. */
import { BlockError } from "../../base/error.js";
import { drained } from "../../block/graph.js";
import { any, optional, str, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

export const deleteInternalSnapshot: Command = command({
  name: "blockdev-snapshot-delete-internal-sync",
  since: "1.7",
  summary: "Deletes a snapshot inside an image, by name, ID or both; answers what it was.",
  arguments: struct("blockdev-snapshot-delete-internal-sync-arg", { device: str(), id: optional(str()), name: optional(str()) }),
  returns: any(),
  *run(core, args) {
    const node = core.root(args.device);
    core.checkFree(node);
    if (args.id === undefined && args.name === undefined)
      throw new BlockError("ERR_INVALID_ARGUMENT", "Name or id must be provided");
    const impl = node.impl;
    const verbs = impl.shape === "mapped" ? impl.snapshots : undefined;
    const found = verbs
      ?.list()
      .find(
        (snapshot) =>
          (args.id === undefined || snapshot.id === args.id) && (args.name === undefined || snapshot.name === args.name),
      );
    if (verbs === undefined || found === undefined) {
      throw new BlockError(
        "ERR_NOT_FOUND",
        `Snapshot with id '${args.id ?? "null"}' and name '${args.name ?? "null"}' does not exist on device '${args.device}'`,
      );
    }
    yield* drained(node, () => verbs.remove(found));
    return { ...found };
  },
});
