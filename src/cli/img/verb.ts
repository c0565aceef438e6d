/** What a verb of qemu-img is to the program: a function from its parsed command line to an exit code. */
import { BlockError } from "../../base/error.js";
import type { Environment, OpenFlags } from "../../block/context.js";
import { runAsync, type Op } from "../../block/op.js";
import type { ImageSpec } from "../../image/open.js";
import type { OperationProgress } from "../../image/signal.js";
import { isValidOptionList, joinOptionLists, parseOpts, type Opt } from "../../qapi/options.js";
import { writeJson, type JsonInput } from "../../qapi/json-writer.js";
import type { FileCalls } from "../../platform/node-environment.js";
import type { ParsedOptions } from "../options.js";
import type { Output } from "../output.js";

export interface VerbContext {
  readonly output: Output;
  /** "qemu-img" says things exactly as QEMU's program does; "blockcore" may be nicer. */
  readonly friendly: boolean;
  /** The block layer; `faces: "sync"` for commands that look at little, "ahead" for those that look at everything. */
  environment(args: ParsedOptions, faces: FileCalls): Environment;
  readonly signal: AbortSignal;
}

export interface Verb {
  run(args: ParsedOptions, context: VerbContext): Promise<number>;
  /** Exit code when the run throws; 1 when absent. */
  readonly failureCode?: number;
}

export const run = <T>(op: Op<T>): Promise<T> => runAsync(op);

/** An argument error that gets no "Try --help" line. */
export const refuse = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

export type OutputFormat = "human" | "json";

export function outputFormat(args: ParsedOptions): OutputFormat {
  const value = args.get("output") ?? "human";
  if (value !== "human" && value !== "json") throw refuse("--output must be used with human or json as argument.");
  return value;
}

/** The image a verb works on. */
export function imageSpec(args: ParsedOptions, filename: string, format: string | undefined = args.get("format")): ImageSpec {
  const imageOpts = args.has("image-opts");
  if (imageOpts && format !== undefined) throw refuse("--image-opts and --format are mutually exclusive");
  return { filename, format, imageOpts };
}

/** `-t` and `-T`. */
export function cacheFlags(mode: string, what: string): Partial<OpenFlags> {
  switch (mode) {
    case "none":
    case "off":
      return { direct: true };
    case "writeback":
      return {};
    case "writethrough":
      return { writethrough: true };
    case "directsync":
      return { direct: true, writethrough: true };
    case "unsafe":
      return { noFlush: true };
    default:
      throw refuse(what.includes("%") ? what.replace("%", mode) : what);
  }
}

/** All `-o` lists as one; undefined when there was none. */
export function optionList(args: ParsedOptions): string | undefined {
  const lists = args.all("options");
  for (const list of lists) if (!isValidOptionList(list)) throw refuse(`Invalid option list: ${list}`);
  return lists.length === 0 ? undefined : joinOptionLists(lists);
}

export function optionsOf(list: string | undefined): Opt[] {
  if (list === undefined) return [];
  // Flags without a value are deprecated in QEMU, but here it says nothing about them.
  return parseOpts(list).opts;
}

export function printJson(output: Output, value: object): void {
  output.line(writeJson(value as JsonInput, { pretty: true }));
}

/** Progress as QEMU prints it with `-p`, or a bar on a terminal in the friendly program. */
export function progressOf(
  args: ParsedOptions,
  context: VerbContext,
  label: string,
  minStep: number,
  closing = true,
): { onProgress?: (progress: OperationProgress) => void; end: () => void } {
  const { output } = context;
  if (!args.has("progress") || args.has("quiet")) return { end: () => {} };
  if (context.friendly) {
    const bar = output.bar(label, () => performance.now());
    return { onProgress: ({ done, total }) => bar.update(done, total), end: () => bar.end() };
  }
  const progress = output.progress(true, minStep);
  progress.report(0);
  return {
    onProgress: ({ done, total }) => {
      if (done > 0 && total > 0) progress.update(done, total);
    },
    end: () => {
      if (closing) progress.report(100);
      progress.end();
    },
  };
}
