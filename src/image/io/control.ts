/** Commands about the file as a whole, and `sleep`. */
import { strerror, toBlockError } from "../../base/error.js";
import { parseInteger } from "../../base/size.js";
import type { Preallocation } from "../../storage/storage.js";
import { readNumber, readRange } from "./arguments.js";
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
      await session.run(session.backend!.flush());
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
      await session.run(session.backend!.truncate(size, { preallocation: mode as Preallocation }));
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
    const range = readRange(session, parsed.operands[0]!, parsed.operands[1]!);
    if (range === null) return "failed";
    const { offset, length } = range;
    const given = new Set(parsed.options.map(([letter]) => letter));
    const started = performance.now();
    try {
      await session.run(session.backend!.discard(offset, length));
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
