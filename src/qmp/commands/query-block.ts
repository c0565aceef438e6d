/** All devices. */
import { array } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { blockInfo } from "../describe.js";
import { blockInfoType } from "../schema/results.js";

export const queryBlock: Command = command({
  name: "query-block",
  since: "0.14",
  summary: "All devices, with the medium in each.",
  arguments: null,
  returns: array(blockInfoType),
  *run(core) {
    const infos: object[] = [];
    for (const device of core.devices.values())
      if (device.name !== "" || device.frontEnd !== null) infos.push(yield* blockInfo(core, device));
    return infos;
  },
});
