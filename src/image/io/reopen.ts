/** `reopen`: other options for the open node. */
import { strerror } from "../../base/error.js";
import type { BlockdevOptions } from "../../block/context.js";
import { cacheMode, type CacheMode } from "./cache-mode.js";
import { readOptions, usage, type Command } from "./command.js";
import { addOptions } from "./option-words.js";

export interface ReopenRequest {
  options: BlockdevOptions;
  /** null: as it is. */
  write: boolean | null;
  cache: CacheMode | null;
}

export const reopenCommand: Command = {
  name: "reopen",
  min: 0,
  max: -1,
  usage: "[(-r|-w)] [-c cache] [-o options]",
  summary: "reopens an image with new options",
  help: [
    " Changes options of the open image.",
    "",
    " Example:",
    " 'reopen -o lazy-refcounts=on' - switches a qcow2 image to lazy refcounts",
    "",
    " -r, -- read-only from now on",
    " -w, -- read-write from now on",
    " -c, -- another cache mode",
    " -o, -- options of the block driver, as for open",
  ],
  async run(session, words) {
    const parsed = readOptions(session, reopenCommand, "c:o:rw", words);
    if (parsed === null) return "failed";
    let write: boolean | null = null;
    let cache: CacheMode | null = null;
    const options: BlockdevOptions = {};
    for (const [letter, argument] of parsed.options) {
      let problem: string | null = null;
      if (letter === "c") {
        cache = cacheMode(argument);
        if (cache === null) problem = `Invalid cache option: ${argument}`;
      } else if (letter === "o") {
        problem = addOptions(session, options, argument);
      } else if (write !== null) {
        problem = "Only one -r/-w option may be given";
      } else {
        write = letter === "w";
      }
      if (problem === null) continue;
      session.report(problem);
      return "failed";
    }
    if (parsed.operands.length > 0) return usage(session, reopenCommand) ?? "failed";
    if (write !== null && options["read-only"] !== undefined) {
      session.report("Cannot set both -r/-w and 'read-only'");
      return "failed";
    }
    const bag = options["cache"];
    if (cache !== null && typeof bag === "object" && bag !== null && ("direct" in bag || "no-flush" in bag)) {
      session.report("Cannot set both -c and the cache options");
      return "failed";
    }
    if (session.reopen === null) {
      session.report(strerror("ENOTSUP"));
      return "failed";
    }
    return (await session.reopen({ options, write, cache })) ? "done" : "failed";
  },
};
