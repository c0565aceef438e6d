/** Option lists as -o and --image-opts take them: "driver=qcow2,file.filename=a,,b" with "," doubled inside values. */
import { toBlockError } from "../../base/error.js";
import type { BlockdevOptions } from "../../block/context.js";
import { flatten, optsToObject, parseOpts, unflatten } from "../../qapi/options.js";
import type { JsonObject } from "../../qapi/json.js";
import type { IoSession } from "./session.js";

/** Adds a list to `options`, dotted names as nested bags; returns what is wrong with it, or null. */
export function addOptions(session: IoSession, options: BlockdevOptions, text: string): string | null {
  try {
    const parsed = parseOpts(text);
    for (const warning of parsed.warnings) {
      // What to do about it comes on a line of its own, bare.
      const [what, ...hint] = warning.split("\n");
      session.report(`warning: ${what}`);
      for (const line of hint) session.output.writeError(`${line}\n`);
    }
    Object.assign(options, unflatten({ ...flatten(options as JsonObject), ...optsToObject(parsed) }, "keep"));
    return null;
  } catch (error) {
    return toBlockError(error).message;
  }
}
