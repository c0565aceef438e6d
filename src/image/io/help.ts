/** `help`: one line for every command, or all about one. */
import { usageLine, type Command } from "./command.js";
import type { IoSession } from "./session.js";

/** The help command for a set of commands (of which it becomes one). */
export function helpCommand<S extends IoSession>(commands: () => ReadonlyMap<string, Command<S>>): Command {
  return {
    name: "help",
    alias: "?",
    min: 0,
    max: 1,
    usage: "[command]",
    summary: "help for one or all commands",
    withoutFile: true,
    async run(session, words) {
      const table = commands();
      const asked = words[0];
      if (asked === undefined) {
        const names = [...new Set([...table.values()].map((command) => command.name))].sort();
        for (const name of names) session.print(usageLine(table.get(name)!));
        session.print("\nUse 'help commandname' for extended help.\n");
        return "done";
      }
      const command = table.get(asked);
      if (command === undefined) {
        session.print(`command ${asked} not found\n`);
        return "done";
      }
      session.print(usageLine(command, asked));
      if (command.help !== undefined) session.print(`\n${command.help.join("\n")}\n\n`);
      return "done";
    },
  };
}
