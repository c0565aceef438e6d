/** Changing the medium of a drive: the tray, taking out, putting in. */
import { BlockError } from "../base/error.js";
import { READ_WRITE } from "../block/flags.js";
import type { Node } from "../block/node.js";
import { openNode } from "../block/open.js";
import type { Op } from "../block/op.js";
import type { BlockCore } from "./block-core.js";
import type { Device } from "./device.js";

/** `device` or `id`, as the commands take them. */
export interface Which {
  device?: string;
  id?: string;
}
const shown = (which: Which): string => which.id ?? which.device ?? "";

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

/** What came of asking for an open tray. */
export type TrayState = "open" | "none" | "locked";

/**
 * Opens the tray, unless the guest has locked it and `force` does not matter more.
 * @throws BlockError when the device is not for removable media
 */
export function openTray(core: BlockCore, which: Which, force: boolean): TrayState {
  const device = core.devices.pick(which.device, which.id);
  if (!device.isRemovable) throw fail(`Device '${shown(which)}' is not removable`);
  if (!device.hasTray) return "none";
  if (device.isTrayOpen) return "open";
  if (device.locked && !force) return "locked";
  device.moveTray(true);
  return "open";
}

export function* removeMedium(core: BlockCore, which: Which): Op<void> {
  const device = core.devices.pick(which.device, which.id);
  if (!device.isRemovable) throw fail(`Device '${shown(which)}' is not removable`);
  if (device.hasTray && !device.isTrayOpen) throw fail(`Tray of device '${shown(which)}' is not open`);
  const node = device.backend.root;
  if (node === null) return;
  core.checkFree(node);
  yield* core.exports.mediumGone(device.backend);
  device.rememberMedium();
  device.backend.quiesce();
  try {
    yield* device.backend.idle();
    yield* device.backend.close();
  } finally {
    device.backend.resume();
  }
}

/** Takes a reference to the node. */
export function insertMedium(device: Device, node: Node): void {
  if (!device.isRemovable) throw fail("Device is not removable");
  if (device.hasTray && !device.isTrayOpen) throw fail("Tray of the device is not open");
  if (device.backend.root !== null) throw fail("There already is a medium in the device");
  device.backend.insert(node);
}

export interface NewMedium {
  filename: string;
  format?: string;
  readOnly: "retain" | "read-only" | "read-write";
  /** Open the tray even if the guest has locked it. */
  force: boolean;
}

/** Another medium, by its file name: opened, then put in the place of the old one. */
export function* changeMedium(core: BlockCore, which: Which, medium: NewMedium): Op<void> {
  const device = core.devices.pick(which.device, which.id);
  device.rememberMedium();
  const { readOnly, detectZeroes, flags } = device.root;
  const write = medium.readOnly === "retain" ? !readOnly : medium.readOnly === "read-write";
  const node = yield* openNode(core.environment, {
    filename: medium.filename,
    ...(medium.format === undefined ? {} : { driver: medium.format }),
    options: { "detect-zeroes": detectZeroes === "off" ? "off" : "on" },
    flags: { ...READ_WRITE, ...flags, write },
  });
  core.nodes.held.add(node);
  try {
    if (openTray(core, which, medium.force) === "locked") throw lockedError(which);
    yield* removeMedium(core, which);
    insertMedium(device, node);
    device.moveTray(false);
  } finally {
    core.nodes.held.delete(node);
    yield* node.unref();
  }
}

export function lockedError(which: Which): BlockError {
  return new BlockError(
    "ERR_BUSY",
    `Device '${shown(which)}' is locked and force was not specified, wait for tray to open and try again`,
  );
}
