/** The commands on an open node: those of qemu-io the program, and of the monitor's `qemu-io`. */
import { aioFlushCommand, aioReadCommand, aioWriteCommand } from "./aio.js";
import { allocCommand, mapCommand } from "./allocation.js";
import { breakCommand, removeBreakCommand, resumeCommand, waitBreakCommand } from "./breakpoints.js";
import { commandTable, type Command } from "./command.js";
import { discardCommand, flushCommand, sleepCommand, truncateCommand } from "./control.js";
import { helpCommand } from "./help.js";
import { readCommand, readvCommand } from "./read.js";
import { reopenCommand } from "./reopen.js";
import { infoCommand, lengthCommand } from "./status.js";
import { writeCommand, writevCommand } from "./write.js";

export const NODE_COMMANDS: readonly Command[] = [
  readCommand,
  readvCommand,
  writeCommand,
  writevCommand,
  aioReadCommand,
  aioWriteCommand,
  aioFlushCommand,
  flushCommand,
  truncateCommand,
  lengthCommand,
  infoCommand,
  discardCommand,
  allocCommand,
  mapCommand,
  reopenCommand,
  breakCommand,
  removeBreakCommand,
  resumeCommand,
  waitBreakCommand,
  sleepCommand,
];

/** For an already open node, with their help. */
export const nodeCommands: ReadonlyMap<string, Command> = commandTable([...NODE_COMMANDS, helpCommand(() => nodeCommands)]);
