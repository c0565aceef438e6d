/** `help`: the commands there are, and how they are used. */
import type { BlockCore } from "../command.js";
import type { HmpCommand, HmpOutput } from "./command.js";
import { humanCommandsOf } from "./commands.js";

export function helpLine({ name, alias, usage, summary }: HmpCommand, prefix = ""): string {
  return `${prefix}${name}${alias === undefined ? "" : `|${alias}`} ${usage} -- ${summary}\n`;
}

/** All commands, or those that `topic` names. */
export function printHelp(core: BlockCore, out: HmpOutput, topic: string): void {
  const known = humanCommandsOf(core);
  const [first, second] = topic.split(/\s+/);
  if (first === "info") {
    for (const command of known.info) if (second === undefined || command.name === second) out.print(helpLine(command, "info "));
    return;
  }
  for (const command of known.commands)
    if (first === "" || command.name === first || command.alias === first) out.print(helpLine(command));
  if (first === "") out.print("info [subcommand] -- show various information about the system state\n");
}
