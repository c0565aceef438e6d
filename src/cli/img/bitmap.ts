/** `bitmap`: changes persistent dirty bitmaps of an image, action by action as given. */
import { parseSizeArgument } from "../../base/size.js";
import { changeBitmap, type BitmapAction } from "../../image/bitmap.js";
import { closeQuietly, openImage } from "../../image/open.js";
import type { ParsedOptions } from "../options.js";
import { imageSpec, refuse, run, type Verb } from "./verb.js";

function actionsOf(args: ParsedOptions, granularity: number | undefined): BitmapAction[] {
  const actions: BitmapAction[] = [];
  for (const { name, value } of args.sequence) {
    if (name === "add") actions.push({ verb: "add", granularity });
    else if (name === "remove" || name === "clear" || name === "enable" || name === "disable") actions.push({ verb: name });
    else if (name === "merge") actions.push({ verb: "merge", source: value! });
  }
  return actions;
}

export const bitmap: Verb = {
  async run(args, context) {
    const granularityText = args.get("granularity");
    const granularity = granularityText === undefined ? undefined : parseSizeArgument("granularity", granularityText);
    const [filename, name, ...rest] = args.operands;
    const actions = actionsOf(args, granularity === 0 ? undefined : granularity);
    if (actions.length === 0) throw refuse("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
    if (granularity !== undefined && granularity !== 0 && !args.has("add")) throw refuse("granularity only supported with --add");
    const sourceFile = args.get("source-file");
    const sourceFormat = args.get("source-format");
    if (sourceFormat !== undefined && sourceFile === undefined) throw refuse("-F only supported with -b");
    if (sourceFile !== undefined && !args.has("merge")) throw refuse("Merge bitmap source file only supported with --merge");
    if (filename === undefined || name === undefined || rest.length > 0) throw refuse("Expecting filename and bitmap name");
    const environment = context.environment(args, "sync");
    // Backing files do not matter, and one of the images may be the other one's.
    const node = await run(openImage(environment, imageSpec(args, filename), { write: true, noBacking: true }));
    try {
      const source =
        sourceFile === undefined
          ? undefined
          : await run(openImage(environment, { filename: sourceFile, format: sourceFormat }, { noBacking: true }));
      try {
        await run(changeBitmap({ node, bitmap: name, actions, ...(source === undefined ? {} : { source }) }));
      } finally {
        if (source !== undefined) await run(closeQuietly(source));
      }
    } catch (error) {
      await run(closeQuietly(node));
      throw error;
    }
    await run(node.unref());
    return 0;
  },
};
