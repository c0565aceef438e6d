/** What blockdev-backup and drive-backup have in common. */
import { BlockError } from "../base/error.js";
import { drained, skipFilters } from "../block/graph.js";
import { checkBitmap, findBitmap, type NamedBitmap } from "../block/named-bitmap.js";
import type { DirtyBitmap } from "../block/dirty-bitmap.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { backupClusterSize, backupDriver, type BackupSync } from "../jobs/backup.js";
import type { Job } from "../jobs/job.js";
import type { OnError } from "../jobs/job-io.js";
import type { JobTransaction } from "../jobs/transaction.js";
import { bool, int64, optional, str, toSafeNumber, type Members } from "../qapi/schema.js";
import type { BlockCore } from "./block-core.js";
import type { Prepared } from "./action.js";
import { bitmapSync, mirrorSync, onError } from "./schema/common.js";

export const backupMembers: Members = {
  "job-id": optional(str()),
  device: str(),
  target: str(),
  sync: mirrorSync,
  speed: optional(int64()),
  bitmap: optional(str()),
  "bitmap-mode": optional(bitmapSync),
  compress: optional(bool()),
  "on-source-error": optional(onError),
  "on-target-error": optional(onError),
  "auto-finalize": optional(bool()),
  "auto-dismiss": optional(bool()),
};

type BitmapMode = "on-success" | "never" | "always";

export interface BackupArguments {
  "job-id"?: string;
  device: string;
  target: string;
  sync: BackupSync;
  speed?: number;
  bitmap?: string;
  "bitmap-mode"?: BitmapMode;
  compress?: boolean;
  "on-source-error"?: OnError;
  "on-target-error"?: OnError;
  "auto-finalize"?: boolean;
  "auto-dismiss"?: boolean;
}

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

function bitmapFor(source: Node, args: BackupArguments): { bitmap: NamedBitmap; mode: BitmapMode } | null {
  let mode = args["bitmap-mode"];
  if (args.sync === "incremental" || args.sync === "bitmap") {
    if (args.bitmap === undefined) throw fail(`must provide a valid bitmap name for '${args.sync}' sync mode`);
    if (args.sync === "incremental") {
      if (mode !== undefined && mode !== "on-success")
        throw fail("Bitmap sync mode must be 'on-success' when using sync mode 'incremental'");
      mode = "on-success";
    }
  }
  if (args.bitmap === undefined) {
    if (mode !== undefined) throw fail("Cannot specify bitmap sync mode without a bitmap");
    return null;
  }
  const bitmap = findBitmap(source, args.bitmap);
  if (bitmap === null) throw fail(`Bitmap '${args.bitmap}' could not be found`);
  if (mode === undefined) throw fail("Bitmap sync mode must be given when providing a bitmap");
  checkBitmap(bitmap, { allowReadOnly: mode === "never" });
  if (args.sync === "none") throw fail("sync mode 'none' does not produce meaningful bitmap outputs");
  if (args.sync !== "bitmap" && args.sync !== "incremental" && mode === "never") {
    throw fail(`Bitmap sync mode 'never' has no meaningful effect when combined with sync mode '${args.sync}'`);
  }
  return { bitmap, mode };
}

/** Makes the job; `commit` starts it. The copy is of the disk as it is now. */
export function* prepareBackup(
  core: BlockCore,
  args: BackupArguments,
  source: Node,
  target: Node,
  jobs: JobTransaction | undefined,
): Op<Prepared> {
  core.checkFree(source);
  core.checkFree(target);
  if (source === target) throw fail("Source and target cannot be the same");
  const used = bitmapFor(source, args);
  let { sync } = args;
  if (sync === "top" && skipFilters(source).backing === null) sync = "full";
  if (source.size !== target.size) throw fail("Source and target image sizes differ");
  const impl = target.impl;
  if (args.compress === true && !(impl.shape === "mapped" && impl.writeCompressed !== undefined)) {
    throw new BlockError(
      "ERR_UNSUPPORTED",
      `Compression is not supported for this drive ${core.deviceOf(target)?.name ?? ""}`.trimEnd(),
    );
  }
  const id = core.jobs.idFor(args["job-id"], core.deviceOf(source)?.name ?? "");
  const byBitmap = sync === "bitmap" || sync === "incremental";
  let content: DirtyBitmap | undefined;
  if (used !== null) {
    content = (yield* used.bitmap.load()).copy();
    used.bitmap.freeze("backup");
  }
  let job: Job;
  const finished = (success: boolean, remaining: DirtyBitmap): void => {
    if (used === null) return;
    const { bitmap, mode } = used;
    if (mode === "never" || (mode === "on-success" && !success)) bitmap.reclaim();
    else if (success) bitmap.abdicate();
    else {
      // Always: what was copied counts, the rest stays dirty.
      bitmap.abdicate();
      bitmap.bits.merge(remaining);
    }
  };
  try {
    // oxlint-disable-next-line require-yield
    job = yield* drained(source, function* (): Op<Job> {
      const driver = backupDriver({
        source,
        target,
        sync,
        ...(byBitmap ? { bitmap: content! } : {}),
        compress: args.compress ?? false,
        clusterSize: backupClusterSize(target.impl.blockInfo?.().clusterSize),
        policies: core.jobs.policies(args["on-source-error"], args["on-target-error"]),
        finished,
      });
      return core.jobs.create({
        id,
        driver,
        speed: toSafeNumber(args.speed ?? 0, "speed"),
        autoFinalize: args["auto-finalize"],
        autoDismiss: args["auto-dismiss"],
        transaction: jobs,
        nodes: [source, target],
      });
    });
  } catch (error) {
    used?.bitmap.reclaim();
    throw error;
  }
  return {
    // eslint-disable-next-line require-yield
    *commit(): Op<void> {
      core.jobs.start(job);
    },
    // eslint-disable-next-line require-yield
    *abort(): Op<void> {
      job.cancel(true);
      core.jobs.start(job);
    },
  };
}
