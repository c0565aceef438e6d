/** `dd`: copies blocks between images. */
import { prefixError } from "../../base/error.js";
import { parseSizeArgument } from "../../base/size.js";
import { createFileWithImage } from "../../image/create-file.js";
import { copyBlocks } from "../../image/dd.js";
import { closeQuietly, imageSize, openImage } from "../../image/open.js";
import { imageSpec, refuse, run, type Verb } from "./verb.js";

const MAX_INT = 2147483647;

interface Operands {
  input?: string;
  output?: string;
  blockSize: number;
  count?: number;
  skip: number;
}

function readOperands(operands: readonly string[]): Operands {
  const result: Operands = { blockSize: 512, skip: 0 };
  for (const operand of operands) {
    const equals = operand.indexOf("=");
    const name = equals < 0 ? operand : operand.slice(0, equals);
    const value = operand.slice(equals + 1);
    if (equals < 0) throw refuse(`unrecognized operand ${name}`);
    switch (name) {
      case "if":
        result.input = value;
        break;
      case "of":
        result.output = value;
        break;
      case "bs":
        result.blockSize = parseSizeArgument("bs", value, { min: 1, max: MAX_INT });
        break;
      case "count":
        result.count = parseSizeArgument("count", value);
        break;
      case "skip":
        result.skip = parseSizeArgument("skip", value);
        break;
      default:
        throw refuse(`unrecognized operand ${name}`);
    }
  }
  return result;
}

export const dd: Verb = {
  async run(args, context) {
    const operands = readOperands(args.operands);
    const { input, output: target, blockSize } = operands;
    if (input === undefined || target === undefined) throw refuse("Must specify both input and output files");
    if (args.has("image-opts") && args.has("format")) throw refuse("--image-opts and --format are mutually exclusive");
    const environment = context.environment(args, "sync");
    const source = await run(openImage(environment, imageSpec(args, input), { forceShare: args.has("force-share") }));
    try {
      const format = args.get("output-format") ?? "raw";
      const driver = environment.drivers.get(format);
      if (driver === undefined) throw refuse("Unknown file format");
      if (driver.create === undefined) throw refuse(`Format driver '${format}' does not support image creation`);
      const total = imageSize(source);
      const end = operands.count === undefined ? total : Math.min(total, operands.count * blockSize);
      // As in QEMU, `count` counts from the start of the image: what is skipped is part of it.
      const from = operands.skip * blockSize;
      const length = from > end ? 0 : end - from;
      if (from > total) context.output.error(`${input}: cannot skip to specified offset`);
      try {
        await run(createFileWithImage(environment, driver, target, length, {}));
      } catch (error) {
        throw prefixError(`${target}: error while creating output image: `, error);
      }
      const node = await run(
        openImage(environment, { filename: target, format }, { write: true, unmap: true, forceShare: false }),
      );
      try {
        await run(copyBlocks(source, node, { blockSize, from, length, signal: context.signal }));
      } catch (error) {
        await run(closeQuietly(node));
        throw error;
      }
      await run(node.unref());
    } finally {
      await run(closeQuietly(source));
    }
    return 0;
  },
};
