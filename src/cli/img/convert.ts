/** `convert`: copies images into a new one. */
import { BlockError } from "../../base/error.js";
import type { Environment, OpenFlags } from "../../block/context.js";
import { parseInteger, parseSizeArgument } from "../../base/size.js";
import { convertImage } from "../../image/convert-image.js";
import { hasHelpOption } from "../../qapi/options.js";
import type { ParsedOptions } from "../options.js";
import { printOptionHelp } from "./option-help.js";
import { convertFromStdin, convertToStdout } from "./pipes.js";
import { cacheFlags, imageSpec, optionList, optionsOf, progressOf, refuse, run, type Verb, type VerbContext } from "./verb.js";

/** Pieces of a plain copy: some are read while one is written. */
const PLAIN_PARALLEL = 4;
const MAX_SPARSE = 16 * 1024 * 1024;

function sparseSize(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const size = parseSizeArgument("buffer size for sparse output", text);
  if (size % 512 !== 0 || size > MAX_SPARSE) {
    throw refuse(
      `Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to ${MAX_SPARSE}. ` +
        "Select 0 to disable sparse detection (fully allocates output).",
    );
  }
  return size;
}

function coroutines(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = parseInteger(text);
  if (typeof value !== "bigint" || value < 1n || value > 16n)
    throw refuse("Invalid number of coroutines. Allowed number of coroutines is between 1 and 16");
  return Number(value);
}

/** The first contradiction between options, worded as qemu-img words it. */
function checkCombination(args: ParsedOptions): void {
  const has = (name: string): boolean => args.has(name);
  if (has("image-opts") && has("format")) throw refuse("--image-opts and --format are mutually exclusive");
  if (has("target-image-opts") && !has("no-create")) throw refuse("--target-image-opts requires use of -n flag");
  if (has("skip-broken-bitmaps") && !has("bitmaps")) throw refuse("Use of --skip-broken-bitmaps requires --bitmaps");
  if (has("target-image-opts") && has("output-format")) throw refuse("--target-image-opts and -O are mutually exclusive");
  if (has("compress") && has("copy-offload")) throw refuse("Cannot enable copy offloading when -c is used");
  if (has("sparse-size") && has("copy-offload")) throw refuse("Cannot enable copy offloading when -S is used");
  if (has("salvage") && has("copy-offload")) throw refuse("Cannot use copy offloading in salvaging mode");
  if (has("target-is-zero") && !has("no-create")) throw refuse("--target-is-zero requires use of -n flag");
}

/** "-" is standard input (raw bytes) or output; a file of that name is "./-". */
async function piped(
  args: ParsedOptions,
  context: VerbContext,
  environment: Environment,
  filenames: readonly string[],
  target: string,
  sourceFlags: Partial<OpenFlags>,
  targetFlags: Partial<OpenFlags>,
  list: string | undefined,
): Promise<number> {
  const format = args.get("output-format") ?? "raw";
  const options = { signal: context.signal };
  for (const name of [
    "snapshot",
    "bitmaps",
    "no-create",
    "backing-file",
    "rate-limit",
    "salvage",
    "target-image-opts",
    "copy-offload",
  ]) {
    if (args.has(name)) throw refuse(`'-' as an image cannot be combined with ${name.replaceAll("-", " ")}`);
  }
  if (filenames.includes("-")) {
    if (filenames.length > 1 || target === "-") throw refuse("Standard input can only be the single source of a file");
    if ((args.get("format") ?? "raw") !== "raw") throw refuse("Standard input can only be read as a raw image");
    await convertFromStdin(
      environment,
      { filename: target, format, options: optionsOf(list), compress: args.has("compress"), flags: targetFlags },
      options,
    );
    return 0;
  }
  if (args.has("compress"))
    throw refuse("Standard output cannot be written compressed: where compressed clusters end is not known beforehand");
  const made = { format, options: optionsOf(list) };
  await convertToStdout(
    environment,
    filenames.map((filename) => imageSpec(args, filename)),
    made,
    sourceFlags,
    options,
  );
  return 0;
}

export const convert: Verb = {
  async run(args, context) {
    const { output } = context;
    const list = optionList(args);
    const sparse = sparseSize(args.get("sparse-size"));
    const parallel = coroutines(args.get("coroutines"));
    const rateText = args.get("rate-limit");
    const rateLimit = rateText === undefined ? 0 : parseSizeArgument("rate limit", rateText);
    checkCombination(args);
    const format = args.has("target-image-opts") ? undefined : (args.get("output-format") ?? "raw");
    const filenames = [...args.operands];
    const targetName = filenames.length > 1 ? filenames.pop() : undefined;
    // Compression brings its own number.
    const plain = parallel === undefined && !args.has("compress") && rateLimit === 0;
    const environment = context.environment(args, "ahead");
    if (list !== undefined && hasHelpOption(list)) {
      if (format === undefined) throw refuse("Option help requires a format be specified");
      printOptionHelp(environment, output, format, targetName);
      return 0;
    }
    if (targetName === undefined) throw refuse("Must specify image file name");
    const targetFlags = cacheFlags(args.get("cache") ?? "unsafe", "Invalid cache option: %");
    const sourceFlags = cacheFlags(args.get("source-cache") ?? "writeback", "Invalid source cache option: %");
    if (args.has("no-create") && list !== undefined) throw refuse("-o has no effect when skipping image creation");
    if (args.has("snapshot") && filenames.length > 1) throw refuse("No support for concatenating multiple snapshot");
    if (filenames.length > 1 && args.has("bitmaps")) throw refuse("Copying bitmaps only possible with single source");
    if (filenames.includes("-") || targetName === "-")
      return piped(
        args,
        context,
        environment,
        filenames,
        targetName,
        { ...sourceFlags, forceShare: args.has("force-share") },
        targetFlags,
        list,
      );
    const progress = progressOf(args, context, "Converting", 1);
    const bad = (message: string): void => {
      if (!args.has("quiet")) output.warning(message);
    };
    try {
      await run(
        convertImage(environment, {
          sources: filenames.map((filename) => imageSpec(args, filename)),
          sourceFlags: { ...sourceFlags, forceShare: args.has("force-share") },
          target: { filename: targetName, format, imageOpts: args.has("target-image-opts") },
          targetFlags,
          options: optionsOf(list),
          noCreate: args.has("no-create"),
          targetIsZero: args.has("target-is-zero"),
          backingFile: args.get("backing-file"),
          backingFormat: args.get("backing-format"),
          snapshot: args.get("snapshot"),
          bitmaps: args.has("bitmaps"),
          skipBrokenBitmaps: args.has("skip-broken-bitmaps"),
          compress: args.has("compress"),
          outOfOrder: args.has("out-of-order"),
          rateLimit,
          onBadSector: args.has("salvage") ? bad : undefined,
          signal: context.signal,
          ...(sparse === undefined ? {} : { sparseSize: sparse }),
          ...(plain ? { parallel: PLAIN_PARALLEL } : parallel === undefined ? {} : { parallel }),
          ...(progress.onProgress === undefined ? {} : { onProgress: progress.onProgress }),
        }),
      );
    } catch (error) {
      if (args.has("progress") && !context.friendly && error instanceof BlockError && error.message.startsWith("error while"))
        output.line();
      throw error;
    }
    progress.end();
    return 0;
  },
};
