/** `help`: the commands there are, and how they are used. */
import type { HmpCommand, HmpOutput } from "./command.js";
import { HMP_COMMANDS, INFO_COMMANDS } from "./commands.js";

export function helpLine({ name, alias, usage, summary }: HmpCommand, prefix = ""): string {
  return `${prefix}${name}${alias === undefined ? "" : `|${alias}`} ${usage} -- ${summary}\n`;
}

/** All commands, or those that `topic` names. */
export function printHelp(out: HmpOutput, topic: string): void {
  const [first, second] = topic.split(/\s+/);
  if (first === "info") {
    for (const command of INFO_COMMANDS)
      if (second === undefined || command.name === second) out.print(helpLine(command, "info "));
    return;
  }
  for (const command of HMP_COMMANDS)
    if (first === "" || command.name === first || command.alias === first) out.print(helpLine(command));
  if (first === "") out.print("info [subcommand] -- show various information about the system state\n");
}
