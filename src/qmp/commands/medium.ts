/** Trays and media of removable drives. */
import { BlockError } from "../../base/error.js";
import { bool, enumeration, optional, str, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { changeMedium as change, insertMedium, lockedError, openTray, removeMedium } from "../medium.js";

const which = { device: optional(str()), id: optional(str()) } as const;

export const eject: Command = command({
  name: "eject",
  since: "0.14",
  summary: "Takes the medium out of a drive; `force`: even if the guest has locked it in.",
  arguments: struct("eject-arg", { ...which, force: optional(bool()) }),
  arguments22: struct("eject-arg", { device: str(), force: optional(bool()) }),
  returns: null,
  *run(core, args) {
    if (openTray(core, args, args.force ?? false) === "locked") throw lockedError(args);
    yield* removeMedium(core, args);
  },
});

export const blockdevOpenTray: Command = command({
  name: "blockdev-open-tray",
  since: "2.5",
  summary: "Opens the tray of a drive; one that the guest has locked stays shut unless `force` is given.",
  arguments: struct("blockdev-open-tray-arg", { ...which, force: optional(bool()) }),
  returns: null,
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, args) {
    openTray(core, args, args.force ?? false);
  },
});

export const blockdevCloseTray: Command = command({
  name: "blockdev-close-tray",
  since: "2.5",
  summary: "Closes the tray of a drive.",
  arguments: struct("blockdev-close-tray-arg", which),
  returns: null,
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, args) {
    const device = core.devices.pick(args.device, args.id);
    if (!device.isRemovable)
      throw new BlockError("ERR_INVALID_ARGUMENT", `Device '${args.device ?? args.id ?? ""}' is not removable`);
    device.moveTray(false);
  },
});

export const blockdevRemoveMedium: Command = command({
  name: "blockdev-remove-medium",
  since: "2.12",
  summary: "Takes the medium out of a drive whose tray is open, or that has none.",
  arguments: struct("blockdev-remove-medium-arg", { id: str() }),
  returns: null,
  profiles: ["qemu-7.2"],
  run: (core, { id }) => removeMedium(core, { id }),
});

export const blockdevInsertMedium: Command = command({
  name: "blockdev-insert-medium",
  since: "2.12",
  summary: "Puts a node into a drive whose tray is open, or that has none.",
  arguments: struct("blockdev-insert-medium-arg", { id: str(), "node-name": str() }),
  returns: null,
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, args) {
    const device = core.devices.pick(undefined, args.id);
    const node = core.nodes.find(args["node-name"]);
    if (node === null)
      throw new BlockError("ERR_NOT_FOUND", `Node '${args["node-name"]}' not found`, { qmpClass: "GenericError" });
    if (core.deviceOf(node) !== null) throw new BlockError("ERR_BUSY", `Node '${args["node-name"]}' is already in use`);
    insertMedium(device, node);
  },
});

export const blockdevChangeMedium: Command = command({
  name: "blockdev-change-medium",
  since: "2.5",
  summary: "Opens a file and puts it into a drive in the place of what is there.",
  arguments: struct("blockdev-change-medium-arg", {
    ...which,
    filename: str(),
    format: optional(str()),
    force: optional(bool()),
    "read-only-mode": optional(enumeration("BlockdevChangeReadOnlyMode", ["retain", "read-only", "read-write"])),
  }),
  returns: null,
  profiles: ["qemu-7.2"],
  *run(core, args) {
    yield* change(core, args, {
      filename: args.filename,
      ...(args.format === undefined ? {} : { format: args.format }),
      readOnly: args["read-only-mode"] ?? "retain",
      force: args.force ?? false,
    });
  },
});

/** 2.2's way; it also set passwords of VNC displays, which there are none of. */
export const changeCommand: Command = command({
  name: "change",
  since: "0.14",
  summary: "Puts the file `target` into a drive, of the format `arg`.",
  arguments: struct("change-arg", { device: str(), target: str(), arg: optional(str()) }),
  returns: null,
  profiles: ["qemu-2.2"],
  *run(core, { device, target, arg }) {
    yield* change(
      core,
      { device },
      { filename: target, ...(arg === undefined ? {} : { format: arg }), readOnly: "retain", force: false },
    );
  },
});
