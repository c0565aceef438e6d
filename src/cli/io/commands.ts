/** Commands of the qemu-io program. */
import { commandTable, type Command } from "../../image/io/command.js";
import { NODE_COMMANDS } from "../../image/io/commands.js";
import { helpCommand } from "../../image/io/help.js";
import { closeCommand, openCommand, quitCommand } from "./open.js";
import { abortCommand, sigraiseCommand } from "./process-commands.js";
import type { ProgramSession } from "./session.js";

export const programCommands: ReadonlyMap<string, Command<ProgramSession>> = commandTable<ProgramSession>([
  ...NODE_COMMANDS,
  abortCommand,
  sigraiseCommand,
  openCommand,
  closeCommand,
  quitCommand,
  helpCommand(() => programCommands),
]);
