/** Ends the program. */
import { command, type Command } from "../command.js";

export const quit: Command = command({
  name: "quit",
  since: "0.14",
  summary: "Ends the program, after jobs were cancelled and images closed.",
  arguments: null,
  returns: null,
  // eslint-disable-next-line require-yield
  *run(core) {
    core.onQuit();
  },
});
