/** All nodes, the newest first. */
import { array, bool, optional, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { deviceInfo } from "../describe.js";
import { blockDeviceInfo } from "../schema/results.js";

export const queryNamedBlockNodes: Command = command({
  name: "query-named-block-nodes",
  since: "2.0",
  summary: "All nodes; `flat` leaves out what is said of backing files elsewhere.",
  arguments: struct("query-named-block-nodes-arg", { flat: optional(bool()) }),
  arguments22: null,
  returns: array(blockDeviceInfo),
  *run(core, args) {
    const infos: object[] = [];
    for (const node of [...core.nodes.all()].reverse()) infos.push(yield* deviceInfo(core, node, args.flat === true));
    return infos;
  },
});
