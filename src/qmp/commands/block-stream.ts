/** Copies data from the backing chain into a node. */
import { BlockError } from "../../base/error.js";
import { below, drained, skipFilters } from "../../block/graph.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { setWritable, staysReadOnly } from "../../block/reopen.js";
import { findBackingImage } from "../../image/backing.js";
import type { JobFilterOptions } from "../../jobs/filter.js";
import { streamClaims } from "../../jobs/claims.js";
import { streamDriver } from "../../jobs/stream.js";
import { bool, int64, optional, str, struct, toSafeNumber } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import type { NewJob } from "../job-list.js";
import { dialectError } from "../profile.js";
import { onError } from "../schema/common.js";
import { chainContains } from "./change-backing-file.js";

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

export const blockStream: Command = command({
  name: "block-stream",
  since: "1.1",
  summary: "Starts a job that copies data from backing files into a node and then drops those backing files.",
  arguments: struct("block-stream-arg", {
    "job-id": optional(str()),
    device: str(),
    base: optional(str()),
    "base-node": optional(str()),
    "backing-file": optional(str()),
    bottom: optional(str()),
    speed: optional(int64()),
    "on-error": optional(onError),
    "filter-node-name": optional(str()),
    "auto-finalize": optional(bool()),
    "auto-dismiss": optional(bool()),
  }),
  returns: null,
  *run(core, args) {
    if (args.base !== undefined && args["base-node"] !== undefined)
      throw fail("'base' and 'base-node' cannot be specified at the same time");
    if (args.base !== undefined && args.bottom !== undefined)
      throw fail("'base' and 'bottom' cannot be specified at the same time");
    if (args.bottom !== undefined && args["base-node"] !== undefined)
      throw fail("'bottom' and 'base-node' cannot be specified at the same time");
    const top = core.any(args.device);
    let base: Node | null = null;
    if (args.base !== undefined) {
      base = findBackingImage(top, args.base);
      if (base === null) throw fail(`Can't find '${args.base}' in the backing chain`);
    } else if (args["base-node"] !== undefined) {
      base = core.node(args["base-node"]);
      if (base === top || !chainContains(top, base))
        throw fail(`Node '${args["base-node"]}' is not a backing image of '${args.device}'`);
    } else if (args.bottom !== undefined) {
      const bottom = core.node(args.bottom);
      if (bottom.driver.category === "filter") throw fail(`Node '${args.bottom}' is a filter, use a non-filter node as 'bottom'`);
      if (!chainContains(top, bottom)) throw fail(`Node '${args.bottom}' is not in a chain starting from '${args.device}'`);
      base = bottom.backing;
    }
    const touched: Node[] = [];
    for (let at: Node | null = top; at !== null && at !== base; at = below(at)) touched.push(at);
    for (const node of touched) core.checkFree(node);
    for (const node of touched.slice(1)) {
      // Other jobs take these out when they end.
      if (node.driver.name === "commit_top" || node.driver.name === "mirror_top")
        throw fail(`Cannot freeze 'backing' link to '${node.nodeName}'`);
    }
    if (base === null && args["backing-file"] !== undefined) throw fail("backing file specified, but streaming the entire chain");
    const id = core.jobs.idFor(args["job-id"], core.deviceOf(top)?.name ?? "");
    let driver;
    try {
      driver = streamDriver({
        top: skipFilters(top),
        base,
        ...(args["backing-file"] === undefined ? {} : { backingFile: args["backing-file"] }),
        policies: core.jobs.policies(args["on-error"], args["on-error"]),
      });
    } catch (error) {
      throw dialectError(core.profile, "not-supported", (error as Error).message);
    }
    const inner = driver;
    const image = skipFilters(top);
    if (staysReadOnly(image)) throw new BlockError("ERR_READ_ONLY", "Block node is read-only", { errno: "EACCES" });
    let wasReadOnly = false;
    const options: NewJob = {
      id,
      driver: {
        ...inner,
        // A layer in the middle of a chain is read-only but for the time of the job.
        *run(job): Op<void> {
          wasReadOnly = image.readOnly;
          if (wasReadOnly) yield* drained(image, () => setWritable(image, true));
          yield* inner.run(job);
        },
        *clean(job): Op<void> {
          if (inner.clean !== undefined) yield* inner.clean(job);
          if (wasReadOnly) yield* drained(image, () => setWritable(image, false));
        },
      },
      speed: args.speed === undefined ? 0 : toSafeNumber(args.speed, "speed"),
      autoFinalize: args["auto-finalize"],
      autoDismiss: args["auto-dismiss"],
      nodes: touched,
      claims: (filter) => streamClaims(filter, top, base),
    };
    const filter: JobFilterOptions = { driver: "copy-on-read", above: top, nodeName: args["filter-node-name"] };
    core.jobs.start(yield* core.jobs.createWithFilter(filter, options, "Could not create node: "));
  },
});

/** The spelling of the first proposal. */
export const blockStreamOld: Command = {
  ...blockStream,
  name: "block_stream",
  summary: "Another spelling of block-stream.",
  profiles: ["qemu-2.2"],
};
