/** A backup into a file, made for it. */
import { BlockError } from "../../base/error.js";
import { skipFilters } from "../../block/graph.js";
import type { Op } from "../../block/op.js";
import { optional, str, struct } from "../../qapi/schema.js";
import { action, type Action } from "../action.js";
import { openTarget } from "../create-target.js";
import { newImageMode } from "../schema/common.js";
import { backupMembers, prepareBackup, type BackupArguments } from "../start-backup.js";

export const driveBackup: Action = action({
  type: "drive-backup",
  data: struct("DriveBackup", { ...backupMembers, format: optional(str()), mode: optional(newImageMode) }),
  *prepare(core, data, jobs) {
    const args = { ...data } as unknown as BackupArguments & { format?: string; mode?: "existing" | "absolute-paths" };
    const source = core.any(args.device);
    core.checkFree(source);
    const mode = args.mode ?? "absolute-paths";
    const below = skipFilters(source).backing;
    if (args.sync === "top" && below === null) args.sync = "full";
    const backing = args.sync === "none" ? source : args.sync === "top" ? below : null;
    if (mode === "absolute-paths" && backing !== null && backing.filename === "")
      throw new BlockError("ERR_INVALID_ARGUMENT", `Node '${backing.nodeName}' has no file name`);
    const target = yield* openTarget(core, {
      filename: args.target,
      format: args.format ?? (mode === "existing" ? null : source.driver.name),
      mode,
      size: source.size,
      backing,
      flags: source.flags,
      openBacking: mode === "existing",
    });
    if (mode === "absolute-paths" && backing !== null && target.driver.supportsBacking === true)
      target.attach("backing", "backing", backing.ref());
    let prepared;
    try {
      prepared = yield* prepareBackup(core, args, source, target, jobs);
    } catch (error) {
      yield* target.unref();
      throw error;
    }
    // The job has a reference of its own.
    const { clean } = prepared;
    return {
      ...prepared,
      *clean(): Op<void> {
        if (clean !== undefined) yield* clean();
        yield* target.unref();
      },
    };
  },
});
