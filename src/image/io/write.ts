/** `write` and `writev`. */
import { strerror, toBlockError } from "../../base/error.js";
import type { WriteFlags } from "../../block/driver.js";
import type { Op } from "../../block/op.js";
import { MAX_REQUEST, readLengths, readNumber, readPattern } from "./arguments.js";
import { readOptions, usage, type Command, type Outcome } from "./command.js";
import { readPatternFile, repeatInto } from "./pattern-file.js";
import { ioReport } from "./report.js";
import type { IoSession } from "./session.js";
import { writePieces } from "./transfer.js";
import { isSectorAligned, writeVmState } from "./vm-state.js";

/** What is written when nothing else is asked for. */
const DEFAULT_PATTERN = 0xcd;

export interface WriteRequest {
  kind: "data" | "zeroes" | "vm-state";
  offset: number;
  length: number;
  flags: WriteFlags;
  /** Makes the bytes `at` bytes into the request. */
  fill: (bytes: Uint8Array, at: number) => void;
  quiet: boolean;
  machine: boolean;
}

/** The request as block layer calls, durable at its end where the cache mode says so. */
function* writeOp(session: IoSession, request: WriteRequest): Op<void> {
  const backend = session.backend!;
  const { offset, length, fill } = request;
  const flags = session.writethrough ? { ...request.flags, fua: true } : request.flags;
  switch (request.kind) {
    case "zeroes":
      yield* backend.writeZeroes(offset, length, flags);
      return;
    case "vm-state": {
      yield* backend.request(() => writeVmState(backend.node, offset, length, fill));
      if (session.writethrough) yield* backend.flush();
      return;
    }
    case "data":
      yield* writePieces(session, offset, length, flags, fill);
      return;
  }
}

/** Performs a write and prints its report. `failure` goes before the reason when it fails. */
export async function performWrite(session: IoSession, request: WriteRequest, failure: string): Promise<Outcome> {
  const started = performance.now();
  try {
    await session.run(writeOp(session, request));
  } catch (error) {
    session.print(`${failure} failed: ${strerror(toBlockError(error).errno)}\n`);
    return "failed";
  }
  const ms = performance.now() - started;
  if (!request.quiet) session.print(ioReport("wrote", request.offset, request.length, ms, request.machine));
  return "done";
}

export const writeCommand: Command = {
  name: "write",
  alias: "w",
  min: 2,
  max: -1,
  usage: "[-bcCfnquz] [-P pattern | -s source_file] off len",
  summary: "writes a number of bytes at a specified offset",
  writes: true,
  help: [
    " Writes a range of the open image: the byte 0xcd unless -P, -s or -z say otherwise.",
    "",
    " Example:",
    " 'write 512 1k' - writes 1 KiB at offset 512",
    "",
    " -b, -- to the saved VM state rather than the disk",
    " -c, -- store it compressed",
    " -f, -- on stable storage when the command ends",
    " -n, -- with -z, fail rather than write zeros one by one",
    " -p, -- accepted for old scripts, does nothing",
    " -P, -- the byte to write",
    " -s, -- a file whose content is repeated",
    " -C, -- statistics as comma-separated values",
    " -q, -- print nothing but failures",
    " -u, -- with -z, space may be given back",
    " -z, -- make the range read as zeros",
  ],
  async run(session, words) {
    const parsed = readOptions(session, writeCommand, "bcCfnpP:qs:uz", words);
    if (parsed === null) return "failed";
    let pattern: number | null = null;
    let source: string | null = null;
    const given = new Set<string>();
    for (const [letter, argument] of parsed.options) {
      given.add(letter);
      if (letter === "P" && (pattern = readPattern(session, argument)) === null) return "failed";
      if (letter === "s") source = argument;
    }
    const has = (letter: string): boolean => given.has(letter);
    if (parsed.operands.length !== 2) return usage(session, writeCommand) ?? "failed";
    const conflict =
      has("b") && has("z")
        ? "-b and -z cannot be specified at the same time"
        : has("f") && (has("b") || has("c"))
          ? "-f and -b or -c cannot be specified at the same time"
          : has("n") && !has("z")
            ? "-n requires -z to be specified"
            : has("u") && !has("z")
              ? "-u requires -z to be specified"
              : Number(has("z")) + Number(has("P")) + Number(has("s")) > 1
                ? "Only one of -z, -P, and -s can be specified at the same time"
                : null;
    if (conflict !== null) {
      session.print(`${conflict}\n`);
      return "failed";
    }
    const offset = readNumber(session, parsed.operands[0]!);
    if (offset === null) return "failed";
    const length = readNumber(session, parsed.operands[1]!);
    if (length === null) return "failed";
    if (length > MAX_REQUEST && !has("n")) {
      session.print(`length cannot exceed ${MAX_REQUEST} without -n, given ${parsed.operands[1]!}\n`);
      return "failed";
    }
    if ((has("b") || has("c")) && !isSectorAligned(session, offset, length)) return "failed";
    let fill = (bytes: Uint8Array, _at: number): void => void bytes.fill(pattern ?? DEFAULT_PATTERN);
    if (source !== null) {
      const content = readPatternFile(session, source, length);
      if (content === null) return "failed";
      fill = (bytes, at) => repeatInto(bytes, at, content);
    }
    const flags: WriteFlags = { fua: has("f"), mayUnmap: has("u"), noFallback: has("n"), compressed: has("c") && !has("b") };
    const kind = has("b") ? "vm-state" : has("z") ? "zeroes" : "data";
    return await performWrite(session, { kind, offset, length, flags, fill, quiet: has("q"), machine: has("C") }, "write");
  },
};

/** What `writev` and `aio_write` have in common. */
export function vectoredWrite(
  session: IoSession,
  command: Command,
  spec: string,
  words: readonly string[],
): (WriteRequest & { invalid: boolean }) | null {
  const parsed = readOptions(session, command, spec, words);
  if (parsed === null) return null;
  let pattern: number | null = null;
  const given = new Set<string>();
  for (const [letter, argument] of parsed.options) {
    given.add(letter);
    if (letter === "P" && (pattern = readPattern(session, argument)) === null) return null;
  }
  const zeroes = given.has("z");
  const invalid = given.has("i");
  const request = {
    kind: zeroes ? ("zeroes" as const) : ("data" as const),
    offset: 0,
    length: 0,
    flags: { fua: given.has("f"), mayUnmap: given.has("u") },
    fill: (bytes: Uint8Array): void => void bytes.fill(pattern ?? DEFAULT_PATTERN),
    quiet: given.has("q"),
    machine: given.has("C"),
    invalid,
  };
  if (invalid) return request;
  if (parsed.operands.length < 2) return usage(session, command);
  const conflict =
    zeroes && parsed.operands.length !== 2
      ? "-z supports only a single length parameter"
      : given.has("u") && !zeroes
        ? "-u requires -z to be specified"
        : null;
  if (conflict !== null) {
    session.print(`${conflict}\n`);
    return null;
  }
  const offset = readNumber(session, parsed.operands[0]!);
  if (offset === null) return null;
  const length = zeroes ? readNumber(session, parsed.operands[1]!) : readLengths(session, parsed.operands.slice(1));
  if (length === null) return null;
  return { ...request, offset, length };
}

export const writevCommand: Command = {
  name: "writev",
  min: 2,
  max: -1,
  usage: "[-Cfq] [-P pattern] off len [len..]",
  summary: "writes a number of bytes at a specified offset",
  writes: true,
  help: [
    " Writes one range from several buffers of the given lengths.",
    "",
    " Example:",
    " 'writev 512 1k 1k' - writes 2 KiB at offset 512",
    "",
    " -P, -- the byte to write (0xcd when absent)",
    " -C, -- statistics as comma-separated values",
    " -f, -- on stable storage when the command ends",
    " -q, -- print nothing but failures",
  ],
  async run(session, words) {
    const request = vectoredWrite(session, writevCommand, "CfqP:", words);
    return request === null ? "failed" : await performWrite(session, request, "writev");
  },
};
