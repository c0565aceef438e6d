/** The commands there are. */
import { array } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { nameOnly } from "../schema/common.js";

export const queryCommands: Command = command({
  name: "query-commands",
  since: "0.14",
  summary: "Names of all commands.",
  arguments: null,
  returns: array(nameOnly),
  // eslint-disable-next-line require-yield
  *run(core) {
    return core.commands().map(({ name }) => ({ name }));
  },
});
