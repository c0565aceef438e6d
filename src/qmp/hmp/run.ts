/** Running lines of the human monitor. */
import { toBlockError } from "../../base/error.js";
import type { Op } from "../../block/op.js";
import type { BlockCore } from "../command.js";
import { parseArguments } from "./arguments.js";
import type { HmpCommand, HmpOutput } from "./command.js";
import { humanCommandsOf } from "./commands.js";
import { helpLine, printHelp } from "./help.js";

const find = (commands: readonly HmpCommand[], name: string): HmpCommand | undefined =>
  commands.find((command) => command.name === name || command.alias === name);

/** Runs one line. Never throws: what goes wrong is printed. */
export function* runHmp(core: BlockCore, out: HmpOutput, line: string): Op<void> {
  const [, name = "", rest = ""] = /^\s*(\S*)(.*)$/s.exec(line)!;
  if (name === "" || name.startsWith("#")) return;
  if (name === "help" || name === "?") {
    printHelp(core, out, rest.trim());
    return;
  }
  const known = humanCommandsOf(core);
  let command = find(known.commands, name);
  let title = name;
  let words = rest;
  if (name === "info") {
    const [, item = "", more = ""] = /^\s*(\S*)(.*)$/s.exec(rest)!;
    if (item === "") {
      for (const each of known.info) out.print(helpLine(each, "info "));
      return;
    }
    command = find(known.info, item);
    title = `info ${item}`;
    words = more;
  }
  if (command === undefined) {
    out.print(`unknown command: '${title}'\n`);
    return;
  }
  let args;
  try {
    args = parseArguments(command, words);
  } catch (error) {
    out.print(`${toBlockError(error).message}\nTry "help ${title}" for more information\n`);
    return;
  }
  try {
    yield* command.run(core, out, args);
  } catch (error) {
    const { message, hint } = toBlockError(error);
    out.print(`Error: ${message}\n${hint === undefined ? "" : `${hint}\n`}`);
  }
}
