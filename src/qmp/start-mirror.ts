/** What blockdev-mirror and drive-mirror have in common. */
import { BlockError } from "../base/error.js";
import { isPowerOfTwo, MiB } from "../base/int.js";
import { skipFilters } from "../block/graph.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { defaultGranularity, mirrorDriver, type MirrorSync } from "../jobs/mirror.js";
import type { OnError } from "../jobs/job-io.js";
import { optional, bool, str, int64, toSafeNumber, uint32, type Members } from "../qapi/schema.js";
import type { BlockCore } from "./block-core.js";
import { mirrorCopyMode, mirrorSync, onError } from "./schema/common.js";

export const mirrorMembers: Members = {
  "job-id": optional(str()),
  device: str(),
  target: str(),
  replaces: optional(str()),
  sync: mirrorSync,
  speed: optional(int64()),
  granularity: optional(uint32()),
  "buf-size": optional(int64()),
  "on-source-error": optional(onError),
  "on-target-error": optional(onError),
  "copy-mode": optional(mirrorCopyMode),
  "auto-finalize": optional(bool()),
  "auto-dismiss": optional(bool()),
};

export interface MirrorArguments {
  "job-id"?: string;
  device: string;
  replaces?: string;
  sync: MirrorSync;
  speed?: number;
  granularity?: number;
  "buf-size"?: number;
  "on-source-error"?: OnError;
  "on-target-error"?: OnError;
  "copy-mode"?: "background" | "write-blocking";
  "auto-finalize"?: boolean;
  "auto-dismiss"?: boolean;
}

export interface MirrorExtra {
  source: Node;
  target: Node;
  unmap: boolean;
  targetIsZero: boolean;
  beforeReplace?: () => Op<void>;
}

const DEFAULT_BUFFER: number = 16 * MiB;

export function checkMirror(args: MirrorArguments): void {
  const { granularity } = args;
  if (granularity !== undefined && granularity !== 0) {
    if (granularity < 512 || granularity > 64 * MiB)
      throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'granularity' expects a value in range [512B, 64MB]");
    if (!isPowerOfTwo(granularity)) throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'granularity' expects a power of 2");
  }
  if (args["copy-mode"] === "write-blocking")
    throw new BlockError("ERR_UNSUPPORTED", "Copy mode 'write-blocking' is not supported: use 'background'");
}

export function startMirror(core: BlockCore, args: MirrorArguments, extra: MirrorExtra): void {
  const { source, target } = extra;
  checkMirror(args);
  core.checkFree(source);
  core.checkFree(target);
  let { sync } = args;
  if (sync === "top" && skipFilters(source).backing === null) sync = "full";
  let replaces: Node | null = null;
  if (args.replaces !== undefined) {
    replaces = core.node(args.replaces);
    if (replaces.size !== source.size)
      throw new BlockError("ERR_INVALID_ARGUMENT", "cannot replace image with a mirror image of different size");
  }
  if ((args["buf-size"] ?? 0) < 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Invalid parameter 'buf-size'");
  if (sync === "bitmap" || sync === "incremental") throw new BlockError("ERR_UNSUPPORTED", `Sync mode '${sync}' not supported`);
  if (skipFilters(source) === skipFilters(target)) throw new BlockError("ERR_INVALID_ARGUMENT", "Can't mirror node into itself");
  const id = core.jobs.idFor(args["job-id"], core.deviceOf(source)?.name ?? "");
  const driver = mirrorDriver({
    source,
    target,
    sync,
    granularity:
      args.granularity === undefined || args.granularity === 0
        ? defaultGranularity(target.impl.blockInfo?.().clusterSize)
        : args.granularity,
    bufferSize: args["buf-size"] === undefined || args["buf-size"] === 0 ? DEFAULT_BUFFER : args["buf-size"],
    writeBlocking: false,
    targetIsZero: extra.targetIsZero,
    unmap: extra.unmap,
    base: null,
    replaces,
    policies: core.jobs.policies(args["on-source-error"], args["on-target-error"]),
    ...(extra.beforeReplace === undefined ? {} : { beforeReplace: extra.beforeReplace }),
  });
  const job = core.jobs.create({
    id,
    driver: {
      ...driver,
      *run(running): Op<void> {
        if (source.size !== target.size)
          throw new BlockError("ERR_INVALID_ARGUMENT", "Source and target image have different sizes");
        yield* driver.run(running);
      },
    },
    speed: toSafeNumber(args.speed ?? 0, "speed"),
    autoFinalize: args["auto-finalize"],
    autoDismiss: args["auto-dismiss"],
    nodes: replaces === null ? [source, target] : [source, target, replaces],
  });
  core.jobs.start(job);
}
