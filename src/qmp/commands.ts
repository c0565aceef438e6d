/** Every command: a new one is a file and a line here. */
import type { Command, Profile } from "./command.js";
import { blockCommit } from "./commands/block-commit.js";
import { blockExportAdd, blockExportDel, queryBlockExports } from "./commands/block-export.js";
import {
  blockJobCancel,
  blockJobComplete,
  blockJobDismiss,
  blockJobFinalize,
  blockJobPause,
  blockJobResume,
  blockJobSetSpeed,
} from "./commands/block-job-verbs.js";
import { blockResize } from "./commands/block-resize.js";
import { blockStream, blockStreamOld } from "./commands/block-stream.js";
import { blockdevAdd } from "./commands/blockdev-add.js";
import { blockdevCreate } from "./commands/blockdev-create.js";
import { blockdevDel } from "./commands/blockdev-del.js";
import { blockdevMirror } from "./commands/blockdev-mirror.js";
import { humanMonitorCommand } from "./commands/human-monitor-command.js";
import { deleteInternalSnapshot } from "./commands/blockdev-snapshot-delete-internal-sync.js";
import { blockLatencyHistogramSet } from "./commands/block-latency-histogram-set.js";
import { blockPasswd } from "./commands/block-passwd.js";
import { blockSetWriteThreshold } from "./commands/block-set-write-threshold.js";
import { blockdevReopen } from "./commands/blockdev-reopen.js";
import { addFd, closefd, getfd, queryFdsets, removeFd } from "./commands/fdset.js";
import { xBlockdevAmend } from "./commands/x-blockdev-amend.js";
import { xBlockdevSetIothread } from "./commands/x-blockdev-set-iothread.js";
import { xBlockdevChange } from "./commands/x-blockdev-change.js";
import { xDebugBlockDirtyBitmapSha256, xDebugQueryBlockGraph } from "./commands/x-debug.js";
import { blockSetIoThrottle } from "./commands/block-set-io-throttle.js";
import { cont, queryName, queryStatus, queryUuid, stop } from "./commands/machine.js";
import {
  blockdevChangeMedium,
  blockdevCloseTray,
  blockdevInsertMedium,
  blockdevOpenTray,
  blockdevRemoveMedium,
  changeCommand,
  eject,
} from "./commands/medium.js";
import { qomGet, qomList, qomSet } from "./commands/qom.js";
import { changeBackingFile } from "./commands/change-backing-file.js";
import { driveMirror } from "./commands/drive-mirror.js";
import { jobCancel, jobComplete, jobDismiss, jobFinalize, jobPause, jobResume } from "./commands/job-verbs.js";
import { nbdServerAdd, nbdServerRemove, nbdServerStart, nbdServerStop } from "./commands/nbd-server.js";
import { objectAdd, objectDel } from "./commands/object-add.js";
import { qmpCapabilities } from "./commands/qmp-capabilities.js";
import { queryBlock } from "./commands/query-block.js";
import { queryBlockJobs } from "./commands/query-block-jobs.js";
import { queryBlockstats } from "./commands/query-blockstats.js";
import { queryCommands } from "./commands/query-commands.js";
import { queryJobs } from "./commands/query-jobs.js";
import { queryNamedBlockNodes } from "./commands/query-named-block-nodes.js";
import { queryQmpSchema } from "./commands/query-qmp-schema.js";
import { queryVersion } from "./commands/query-version.js";
import { quit } from "./commands/quit.js";
import { SINGLE_ACTIONS, transaction } from "./commands/transaction.js";

export const COMMANDS: readonly Command[] = [
  transaction,
  objectDel,
  objectAdd,
  queryQmpSchema,
  quit,
  queryCommands,
  queryVersion,
  qmpCapabilities,
  queryBlockExports,
  blockExportDel,
  blockExportAdd,
  nbdServerStop,
  nbdServerRemove,
  nbdServerAdd,
  nbdServerStart,
  queryJobs,
  jobFinalize,
  jobDismiss,
  jobComplete,
  jobCancel,
  jobResume,
  jobPause,
  deleteInternalSnapshot,
  blockdevCreate,
  blockdevDel,
  blockdevAdd,
  blockJobFinalize,
  blockJobDismiss,
  blockJobComplete,
  blockJobResume,
  blockJobPause,
  blockJobCancel,
  blockJobSetSpeed,
  blockStream,
  blockStreamOld,
  blockdevMirror,
  driveMirror,
  queryNamedBlockNodes,
  blockCommit,
  changeBackingFile,
  blockResize,
  queryBlockJobs,
  queryBlockstats,
  humanMonitorCommand,
  queryBlock,
  stop,
  cont,
  queryStatus,
  queryName,
  queryUuid,
  eject,
  blockdevOpenTray,
  blockdevCloseTray,
  blockdevRemoveMedium,
  blockdevInsertMedium,
  blockdevChangeMedium,
  changeCommand,
  blockSetIoThrottle,
  blockLatencyHistogramSet,
  blockSetWriteThreshold,
  blockPasswd,
  blockdevReopen,
  xBlockdevChange,
  xBlockdevSetIothread,
  xBlockdevAmend,
  xDebugQueryBlockGraph,
  xDebugBlockDirtyBitmapSha256,
  addFd,
  removeFd,
  queryFdsets,
  getfd,
  closefd,
  qomList,
  qomGet,
  qomSet,
  ...SINGLE_ACTIONS,
];

const MODERN_ONLY: ReadonlySet<string> = new Set([
  "block-dirty-bitmap-add",
  "block-dirty-bitmap-remove",
  "block-dirty-bitmap-clear",
  "block-dirty-bitmap-enable",
  "block-dirty-bitmap-disable",
  "block-dirty-bitmap-merge",
  "blockdev-backup",
  "blockdev-snapshot",
  "blockdev-del",
]);
const known =
  (profile: Profile) =>
  (each: Command): boolean =>
    (each.profiles?.includes(profile) ?? true) && !(profile === "qemu-2.2" && MODERN_ONLY.has(each.name));
const LISTS: Record<Profile, readonly Command[]> = {
  "qemu-2.2": COMMANDS.filter(known("qemu-2.2")),
  "qemu-7.2": COMMANDS.filter(known("qemu-7.2")),
};

export function commandsOf(profile: Profile): readonly Command[] {
  return LISTS[profile];
}
export function findCommand(profile: Profile, name: string): Command | null {
  return LISTS[profile].find((each) => each.name === name) ?? null;
}
