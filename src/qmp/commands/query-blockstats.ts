/** Statistics of devices or nodes. */
import { array, bool, optional, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { nodeStats } from "../describe.js";
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
    for (const { backend, name } of core.devices.values()) {
      if (backend.root !== null) found.push({ device: name, ...nodeStats(core, backend.root, backend.statistics, true) });
    }
    return found;
  },
});
