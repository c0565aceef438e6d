/** Looking at an internal snapshot instead of the active disk. */
import { BlockError } from "../base/error.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import type { SnapshotInfo } from "../block/types.js";
import { optsToObject, parseOpts } from "../qapi/options.js";

/** "snapshot.id=…,snapshot.name=…", or a name or id alone. */
function findSnapshot(snapshots: readonly SnapshotInfo[], text: string): SnapshotInfo | undefined {
  if (text.startsWith("snapshot.")) {
    const options = optsToObject(parseOpts(text));
    const id = options["snapshot.id"];
    const name = options["snapshot.name"];
    for (const key of Object.keys(options)) {
      if (key !== "snapshot.id" && key !== "snapshot.name")
        throw new BlockError("ERR_INVALID_ARGUMENT", `Failed in parsing snapshot param '${text}'`);
    }
    return snapshots.find(
      (snapshot) => (id === undefined || snapshot.id === id) && (name === undefined || snapshot.name === name),
    );
  }
  return snapshots.find((snapshot) => snapshot.id === text) ?? snapshots.find((snapshot) => snapshot.name === text);
}

/** From now on the (read-only) node shows the snapshot. */
export function* loadSnapshot(node: Node, text: string): Op<void> {
  const impl = node.impl;
  const verbs = impl.shape === "mapped" ? impl.snapshots : undefined;
  if (verbs === undefined) {
    throw new BlockError(
      "ERR_UNSUPPORTED",
      `Failed to load snapshot: Block format '${node.driver.name}' used by device '' does not support temporarily loading internal snapshots`,
      { node: node.nodeName },
    );
  }
  const found = findSnapshot(verbs.list(), text);
  if (found === undefined)
    throw new BlockError("ERR_NOT_FOUND", "Failed to load snapshot: Can't find snapshot", { node: node.nodeName });
  yield* verbs.load(found);
}
