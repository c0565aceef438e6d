/** Statistics of devices or nodes. */
import { array, bool, optional, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { deviceStats, nodeStats } from "../describe-stats.js";
import { blockStatsType } from "../schema/results.js";

export const queryBlockstats: Command = command({
  name: "query-blockstats",
  since: "0.14",
  summary: "I/O statistics of all devices, or of all nodes with `query-nodes`.",
  arguments: struct("query-blockstats-arg", { "query-nodes": optional(bool()) }),
  arguments22: null,
  returns: array(blockStatsType),
  // eslint-disable-next-line require-yield
  *run(core, args) {
    if (args["query-nodes"] === true) return core.nodes.all().map((node) => nodeStats(core, node));
    const found: object[] = [];
    for (const device of core.devices.values())
      if (device.name !== "" || device.frontEnd !== null) found.push(deviceStats(core, device));
    return found;
  },
});
