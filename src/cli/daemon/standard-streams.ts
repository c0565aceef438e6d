/** Standard input and output of a monitor: a reader that is slow must not keep the program from reading. */
import { fstatSync } from "node:fs";
import { Socket } from "node:net";
import type { Writable } from "node:stream";

let output: Writable | null = null;

/** Standard output; where it is a pipe, writes wait in memory rather than in the system. Everything on stdout must go through it. */
export function standardOutput(): Writable {
  if (output === null) {
    const stats = fstatSync(1);
    // A terminal or a file takes what it is given at once.
    output = stats.isFIFO() ? new Socket({ fd: 1, readable: false, writable: true }) : process.stdout;
    output.on("error", () => {});
  }
  return output;
}
