/** The version of QEMU whose behaviour this is. */
import { str, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { versionTriple } from "../schema/common.js";
import { versionInfo } from "../version.js";

export const queryVersion: Command = command({
  name: "query-version",
  since: "0.14",
  summary: "The version of QEMU that is followed.",
  arguments: null,
  returns: struct("VersionInfo", { qemu: versionTriple, package: str() }),
  // eslint-disable-next-line require-yield
  *run(core) {
    return versionInfo(core.profile);
  },
});
