/** Writes data of upper layers down into a lower one. */
import { BlockError } from "../../base/error.js";
import { below, skipFilters } from "../../block/graph.js";
import type { Node } from "../../block/node.js";
import { Permission, type Permissions } from "../../block/permissions.js";
import { staysReadOnly } from "../../block/reopen.js";
import { findBackingImage, findLayer } from "../../image/backing.js";
import { commitClaims, mirrorClaims } from "../../jobs/claims.js";
import { commitDriver } from "../../jobs/commit.js";
import { activeCommitDriver, activeCommitGranularity } from "../../jobs/commit-active.js";
import type { JobFilterOptions } from "../../jobs/filter.js";
import type { JobDriver } from "../../jobs/job.js";
import { bool, int64, optional, str, struct, toSafeNumber } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import type { NewJob } from "../job-list.js";
import { onError } from "../schema/common.js";
import { chainContains } from "./change-backing-file.js";

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

export const blockCommit: Command = command({
  name: "block-commit",
  since: "1.3",
  summary:
    "Starts a job that writes the data between `base` and `top` into `base`; with the active layer as `top` it waits for job-complete.",
  arguments: struct("block-commit-arg", {
    "job-id": optional(str()),
    device: str(),
    "base-node": optional(str()),
    base: optional(str()),
    "top-node": optional(str()),
    top: optional(str()),
    "backing-file": optional(str()),
    speed: optional(int64()),
    "on-error": optional(onError),
    "filter-node-name": optional(str()),
    "auto-finalize": optional(bool()),
    "auto-dismiss": optional(bool()),
  }),
  returns: null,
  *run(core, args) {
    const active = core.devices.get(args.device)?.backend.root ?? core.nodes.find(args.device);
    if (active === null || active === undefined)
      throw new BlockError("ERR_NOT_FOUND", `Device '${args.device}' not found`, { qmpClass: "DeviceNotFound" });
    if (active.parents.length > 0) throw fail("Need a root block node");
    core.checkFree(active);
    if (args["top-node"] !== undefined && args.top !== undefined) throw fail("'top-node' and 'top' are mutually exclusive");
    if (args["base-node"] !== undefined && args.base !== undefined) throw fail("'base-node' and 'base' are mutually exclusive");
    let top: Node = active;
    if (args["top-node"] !== undefined) {
      top = core.node(args["top-node"]);
      if (!chainContains(active, top)) throw fail(`'${args["top-node"]}' is not in this backing file chain`);
    } else if (args.top !== undefined && args.top !== active.filename) {
      const found = findBackingImage(active, args.top) ?? findLayer(active, args.top);
      if (found === null) throw fail(`Top image file ${args.top} not found`);
      top = found;
    }
    let base: Node | null;
    if (args["base-node"] !== undefined) {
      base = core.node(args["base-node"]);
      if (!chainContains(top, base)) throw fail(`'${args["base-node"]}' is not in this backing file chain`);
    } else if (args.base !== undefined) {
      base = findBackingImage(top, args.base);
      if (base === null) throw fail(`Can't find '${args.base}' in the backing chain`);
    } else {
      base = top;
      for (let next = below(base); next !== null; next = below(base)) base = next;
    }
    const touched: Node[] = [];
    for (let at: Node | null = top; at !== null; at = below(at)) {
      touched.push(at);
      if (at === base) break;
    }
    for (const node of touched) core.checkFree(node);
    if (top === base) throw fail("cannot commit an image into itself");
    const layer = base;
    const policies = core.jobs.policies(args["on-error"], args["on-error"]);
    const id = core.jobs.idFor(args["job-id"], core.deviceOf(active)?.name ?? "");
    const nodeName = args["filter-node-name"];
    let driver: JobDriver;
    let filter: JobFilterOptions;
    let claims: NonNullable<NewJob["claims"]>;
    const backingFile = args["backing-file"];
    if (skipFilters(top) === skipFilters(active)) {
      if (backingFile !== undefined) throw fail("'backing-file' specified, but 'top' is the active layer");
      const journal = yield* core.jobs.openJournal(id, {
        type: "commit",
        size: top.size,
        granularity: activeCommitGranularity(base),
      });
      const mirror = activeCommitDriver(top, base, policies, journal ?? undefined);
      driver = mirror;
      // The source makes no sense by itself while its base changes; and who does not let others write to it keeps this job from doing so.
      const permissions = ({ needed, shared }: Permissions): Permissions => ({
        needed: needed & ~Permission.consistentRead,
        shared: shared | Permission.write,
      });
      filter = { driver: "mirror_top", above: top, nodeName, permissions, serve: (child) => mirror.serve(child) };
      claims = (node) => mirrorClaims(node, top, layer, true);
    } else {
      if (core.jobs.journals.has(id))
        throw new BlockError(
          "ERR_UNSUPPORTED",
          "A commit below the active layer keeps no journal: started again it does the same",
        );
      core.checkFree(overlayOf(active, top));
      // The active layer is not touched, but jobs on it could take away what is.
      touched.unshift(active);
      const commit = commitDriver({
        top,
        base,
        ...(backingFile === undefined ? {} : { backingFile }),
        policies,
      });
      driver = commit;
      claims = () => commitClaims(active, top, layer);
      filter = { driver: "commit_top", above: top, nodeName, serve: (child) => commit.serve(child) };
    }
    core.jobs.start(
      yield* core.jobs.createWithFilter(filter, {
        id,
        driver,
        speed: args.speed === undefined ? 0 : toSafeNumber(args.speed, "speed"),
        autoFinalize: args["auto-finalize"],
        autoDismiss: args["auto-dismiss"],
        nodes: touched,
        claims,
        ...(staysReadOnly(base)
          ? { refusal: new BlockError("ERR_READ_ONLY", "Block node is read-only", { errno: "EACCES" }) }
          : {}),
      }),
    );
  },
});

/** The image right above `top`, whose header will name another backing file. */
function overlayOf(active: Node, top: Node): Node {
  let overlay = active;
  for (let at: Node | null = active; at !== null && at !== top; at = below(at)) if (at.driver.category !== "filter") overlay = at;
  return overlay;
}
