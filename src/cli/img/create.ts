/** `create`: a new image. */
import { BlockError, prefixError } from "../../base/error.js";
import { parseSizeArgument } from "../../base/size.js";
import { createImage } from "../../image/create.js";
import { hasHelpOption } from "../../qapi/options.js";
import { UsageError } from "../options.js";
import { printOptionHelp } from "./option-help.js";
import { optionList, optionsOf, run, type Verb } from "./verb.js";

export const create: Verb = {
  async run(args, context) {
    const { output } = context;
    const format = args.get("format") ?? "raw";
    const list = optionList(args);
    const [filename, sizeText, ...rest] = args.operands;
    const environment = context.environment(args, "sync");
    if (list !== undefined && hasHelpOption(list)) {
      printOptionHelp(environment, output, format, filename);
      return 0;
    }
    if (filename === undefined) throw new UsageError("Expecting image file name");
    const size = sizeText === undefined ? undefined : imageSizeArgument(sizeText);
    if (rest.length > 0) throw new UsageError(`Unexpected argument: ${rest[0]}`);
    try {
      await run(
        createImage(environment, {
          filename,
          format,
          size,
          backingFile: args.get("backing-file"),
          backingFormat: args.get("backing-format"),
          options: optionsOf(list),
          unsafe: args.has("unsafe"),
          onFormatting: args.has("quiet") ? undefined : (line) => output.line(line),
        }),
      );
    } catch (error) {
      const failure = prefixError(`${filename}: `, error);
      if (!(failure instanceof BlockError) || failure.hint?.startsWith("Detected format of") !== true) throw failure;
      // QEMU ends this one without a newline.
      output.error(failure.message);
      output.note(failure.hint);
      return 1;
    }
    return 0;
  },
};

const MAX_INT64 = "9223372036854775807";

/** Below 2^63, as a number. */
const MOST_TO_QEMU = 2 ** 63 - 1024;

/** A size up to `max`; the message names that limit where QEMU would take the size, and QEMU's where it would not. */
export function imageSizeArgument(text: string, max: number = Number.MAX_SAFE_INTEGER): number {
  const size = imageSize(text, Math.max(max, MOST_TO_QEMU), MAX_INT64);
  return size <= max ? size : imageSize(text, max, String(max));
}

function imageSize(text: string, max: number, limit: string): number {
  try {
    return parseSizeArgument("image size", text, { max });
  } catch (error) {
    if (!(error instanceof BlockError && error.errno === "ERANGE")) throw error;
    throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid image size specified. Must be between 0 and ${limit}.`, {
      errno: "ERANGE",
      cause: error,
    });
  }
}
