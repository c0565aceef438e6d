/** What blockdev-mirror and drive-mirror have in common. */
import { BlockError, errnoError } from "../base/error.js";
import { isPowerOfTwo, MiB } from "../base/int.js";
import { skipFilters } from "../block/graph.js";
import type { Node } from "../block/node.js";
import { isReadBeside } from "../block/permissions.js";
import type { Op } from "../block/op.js";
import { mirrorClaims } from "../jobs/claims.js";
import { mirrorDriver, mirrorGranularity, type MirrorSync } from "../jobs/mirror.js";
import type { OnError } from "../jobs/job-io.js";
import { optional, bool, str, int64, toSafeNumber, uint32, type Members } from "../qapi/schema.js";
import type { BlockCore } from "./block-core.js";
import { chainContains } from "./commands/change-backing-file.js";
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
  "filter-node-name": optional(str()),
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
  "filter-node-name"?: string;
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
}

export function* startMirror(core: BlockCore, args: MirrorArguments, extra: MirrorExtra): Op<void> {
  const { source, target } = extra;
  checkMirror(args);
  core.checkFree(source);
  core.checkFree(target);
  let { sync } = args;
  if (sync === "top" && skipFilters(source).backing === null) sync = "full";
  let replaces: Node | null = null;
  if (args.replaces !== undefined) {
    replaces = nodeToReplace(core, source, args.replaces);
    if (replaces.size !== source.size)
      throw new BlockError("ERR_INVALID_ARGUMENT", "cannot replace image with a mirror image of different size");
  }
  if ((args["buf-size"] ?? 0) < 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Invalid parameter 'buf-size'");
  if (sync === "bitmap" || sync === "incremental") throw new BlockError("ERR_UNSUPPORTED", `Sync mode '${sync}' not supported`);
  if (skipFilters(source) === skipFilters(target)) throw new BlockError("ERR_INVALID_ARGUMENT", "Can't mirror node into itself");
  const id = core.jobs.idFor(args["job-id"], core.deviceOf(source)?.name ?? "");
  const { backing, driver: format } = skipFilters(target);
  const wholeGranules = sync !== "full" && backing === null && format.supportsBacking === true;
  const granularity = mirrorGranularity(target, args.granularity ?? 0, wholeGranules);
  const journal = yield* core.jobs.openJournal(id, { type: "mirror", size: source.size, granularity });
  const driver = mirrorDriver({
    source,
    target,
    sync,
    granularity,
    wholeGranules,
    ...(journal === null ? {} : { journal }),
    bufferSize: args["buf-size"] === undefined || args["buf-size"] === 0 ? DEFAULT_BUFFER : args["buf-size"],
    writeBlocking: args["copy-mode"] === "write-blocking",
    targetIsZero: extra.targetIsZero,
    unmap: extra.unmap,
    base: null,
    replaces,
    policies: core.jobs.policies(args["on-source-error"], args["on-target-error"]),
    *beforeReplace() {
      if (replaces !== null && !showsOnly(source, replaces)) {
        core.environment.report?.(
          `Can no longer replace '${replaces.nodeName}' by '${target.nodeName}', because it can no longer be guaranteed that doing ` +
            "so would not lead to an abrupt change of visible data",
        );
        throw errnoError("EPERM");
      }
      if (extra.beforeReplace !== undefined) yield* extra.beforeReplace();
    },
  });
  const job = yield* core.jobs.createWithFilter(
    {
      driver: "mirror_top",
      above: source,
      nodeName: args["filter-node-name"],
      serve: (child) => driver.serve(child),
    },
    {
      id,
      driver,
      speed: toSafeNumber(args.speed ?? 0, "speed"),
      autoFinalize: args["auto-finalize"],
      autoDismiss: args["auto-dismiss"],
      claims: (filter) => mirrorClaims(filter, source, target, chainContains(source, target)),
      nodes: replaces === null || replaces === source ? [source, target] : [source, target, replaces],
    },
  );
  core.jobs.start(job);
}

/** The node whose place the target may take: the source shows nothing but what that node does. */
function nodeToReplace(core: BlockCore, source: Node, name: string): Node {
  const node = core.nodes.find(name);
  if (node === null) throw new BlockError("ERR_NOT_FOUND", `Failed to find node with node-name='${name}'`);
  core.checkFree(node);
  if (!showsOnly(source, node)) {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      `Cannot replace '${name}' by a node mirrored from '${source.nodeName}', because it cannot be guaranteed that doing so would ` +
        "not lead to an abrupt change of visible data",
    );
  }
  return node;
}

/** `node` is where the data of `source` comes from: itself, through filters, or as a copy among those of a quorum that nobody else reads. */
function showsOnly(source: Node, node: Node): boolean {
  if (source === node) return true;
  if (source.driver.name !== "quorum") {
    return source.children.some((child) => child.role === "filtered" && showsOnly(child.node, node));
  }
  return source.children.some((child) => (child.node === node ? !isReadBeside(node, source) : showsOnly(child.node, node)));
}
