/** The commands of the human monitor: a new one is a line here. */
import type { BlockCore } from "../command.js";
import type { HmpCommand, HumanCommands } from "./command.js";
import { commit } from "./commands/commit.js";
import { blockResize, blockSetIoThrottle, change, driveAdd, driveDel, eject } from "./commands/drives.js";
import { infoBlock } from "./commands/info-block.js";
import { infoBlockJobs, infoBlockstats } from "./commands/info-statistics.js";
import {
  blockJobCancel,
  blockJobComplete,
  blockJobPause,
  blockJobResume,
  blockJobSetSpeed,
  blockStream,
} from "./commands/jobs.js";
import { driveBackup, driveMirror } from "./commands/copies.js";
import { cont, infoName, infoStatus, infoUuid, infoVersion, objectAdd, objectDel, quit, stop } from "./commands/machine.js";
import { nbdServerAdd, nbdServerRemove, nbdServerStart, nbdServerStop } from "./commands/nbd-server.js";
import { qemuIo } from "./commands/qemu-io.js";
import { snapshotBlkdev, snapshotBlkdevInternal, snapshotDeleteBlkdevInternal } from "./commands/snapshot-blkdev.js";
import { delvm, infoSnapshots, loadvm, savevm } from "./commands/vm-snapshots.js";

export const HMP_COMMANDS: readonly HmpCommand[] = [
  blockJobCancel,
  blockJobComplete,
  blockJobPause,
  blockJobResume,
  blockJobSetSpeed,
  blockResize,
  blockSetIoThrottle,
  blockStream,
  change,
  commit,
  cont,
  delvm,
  driveAdd,
  driveBackup,
  driveDel,
  driveMirror,
  eject,
  loadvm,
  nbdServerAdd,
  nbdServerRemove,
  nbdServerStart,
  nbdServerStop,
  objectAdd,
  objectDel,
  qemuIo,
  quit,
  savevm,
  snapshotBlkdev,
  snapshotBlkdevInternal,
  snapshotDeleteBlkdevInternal,
  stop,
];

/** After `info`. */
export const INFO_COMMANDS: readonly HmpCommand[] = [
  infoBlock,
  infoBlockJobs,
  infoBlockstats,
  infoSnapshots,
  infoName,
  infoStatus,
  infoUuid,
  infoVersion,
];

/** What the monitor of a BlockCore knows: the program's own commands first. */
export function humanCommandsOf({ humanCommands: own }: BlockCore): HumanCommands {
  return { commands: [...own.commands, ...HMP_COMMANDS], info: [...own.info, ...INFO_COMMANDS] };
}
