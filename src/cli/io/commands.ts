/** All commands, in two sets: those on an open node (also behind the monitor's `qemu-io`), and those of the program. */
import { aioFlushCommand, aioReadCommand, aioWriteCommand } from "./aio.js";
import { allocCommand, mapCommand } from "./allocation.js";
import { breakCommand, removeBreakCommand, resumeCommand, waitBreakCommand } from "./breakpoints.js";
import { commandTable, type Command } from "./command.js";
import { abortCommand, discardCommand, flushCommand, sigraiseCommand, sleepCommand, truncateCommand } from "./control.js";
import { helpCommand } from "./help.js";
import { closeCommand, openCommand, quitCommand, reopenCommand } from "./open.js";
import { readCommand, readvCommand } from "./read.js";
import { infoCommand, lengthCommand } from "./status.js";
import { writeCommand, writevCommand } from "./write.js";

const onNode: readonly Command[] = [
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
  abortCommand,
  sigraiseCommand,
];

/** Commands for an already open node. */
export const nodeCommands: ReadonlyMap<string, Command> = commandTable([...onNode, helpCommand(() => nodeCommands)]);

/** Commands of the qemu-io program. */
export const programCommands: ReadonlyMap<string, Command> = commandTable([
  ...onNode,
  openCommand,
  closeCommand,
  quitCommand,
  helpCommand(() => programCommands),
]);
