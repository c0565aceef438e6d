/** `rebase`: another backing file for an image. */
import { rebaseImage } from "../../image/rebase.js";
import { openImage, usingImage } from "../../image/open.js";
import { UsageError } from "../options.js";
import { realPath } from "./real-path.js";
import { cacheFlags, imageSpec, progressOf, run, type Verb } from "./verb.js";

export const rebase: Verb = {
  async run(args, context) {
    const [filename, ...rest] = args.operands;
    if (filename === undefined || rest.length > 0) throw new UsageError("Expecting one image file name");
    const unsafe = args.has("unsafe");
    const backingFile = args.get("backing-file");
    if (!unsafe && backingFile === undefined) throw new UsageError("Must specify backing file (-b) or use unsafe mode (-u)");
    const cache = cacheFlags(args.get("cache") ?? "writeback", "Invalid cache option: %");
    const sourceCache = cacheFlags(args.get("source-cache") ?? "writeback", "Invalid source cache option: %");
    const environment = context.environment(args, "sync");
    const forceShare = args.has("force-share");
    // As QEMU has it, -U is about the backing files: the image itself is written.
    const node = await run(openImage(environment, imageSpec(args, filename), { ...cache, write: true, noBacking: unsafe }));
    const progress = progressOf(args, context, "Rebasing", 1);
    await run(
      usingImage(node, (image) =>
        rebaseImage(image, {
          backingFile: backingFile ?? null,
          backingFormat: args.get("backing-format"),
          unsafe,
          realPath,
          backingFlags: { ...sourceCache, forceShare },
          signal: context.signal,
          ...(progress.onProgress === undefined ? {} : { onProgress: progress.onProgress }),
        }),
      ),
    );
    progress.end();
    return 0;
  },
};
