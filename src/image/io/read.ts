/** `read` and `readv`. */
import { strerror, toBlockError } from "../../base/error.js";
import { readLengths, readNumber, readPattern, readRange } from "./arguments.js";
import { readOptions, usage, type Command, type Outcome } from "./command.js";
import { dumpText, ioReport } from "./report.js";
import type { IoSession } from "./session.js";
import { isAll, readPieces } from "./transfer.js";
import { isSectorAligned, readVmState } from "./vm-state.js";

export interface ReadRequest {
  offset: number;
  length: number;
  /** Range of the request's bytes that must all be `pattern`; null: not checked. */
  verify: { pattern: number; from: number; length: number } | null;
  dump: boolean;
  quiet: boolean;
  machine: boolean;
  vmState: boolean;
}

/** Performs a read and prints what it found. `failure` goes before the reason when the read fails. */
export async function performRead(session: IoSession, request: ReadRequest, failure: string): Promise<Outcome> {
  const { offset, length, verify } = request;
  let matches = true;
  let dump = "";
  const show = (bytes: Uint8Array, at: number): void => {
    if (verify !== null && matches) {
      const from = Math.max(0, offset + verify.from - at);
      const to = Math.min(bytes.length, offset + verify.from + verify.length - at);
      if (from < to) matches = isAll(bytes.subarray(from, to), verify.pattern);
    }
    if (!request.dump || request.quiet) return;
    // A dump is printed whole behind the verdict; only giants come out as they are read.
    if (bytes.length === length) dump = dumpText(bytes, at);
    else session.print(dumpText(bytes, at));
  };
  const started = performance.now();
  try {
    if (request.vmState) await session.request(readVmState(session.node!, offset, length, show));
    else await session.run(readPieces(session, offset, length, show));
  } catch (error) {
    session.print(`${failure} failed: ${strerror(toBlockError(error).errno)}\n`);
    return "failed";
  }
  const ms = performance.now() - started;
  if (!matches && verify !== null)
    session.print(`Pattern verification failed at offset ${offset + verify.from}, ${verify.length} bytes\n`);
  if (!request.quiet) session.print(dump + ioReport("read", offset, length, ms, request.machine));
  return matches ? "done" : "failed";
}

export const readCommand: Command = {
  name: "read",
  alias: "r",
  min: 2,
  max: -1,
  usage: "[-abCqv] [-P pattern [-s off] [-l len]] off len",
  summary: "reads a number of bytes at a specified offset",
  help: [
    " Reads a range of the open image, checks it against a pattern (-P) or shows it (-v).",
    "",
    " Example:",
    " 'read -v 512 1k' - shows 1 KiB from offset 512",
    "",
    " -b, -- the saved VM state rather than the disk",
    " -C, -- statistics as comma-separated values",
    " -l, -- how many bytes to compare (with -P)",
    " -p, -- accepted for old scripts, does nothing",
    " -P, -- the byte every byte must equal",
    " -q, -- print nothing but failures",
    " -s, -- where in the data to begin comparing (with -P)",
    " -v, -- show the bytes",
  ],
  async run(session, words) {
    const parsed = readOptions(session, readCommand, "bCl:pP:qs:v", words);
    if (parsed === null) return "failed";
    let pattern: number | null = null;
    let from: number | null = null;
    let verified: number | null = null;
    const flags = new Set<string>();
    for (const [letter, argument] of parsed.options) {
      flags.add(letter);
      if (letter === "P") {
        pattern = readPattern(session, argument);
        if (pattern === null) return "failed";
      } else if (letter === "l") {
        verified = readNumber(session, argument);
        if (verified === null) return "failed";
      } else if (letter === "s") {
        from = readNumber(session, argument);
        if (from === null) return "failed";
      }
    }
    if (parsed.operands.length !== 2) return usage(session, readCommand) ?? "failed";
    const range = readRange(session, parsed.operands[0]!, parsed.operands[1]!);
    if (range === null) return "failed";
    const { offset, length } = range;
    if (pattern === null && (from !== null || verified !== null)) return usage(session, readCommand) ?? "failed";
    const start = from ?? 0;
    const count = verified ?? length - start;
    if (count < 0 || count + start > length) {
      session.print("pattern verification range exceeds end of read data\n");
      return "failed";
    }
    const vmState = flags.has("b");
    if (vmState && !isSectorAligned(session, offset, length)) return "failed";
    return await performRead(
      session,
      {
        offset,
        length,
        verify: pattern === null ? null : { pattern, from: start, length: count },
        dump: flags.has("v"),
        quiet: flags.has("q"),
        machine: flags.has("C"),
        vmState,
      },
      "read",
    );
  },
};

/** What `readv` and `aio_read` have in common: options, offset, lengths. */
export function vectoredRead(
  session: IoSession,
  command: Command,
  spec: string,
  words: readonly string[],
): (ReadRequest & { invalid: boolean }) | null {
  const parsed = readOptions(session, command, spec, words);
  if (parsed === null) return null;
  let pattern: number | null = null;
  const flags = new Set<string>();
  for (const [letter, argument] of parsed.options) {
    flags.add(letter);
    if (letter === "P" && (pattern = readPattern(session, argument)) === null) return null;
  }
  const invalid = flags.has("i");
  const quiet = flags.has("q");
  const machine = flags.has("C");
  const request = { verify: null, dump: flags.has("v"), quiet, machine, vmState: false, invalid, offset: 0, length: 0 };
  if (invalid) return request;
  if (parsed.operands.length < 2) return usage(session, command);
  const offset = readNumber(session, parsed.operands[0]!);
  if (offset === null) return null;
  const length = readLengths(session, parsed.operands.slice(1));
  if (length === null) return null;
  return { ...request, offset, length, verify: pattern === null ? null : { pattern, from: 0, length } };
}

export const readvCommand: Command = {
  name: "readv",
  min: 2,
  max: -1,
  usage: "[-Cqv] [-P pattern] off len [len..]",
  summary: "reads a number of bytes at a specified offset",
  help: [
    " Reads one range into several buffers of the given lengths.",
    "",
    " Example:",
    " 'readv -v 512 1k 1k' - shows 2 KiB from offset 512",
    "",
    " -C, -- statistics as comma-separated values",
    " -P, -- the byte every byte must equal",
    " -v, -- show the bytes",
    " -q, -- print nothing but failures",
  ],
  async run(session, words) {
    const request = vectoredRead(session, readvCommand, "CP:qv", words);
    return request === null ? "failed" : await performRead(session, request, "readv");
  },
};
