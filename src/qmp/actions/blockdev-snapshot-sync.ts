/** A new image becomes the overlay of a node. */
import { BlockError, prefixError } from "../../base/error.js";
import { optional, struct, str } from "../../qapi/schema.js";
import { imageName } from "../../block/node-filename.js";
import { diskSize } from "../../block/sector.js";
import { action, type Action } from "../action.js";
import { openTarget } from "../create-target.js";
import { appendOverlay, checkOverlay } from "../overlay.js";
import { newImageMode } from "../schema/common.js";

export const blockdevSnapshotSync: Action = action({
  type: "blockdev-snapshot-sync",
  data: struct("BlockdevSnapshotSync", {
    device: optional(str()),
    "node-name": optional(str()),
    "snapshot-file": str(),
    "snapshot-node-name": optional(str()),
    format: optional(str()),
    mode: optional(newImageMode),
  }),
  *prepare(core, data) {
    const old = core.lookup(data.device, data["node-name"]);
    const name = data["snapshot-node-name"];
    if (data["node-name"] !== undefined && name === undefined)
      throw new BlockError("ERR_INVALID_ARGUMENT", "New overlay node-name missing");
    if (name !== undefined && (core.nodes.find(name) !== null || core.devices.has(name)))
      throw new BlockError("ERR_EXISTS", "New overlay node-name already in use");
    core.checkFree(old);
    const mode = data.mode ?? "absolute-paths";
    const filename = data["snapshot-file"];
    if (filename === imageName(old))
      throw new BlockError("ERR_INVALID_ARGUMENT", `The overlay '${filename}' cannot be the image itself`);
    const overlay = yield* openTarget(core, {
      filename,
      format: data.format ?? "qcow2",
      mode,
      size: diskSize(old),
      backing: old,
      nodeName: name,
      flags: old.flags,
      openBacking: false,
    });
    core.nodes.held.add(overlay);
    // What was made for a transaction that comes to nothing goes again.
    const removeFile = function* () {
      const file = overlay.child("file");
      const remove = mode === "absolute-paths" ? file?.driver.deleteFile : undefined;
      const path = file?.filename;
      core.nodes.held.delete(overlay);
      yield* overlay.unref();
      if (remove !== undefined && path !== undefined) {
        try {
          yield* remove(path);
        } catch (error) {
          core.environment.warn(prefixError(`Could not remove '${path}': `, error).message);
        }
      }
    };
    try {
      checkOverlay(overlay);
      const inner = yield* appendOverlay(core, old, overlay);
      return {
        *commit() {
          yield* inner.commit!();
          core.nodes.held.delete(overlay);
          // Whoever used the old node holds the overlay now.
          yield* overlay.unref();
        },
        *abort() {
          yield* inner.abort!();
          yield* removeFile();
        },
      };
    } catch (error) {
      yield* removeFile();
      throw error;
    }
  },
});
