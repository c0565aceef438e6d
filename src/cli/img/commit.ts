/** `commit`: writes an image's changes into its backing file. */
import { parseSizeArgument } from "../../base/size.js";
import { commitImage } from "../../image/commit.js";
import { openImage, usingImage } from "../../image/open.js";
import { UsageError } from "../options.js";
import { realPath } from "./real-path.js";
import { cacheFlags, imageSpec, progressOf, run, type Verb } from "./verb.js";

export const commit: Verb = {
  async run(args, context) {
    const { output } = context;
    const rateText = args.get("rate-limit");
    const rateLimit = rateText === undefined ? 0 : parseSizeArgument("rate limit", rateText);
    const [filename, ...rest] = args.operands;
    if (filename === undefined || rest.length > 0) throw new UsageError("Expecting one image file name");
    const base = args.get("base");
    const cache = cacheFlags(args.get("cache") ?? "writeback", "Invalid cache option: %");
    const environment = context.environment(args, "sync");
    const node = await run(openImage(environment, imageSpec(args, filename), { ...cache, write: true, unmap: true }));
    const progress = progressOf(args, context, "Committing", 1);
    await run(
      usingImage(node, (image) =>
        commitImage(image, {
          base,
          // As qemu-img: with a base of one's own choice the image is kept.
          drop: args.has("drop") || base !== undefined,
          rateLimit,
          filename,
          realPath,
          signal: context.signal,
          ...(progress.onProgress === undefined ? {} : { onProgress: progress.onProgress }),
        }),
      ),
    );
    progress.end();
    if (!args.has("quiet")) output.line("Image committed.");
    return 0;
  },
};
