/** `open`, `close`, `quit`: which image the other commands act on. */
import { toBlockError } from "../../base/error.js";
import { readOptions, usage, type Command } from "../../image/io/command.js";
import { addOptions } from "../../image/io/option-words.js";
import { applyOpenOption, newRequest, openSession } from "./opening.js";
import type { ProgramSession } from "./session.js";

export const openCommand: Command<ProgramSession> = {
  name: "open",
  alias: "o",
  min: 1,
  max: -1,
  usage: "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
  summary: "open the file specified by path",
  withoutFile: true,
  help: [
    " Opens an image for the commands that follow.",
    "",
    " Example:",
    " 'open -n -o driver=raw /tmp/data' - opens raw data read-write, past the host's cache",
    "",
    " -r, -- read-only",
    " -s, -- writes go to a temporary overlay",
    " -C, -- copy-on-read",
    " -n, -- past the host's cache (as -t none)",
    " -U, -- accept other programs that use the image",
    " -k, -- native AIO (as -i native)",
    " -i, -- AIO mode: threads, native or io_uring",
    " -t, -- cache mode",
    " -d, -- discard mode",
    " -o, -- options of the block driver",
  ],
  async run(session, words) {
    const parsed = readOptions(session, openCommand, "snCro:ki:t:d:U", words);
    if (parsed === null) return "failed";
    const request = newRequest();
    for (const [letter, argument] of parsed.options) {
      const problem =
        letter === "o" ? addOptions(session, request.options, argument) : applyOpenOption(request, letter, argument);
      if (problem === null) continue;
      session.report(problem);
      return "failed";
    }
    if (parsed.operands.length > 1) return usage(session, openCommand) ?? "failed";
    const name = parsed.operands[0];
    if (name !== undefined && session.imageOptions) {
      const problem = parsed.options.some(([letter]) => letter === "o")
        ? "Can't use 'open' with options and --image-opts"
        : addOptions(session, request.options, name);
      if (problem !== null) {
        session.report(problem);
        return "failed";
      }
    } else if (name !== undefined) {
      request.filename = name;
    }
    return (await openSession(session, request)) ? "done" : "failed";
  },
};

export const closeCommand: Command<ProgramSession> = {
  name: "close",
  alias: "c",
  min: 0,
  max: 0,
  summary: "close the current open file",
  async run(session) {
    try {
      await session.close();
      return "done";
    } catch (error) {
      session.report(toBlockError(error).message);
      return "failed";
    }
  },
};

export const quitCommand: Command<ProgramSession> = {
  name: "quit",
  alias: "q",
  min: 0,
  max: -1,
  summary: "exit the program",
  withoutFile: true,
  async run(session) {
    session.done = true;
    return "done";
  },
};
