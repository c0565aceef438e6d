/** Ends the negotiation of a connection: the server (server.ts) does that; after it the command has no meaning. */
import { BlockError } from "../../base/error.js";
import { array, enumeration, optional, struct, type StructType } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

export const capabilitiesArguments: StructType<{ enable?: string[] }> = struct("qmp_capabilities-arg", {
  enable: optional(array(enumeration("QMPCapability", ["oob"]))),
}) as never;

export const qmpCapabilities: Command = command({
  name: "qmp_capabilities",
  since: "0.13",
  summary: "The first command of a connection: says which capabilities are wanted.",
  arguments: capabilitiesArguments,
  returns: null,
  // eslint-disable-next-line require-yield
  *run() {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Capabilities negotiation is already complete, command ignored", {
      qmpClass: "CommandNotFound",
    });
  },
});
