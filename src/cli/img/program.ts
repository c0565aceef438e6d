/** The program around the verbs: global options, the verb, errors and exit codes. */
import type { Environment } from "../../block/context.js";
import { BlockError } from "../../base/error.js";
import { cliEnvironment } from "../environment.js";
import type { FileCalls } from "../../platform/node-environment.js";
import { parseOptions, parseVerb, UsageError, type ParsedOptions } from "../options.js";
import type { Output } from "../output.js";
import { findVerb, GLOBAL_OPTIONS, helpText, versionText } from "./options.js";
import { IMG_VERBS } from "./verbs.js";
import type { VerbContext } from "./verb.js";

export interface ImgProgram {
  /** "qemu-img" or "blockcore". */
  program: string;
  version: string;
  friendly: boolean;
  /** Lines of the help about commands that are not verbs of qemu-img. */
  more?: readonly string[];
  output: Output;
  signal: AbortSignal;
}

/** Runs one command line (without the program's name). Resolves with the exit code. */
export async function imgMain(argv: readonly string[], settings: ImgProgram): Promise<number> {
  const { output } = settings;
  let code: number;
  try {
    code = await dispatch(argv, settings);
  } catch (error) {
    code = output.failure(error);
  }
  try {
    await output.finish();
  } catch (error) {
    output.failure(error);
    code ||= 1;
  }
  return code;
}

async function dispatch(argv: readonly string[], settings: ImgProgram): Promise<number> {
  const { output, program, version } = settings;
  const global = parseOptions([program, ...argv], GLOBAL_OPTIONS, { operands: "stop" });
  if (global.action === "help") return help(settings);
  if (global.action === "version") {
    output.line(versionText(program, version));
    return 0;
  }
  const [name, ...rest] = global.operands;
  if (name === undefined) throw new UsageError("Not enough arguments");
  const verb = IMG_VERBS.get(name);
  const spec = findVerb(name);
  if (verb === undefined || spec === undefined)
    throw new UsageError(`Command not found: ${name}${settings.friendly ? suggestion(name) : ""}`);
  const args = parseVerb([name, ...rest], spec);
  if (args.action === "help") return help(settings, name);
  const context: VerbContext = {
    output,
    friendly: settings.friendly,
    signal: settings.signal,
    environment: (parsed, faces) => environmentFor(parsed, faces, output),
  };
  try {
    return await verb.run(args, context);
  } catch (error) {
    if (error instanceof BlockError && error.code === "ERR_ABORTED" && settings.signal.aborted) {
      output.note("\n");
      return 130;
    }
    output.failure(error);
    return verb.failureCode ?? 1;
  }
}

function environmentFor(args: ParsedOptions, faces: FileCalls, output: Output): Environment {
  return cliEnvironment({
    objects: args.all("object"),
    faces,
    notice: (message) => output.note(`${message}\n`),
    report: (message) => output.error(message),
    warn: (message) => output.advise(message),
  });
}

function help(settings: ImgProgram, verb?: string): number {
  const { drivers } = cliEnvironment({ objects: [], faces: "sync", warn: () => {} });
  settings.output.print(
    settings.friendly && verb !== undefined
      ? verbHelp(settings, verb)
      : helpText(settings.program, settings.version, [...drivers.keys()], settings.more),
  );
  return 0;
}

const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  bench: ["bench -c 10000 disk.qcow2", "bench -w -d 16 -s 64k scratch.qcow2"],
  check: ["check disk.qcow2", "check -r leaks disk.qcow2"],
  compare: ["compare a.qcow2 b.raw", "compare -s a.qcow2 b.qcow2"],
  convert: ["convert -p -O qcow2 disk.raw disk.qcow2", "convert -c -O qcow2 -o compression_type=zstd disk.qcow2 small.qcow2"],
  create: ["create -f qcow2 disk.qcow2 20G", "create -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2"],
  dd: ["dd if=disk.qcow2 of=head.raw bs=1M count=16"],
  info: ["info disk.qcow2", "info --backing-chain --output=json overlay.qcow2"],
  map: ["map disk.qcow2", "map --output=json disk.qcow2"],
  measure: ["measure -O qcow2 disk.raw", "measure -O qcow2 --size 100G"],
  resize: ["resize disk.qcow2 +10G", "resize --shrink disk.qcow2 5G"],
  snapshot: ["snapshot -c before-upgrade disk.qcow2", "snapshot -l disk.qcow2", "snapshot -a before-upgrade disk.qcow2"],
};

function verbHelp(settings: ImgProgram, verb: string): string {
  const spec = findVerb(verb)!;
  const options = spec.options
    .filter((option) => option.hidden !== true)
    .map((option) => {
      const names = [
        option.short === undefined ? "" : `-${option.short}`,
        option.long === undefined ? "" : `--${option.long}`,
      ].filter((text) => text !== "");
      return `  ${names.join(", ")}${option.argument === undefined ? "" : ` <${option.argument}>`}`;
    });
  const examples = (EXAMPLES[verb] ?? []).map((example) => `  ${settings.program} ${example}`);
  return `${settings.program} ${verb}: ${spec.summary}\n\nusage: ${settings.program} ${verb} [options] ${spec.operands}\n\nOptions:\n${options.join("\n")}\n\nExamples:\n${examples.join("\n")}\n`;
}

function suggestion(name: string): string {
  let best = "";
  let distance = 3;
  for (const verb of IMG_VERBS.keys()) {
    const d = editDistance(name, verb);
    if (d < distance) {
      distance = d;
      best = verb;
    }
  }
  return best === "" ? "" : ` (did you mean '${best}'?)`;
}

function editDistance(a: string, b: string): number {
  if (a.length > 20) return Infinity;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}
