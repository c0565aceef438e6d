/** Snapshots of one drive: in a new image above, or inside the image. */
import { BlockError } from "../../../base/error.js";
import { device, flag, given, maybe, text, word, type HmpCommand } from "../command.js";

export const snapshotBlkdev: HmpCommand = {
  name: "snapshot_blkdev",
  parameters: [flag("n", "reuse"), device, maybe(word("snapshot-file")), maybe(word("format"))],
  usage: "[-n] device [new-image-file] [format]",
  summary: "initiates a live snapshot of device: what is written from now on goes to the new image (-n: to one that exists)",
  *run(core, _out, args) {
    // There is no other way to take one yet.
    if (args["snapshot-file"] === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'snapshot-file' is missing");
    yield* core.perform(
      "blockdev-snapshot-sync",
      given({
        device: text(args, "device"),
        "snapshot-file": args["snapshot-file"],
        format: args["format"],
        mode: args["reuse"] === true ? "existing" : "absolute-paths",
      }),
    );
  },
};

export const snapshotBlkdevInternal: HmpCommand = {
  name: "snapshot_blkdev_internal",
  parameters: [device, word("name")],
  usage: "device name",
  summary: "take an internal snapshot of device",
  *run(core, _out, args) {
    yield* core.perform("blockdev-snapshot-internal-sync", { device: text(args, "device"), name: text(args, "name") });
  },
};

export const snapshotDeleteBlkdevInternal: HmpCommand = {
  name: "snapshot_delete_blkdev_internal",
  parameters: [device, word("name"), maybe(word("id"))],
  usage: "device name [id]",
  summary: "delete an internal snapshot of device; with an id the one of this name and id",
  *run(core, _out, args) {
    yield* core.perform(
      "blockdev-snapshot-delete-internal-sync",
      given({ device: text(args, "device"), name: args["name"], id: args["id"] }),
    );
  },
};
