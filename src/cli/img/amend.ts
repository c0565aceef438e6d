/** `amend`: changes the format options of an image. */
import { amendImage, amendOptionHelp, amendOptionsOf, driverForAmend } from "../../image/amend.js";
import { closeQuietly, openImage } from "../../image/open.js";
import { hasHelpOption } from "../../qapi/options.js";
import { UsageError } from "../options.js";
import { cacheFlags, imageSpec, optionList, optionsOf, progressOf, refuse, run, type Verb } from "./verb.js";

export const amend: Verb = {
  async run(args, context) {
    const { output } = context;
    const list = optionList(args);
    if (list === undefined) throw new UsageError("Must specify options (-o)");
    const wantsHelp = hasHelpOption(list);
    const environment = context.environment(args, "sync");
    const format = args.get("format");
    if (format !== undefined && wantsHelp) {
      for (const line of amendOptionHelp(driverForAmend(environment, format))) output.line(line);
      return 0;
    }
    const [filename, ...rest] = args.operands;
    if (filename === undefined || rest.length > 0) throw refuse("Expecting one image file name");
    const cache = cacheFlags(args.get("cache") ?? "writeback", "Invalid cache option: %");
    const node = await run(openImage(environment, imageSpec(args, filename), { ...cache, write: true }));
    const progress = progressOf(args, context, "Amending", 1);
    try {
      if (wantsHelp) {
        for (const line of amendOptionHelp(node.driver)) output.line(line);
      } else {
        amendOptionsOf(node.driver);
        await run(
          amendImage(node, {
            options: optionsOf(list),
            force: args.has("force"),
            signal: context.signal,
            ...(progress.onProgress === undefined ? {} : { onProgress: progress.onProgress }),
          }),
        );
      }
    } catch (error) {
      await run(closeQuietly(node));
      throw error;
    }
    await run(node.unref());
    progress.end();
    return 0;
  },
};
