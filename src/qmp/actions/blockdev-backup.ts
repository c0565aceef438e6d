/** A backup into a node. */
import { struct } from "../../qapi/schema.js";
import { action, type Action } from "../action.js";
import { backupMembers, prepareBackup, type BackupArguments } from "../start-backup.js";

export const blockdevBackup: Action = action({
  type: "blockdev-backup",
  data: struct("BlockdevBackup", backupMembers),
  *prepare(core, data, jobs) {
    const args = data as unknown as BackupArguments;
    const source = core.any(args.device);
    const target = core.any(args.target);
    return yield* prepareBackup(core, args, source, target, jobs);
  },
});
