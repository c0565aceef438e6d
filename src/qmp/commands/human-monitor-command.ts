/** A command of the human monitor. */
import { int64, optional, str, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { runHmp } from "../hmp/run.js";

export const humanMonitorCommand: Command = command({
  name: "human-monitor-command",
  since: "0.14",
  summary: "Runs a command of the human monitor and returns what it prints: the commands about disks; `help` lists them.",
  arguments: struct("human-monitor-command-arg", { "command-line": str(), "cpu-index": optional(int64()) }),
  returns: str(),
  *run(core, args) {
    let text = "";
    yield* runHmp(core, { print: (printed) => void (text += printed) }, args["command-line"]);
    return text.replaceAll("\n", "\r\n");
  },
});
