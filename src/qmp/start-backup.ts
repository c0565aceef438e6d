/** What blockdev-backup and drive-backup have in common. */
import { BlockError } from "../base/error.js";
import { drained, skipFilters } from "../block/graph.js";
import { checkBitmap, findBitmap, type NamedBitmap } from "../block/named-bitmap.js";
import type { DirtyBitmap } from "../block/dirty-bitmap.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { backupClaims } from "../jobs/claims.js";
import { backupClusterSize, backupDriver, type BackupSync } from "../jobs/backup.js";
import type { Job } from "../jobs/job.js";
import type { OnError } from "../jobs/job-io.js";
import type { JobTransaction } from "../jobs/transaction.js";
import { bool, int64, optional, str, struct, toSafeNumber, type Members } from "../qapi/schema.js";
import type { BlockCore } from "./block-core.js";
import type { Prepared } from "./action.js";
import { bitmapSync, mirrorSync, onError } from "./schema/common.js";

/** Members of BackupPerf; copying inside one file system is the platform's own affair. */
const backupPerf = struct("BackupPerf", {
  "use-copy-range": optional(bool()),
  "max-workers": optional(int64()),
  "max-chunk": optional(int64()),
});

export const backupMembers: Members = {
  "job-id": optional(str()),
  device: str(),
  target: str(),
  sync: mirrorSync,
  speed: optional(int64()),
  bitmap: optional(str()),
  "bitmap-mode": optional(bitmapSync),
  compress: optional(bool()),
  "filter-node-name": optional(str()),
  "x-perf": optional(backupPerf),
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
  "filter-node-name"?: string;
  "x-perf"?: { "use-copy-range"?: boolean; "max-workers"?: number | bigint; "max-chunk"?: number | bigint };
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

/** How many clusters are copied at a time, and by how many bytes; checked as QEMU does. */
function performance(
  given: NonNullable<BackupArguments["x-perf"]>,
  clusterSize: number,
): { workers?: number; maxChunk?: number } {
  const workers = given["max-workers"];
  const chunk = given["max-chunk"];
  if (workers !== undefined && (workers < 1 || workers > 0x7fffffff)) throw fail("max-workers must be between 1 and 2147483647");
  if (chunk !== undefined && chunk < 0) throw fail("max-chunk must be zero (which means no limit) or positive");
  if (chunk !== undefined && chunk > 0 && chunk < clusterSize)
    throw fail(`Required max-chunk (${chunk}) is less than backup cluster size (${clusterSize})`);
  return {
    ...(workers === undefined ? {} : { workers: Number(workers) }),
    ...(chunk === undefined || chunk === 0 ? {} : { maxChunk: Number(chunk) }),
  };
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
  const { sync } = args;
  if (source.size !== target.size) throw fail("Source and target image sizes differ");
  const impl = target.impl;
  if (args.compress === true && !(impl.shape === "mapped" && impl.writeCompressed !== undefined)) {
    throw new BlockError(
      "ERR_UNSUPPORTED",
      `Compression is not supported for this drive ${core.deviceOf(target)?.name ?? ""}`.trimEnd(),
    );
  }
  const clusterSize = backupClusterSize(skipFilters(target).impl.blockInfo?.().clusterSize);
  const perf = performance(args["x-perf"] ?? {}, clusterSize);
  const id = core.jobs.idFor(args["job-id"], core.deviceOf(source)?.name ?? "");
  const byBitmap = sync === "bitmap" || sync === "incremental";
  const journal = yield* core.jobs.openJournal(id, { type: "backup", size: source.size, granularity: clusterSize });
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
    job = yield* drained(source, function* (): Op<Job> {
      const driver = backupDriver({
        source,
        target,
        sync,
        ...(byBitmap ? { bitmap: content! } : {}),
        compress: args.compress ?? false,
        clusterSize,
        ...perf,
        ...(journal === null ? {} : { journal }),
        policies: core.jobs.policies(args["on-source-error"], args["on-target-error"]),
        finished,
      });
      try {
        yield* driver.begin();
        return yield* core.jobs.createWithFilter(
          {
            driver: "copy-before-write",
            above: source,
            target,
            nodeName: args["filter-node-name"],
            serve: (child) => driver.serve(child),
          },
          {
            id,
            driver,
            speed: toSafeNumber(args.speed ?? 0, "speed"),
            autoFinalize: args["auto-finalize"],
            autoDismiss: args["auto-dismiss"],
            transaction: jobs,
            nodes: [target],
            claims: (filter) => backupClaims(filter, target),
          },
          "Could not create node: ",
        );
      } catch (error) {
        driver.forget();
        throw error;
      }
    });
  } catch (error) {
    used?.bitmap.reclaim();
    throw error;
  }
  // It begins while the disk is still drained, as in QEMU: it stands still until all actions are done.
  job.holdBack();
  return {
    // eslint-disable-next-line require-yield
    *commit(): Op<void> {
      core.jobs.start(job);
    },
    // eslint-disable-next-line require-yield
    *clean(): Op<void> {
      job.letGo();
    },
    // eslint-disable-next-line require-yield
    *abort(): Op<void> {
      job.cancel(true);
      core.jobs.start(job);
    },
  };
}
