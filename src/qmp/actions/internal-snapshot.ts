/** Snapshots inside an image. */
import { BlockError } from "../../base/error.js";
import { drained } from "../../block/graph.js";
import { flush } from "../../block/io.js";
import { struct, str } from "../../qapi/schema.js";
import { action, type Action } from "../action.js";

export const internalSnapshot: Action = action({
  type: "blockdev-snapshot-internal-sync",
  data: struct("BlockdevSnapshotInternal", { device: str(), name: str() }),
  *prepare(core, { device, name }) {
    const node = core.root(device);
    const shown = core.deviceOf(node)?.name ?? device;
    core.checkFree(node);
    if (node.readOnly) throw new BlockError("ERR_READ_ONLY", `Device '${shown}' is read only`);
    const impl = node.impl;
    const verbs = impl.shape === "mapped" ? impl.snapshots : undefined;
    if (verbs === undefined) {
      throw new BlockError(
        "ERR_UNSUPPORTED",
        `Block format '${node.driver.name}' used by device '${shown}' does not support internal snapshots`,
      );
    }
    if (name === "") throw new BlockError("ERR_INVALID_ARGUMENT", "Name is empty");
    if (verbs.list().some((snapshot) => snapshot.name === name))
      throw new BlockError("ERR_EXISTS", `Snapshot with name '${name}' already exists on device '${shown}'`);
    const now = core.environment.now();
    const dateSec = Math.floor(now / 1000);
    yield* drained(node, function* () {
      yield* flush(node);
      yield* verbs.create(name, {
        vmStateSize: 0,
        dateSec,
        dateNsec: Math.round((now - dateSec * 1000) * 1e6),
        vmClockNsec: 0,
      });
    });
    return {
      *abort() {
        const made = verbs.list().find((snapshot) => snapshot.name === name);
        if (made !== undefined) yield* verbs.remove(made);
      },
    };
  },
});
