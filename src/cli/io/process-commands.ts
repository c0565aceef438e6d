/** `abort` and `sigraise`: ways for the program to end. */
import { readNumber } from "../../image/io/arguments.js";
import type { Command } from "../../image/io/command.js";

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
