/** Commands about the file as a whole or the program: flush, truncate, discard, breakpoints, sleep, abort, sigraise. */
import { strerror, toBlockError } from "../../base/error.js";
import { parseInteger } from "../../base/size.js";
import { discard, flush, truncate } from "../../block/io.js";
import type { Preallocation } from "../../storage/storage.js";
import { MAX_REQUEST, readNumber } from "./arguments.js";
import { readOptions, usage, type Command } from "./command.js";
import { ioReport } from "./report.js";

export const flushCommand: Command = {
  name: "flush",
  alias: "f",
  min: 0,
  max: 0,
  summary: "flush all in-core file state to disk",
  async run(session) {
    try {
      await session.run(flush(session.node!));
    } catch {
      // As the real program: a failed flush shows in the exit status only.
      return "failed";
    }
    return "done";
  },
};

const MODES: readonly string[] = ["off", "metadata", "falloc", "full"];

export const truncateCommand: Command = {
  name: "truncate",
  alias: "t",
  min: 1,
  max: 3,
  usage: "[-m prealloc_mode] off",
  summary: "truncates the current file at the given offset",
  writes: true,
  async run(session, words) {
    const parsed = readOptions(session, truncateCommand, "m:", words);
    if (parsed === null) return "failed";
    let mode = "off";
    for (const [, argument] of parsed.options) {
      mode = argument;
      if (MODES.includes(mode)) continue;
      session.report(`Invalid preallocation mode '${mode}'`);
      return "failed";
    }
    if (parsed.operands.length !== 1) return usage(session, truncateCommand) ?? "failed";
    const size = readNumber(session, parsed.operands[0]!);
    if (size === null) return "failed";
    try {
      await session.run(truncate(session.node!, size, { preallocation: mode as Preallocation }));
    } catch (error) {
      session.report(toBlockError(error).message);
      return "failed";
    }
    return "done";
  },
};

export const discardCommand: Command = {
  name: "discard",
  alias: "d",
  min: 2,
  max: -1,
  usage: "[-Cq] off len",
  summary: "discards a number of bytes at a specified offset",
  writes: true,
  help: [
    " Tells the image that a range is not needed any more.",
    "",
    " Example:",
    " 'discard 512 1k' - gives 1 KiB from offset 512 back",
    "",
    " -C, -- statistics as comma-separated values",
    " -q, -- print nothing but failures",
  ],
  async run(session, words) {
    const parsed = readOptions(session, discardCommand, "Cq", words);
    if (parsed === null) return "failed";
    if (parsed.operands.length !== 2) return usage(session, discardCommand) ?? "failed";
    const offset = readNumber(session, parsed.operands[0]!);
    if (offset === null) return "failed";
    const length = readNumber(session, parsed.operands[1]!);
    if (length === null) return "failed";
    if (length > MAX_REQUEST) {
      session.print(`length cannot exceed ${MAX_REQUEST}, given ${parsed.operands[1]!}\n`);
      return "failed";
    }
    const given = new Set(parsed.options.map(([letter]) => letter));
    const started = performance.now();
    try {
      await session.run(discard(session.node!, offset, length));
    } catch (error) {
      session.print(`discard failed: ${strerror(toBlockError(error).errno)}\n`);
      return "failed";
    }
    if (!given.has("q")) session.print(ioReport("discard", offset, length, performance.now() - started, given.has("C")));
    return "done";
  },
};

export const sleepCommand: Command = {
  name: "sleep",
  min: 1,
  max: 1,
  summary: "waits for the given value in milliseconds",
  withoutFile: true,
  async run(session, words) {
    const ms = parseInteger(words[0]!);
    if (typeof ms !== "bigint" || ms < 0n || ms > 2147483647n) {
      session.print(`${words[0]!} is not a valid number\n`);
      return "failed";
    }
    await new Promise<void>((resolve) => setTimeout(resolve, Number(ms)));
    return "done";
  },
};

/** Ends the process at once: nothing is flushed or closed. */
export const abortCommand: Command = {
  name: "abort",
  min: 0,
  max: 0,
  summary: "simulate a program crash using abort(3)",
  withoutFile: true,
  async run() {
    return die("SIGABRT");
  },
};

export const sigraiseCommand: Command = {
  name: "sigraise",
  min: 1,
  max: 1,
  usage: "signal",
  summary: "raises a signal",
  withoutFile: true,
  help: [" Sends the signal of the given number to the program itself.", "", " Example:", " 'sigraise 15' - raises SIGTERM"],
  async run(session, words) {
    const signal = readNumber(session, words[0]!);
    if (signal === null) return "failed";
    session.output.flush();
    return die(signal);
  },
};

async function die(signal: string | number): Promise<"done" | "failed"> {
  try {
    process.kill(process.pid, signal);
  } catch {
    // Not a signal of this system: raise(3) fails, and nobody looks at its result.
    return "done";
  }
  // A deadly signal takes the process before this comes back; the others leave it running.
  await new Promise<void>((resolve) => setTimeout(resolve, signal === "SIGABRT" ? 10000 : 20));
  return "done";
}
