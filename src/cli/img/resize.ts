/** `resize`: another size for an image. */
import { BlockError } from "../../base/error.js";
import { openImage, closeQuietly, imageSize } from "../../image/open.js";
import { parsePreallocation } from "../../image/preallocation.js";
import { resizeImage } from "../../image/resize.js";
import { parseOptSize } from "../../qapi/opt-table.js";
import { UsageError } from "../options.js";
import { imageSpec, run, type Verb } from "./verb.js";

export const resize: Verb = {
  async run(args, context) {
    const { output } = context;
    const preallocationText = args.get("preallocation");
    const preallocation = preallocationText === undefined ? "off" : parsePreallocation(preallocationText);
    const operands = [...args.operands];
    let sizeText = operands.pop() ?? "";
    const [filename, ...rest] = operands;
    if (filename === undefined || rest.length > 0) throw new UsageError("Expecting image file name and size");
    const sign = sizeText.startsWith("+") ? 1 : sizeText.startsWith("-") ? -1 : 0;
    if (sign !== 0) sizeText = sizeText.slice(1);
    const amount = Number(parseOptSize("size", sizeText));
    const environment = context.environment(args, "sync");
    const spec = imageSpec(args, filename);
    const node = await run(openImage(environment, spec, { write: true, unmap: true }));
    try {
      const current = imageSize(node);
      const size = sign === 0 ? amount : current + sign * amount;
      try {
        await run(resizeImage(node, size, { preallocation, shrink: args.has("shrink") }));
      } catch (error) {
        if (error instanceof BlockError && error.message.startsWith("Use the --shrink option")) {
          output.error(error.message);
          output.warning(
            "Shrinking an image will delete all data beyond the shrunken image's end. " +
              "Before performing such an operation, make sure there is no important data there.",
          );
          await run(closeQuietly(node));
          return 1;
        }
        throw error;
      }
    } catch (error) {
      await run(closeQuietly(node));
      throw error;
    }
    await run(node.unref());
    if (!args.has("quiet")) output.line("Image resized.");
    return 0;
  },
};
