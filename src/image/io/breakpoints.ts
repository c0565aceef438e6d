/** `break`, `remove_break`, `resume`, `wait_break`: stopping requests at named events of a driver that can (blkdebug). */
import { strerror, toBlockError } from "../../base/error.js";
import type { DebugEvents } from "../../block/driver.js";
import type { Node } from "../../block/node.js";
import type { Command } from "./command.js";

/** The nearest node at or below this one that has breakpoints. */
function debugEvents(node: Node): DebugEvents | null {
  for (let at: Node | null = node; at !== null; at = at.child("file") ?? at.child("image")) {
    if (at.impl.debug !== undefined) return at.impl.debug;
  }
  return null;
}

const unsupported: string = strerror("ENOTSUP");

export const breakCommand: Command = {
  name: "break",
  min: 2,
  max: 2,
  usage: "event tag",
  summary: "sets a breakpoint on event and tags the stopped request as tag",
  async run(session, words) {
    const events = debugEvents(session.node!);
    try {
      if (events !== null) {
        events.addBreakpoint(words[0]!, words[1]!);
        return "done";
      }
      session.print(`Could not set breakpoint: ${unsupported}\n`);
    } catch (error) {
      session.print(`Could not set breakpoint: ${strerror(toBlockError(error).errno)}\n`);
    }
    return "failed";
  },
};

export const removeBreakCommand: Command = {
  name: "remove_break",
  min: 1,
  max: 1,
  usage: "tag",
  summary: "remove a breakpoint by tag",
  async run(session, words) {
    const tag = words[0]!;
    const events = debugEvents(session.node!);
    if (events !== null && events.removeBreakpoint(tag)) return "done";
    session.print(`Could not remove breakpoint ${tag}: ${events === null ? unsupported : strerror("ENOENT")}\n`);
    return "failed";
  },
};

export const resumeCommand: Command = {
  name: "resume",
  min: 1,
  max: 1,
  usage: "tag",
  summary: "resumes the request tagged as tag",
  async run(session, words) {
    const events = debugEvents(session.node!);
    if (events !== null && events.resume(words[0]!)) {
      // Lets the request go on before the next command looks at the image.
      await new Promise<void>((resolve) => setTimeout(resolve, 0));
      return "done";
    }
    session.print(`Could not resume request: ${events === null ? unsupported : strerror("ENOENT")}\n`);
    return "failed";
  },
};

export const waitBreakCommand: Command = {
  name: "wait_break",
  min: 1,
  max: 1,
  usage: "tag",
  summary: "waits for the suspension of a request",
  async run(session, words) {
    const events = debugEvents(session.node!);
    if (events === null) {
      session.print(`Could not wait for a breakpoint: ${unsupported}\n`);
      return "failed";
    }
    while (!events.isSuspended(words[0]!)) await new Promise<void>((resolve) => setTimeout(resolve, 1));
    return "done";
  },
};
