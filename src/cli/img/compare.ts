/** `compare`: exit code 0 when the images have the same content, 1 when not, 2 (and up) when that could not be found out. */
import { BlockError } from "../../base/error.js";
import { compareImages, type CompareResult } from "../../image/compare.js";
import { closeQuietly, openImage } from "../../image/open.js";
import { UsageError } from "../options.js";
import { cacheFlags, imageSpec, progressOf, run, type Verb } from "./verb.js";

/** Exit code when the content could not be read. */
const READ_FAILED = 4;

export const compare: Verb = {
  failureCode: 2,
  async run(args, context) {
    const { output } = context;
    const say = (text: string): void => {
      if (!args.has("quiet")) output.line(text);
    };
    const [name1, name2, ...rest] = args.operands;
    if (name1 === undefined || name2 === undefined || rest.length > 0) {
      output.failure(new UsageError("Expecting two image file names"));
      return 1;
    }
    const cache = cacheFlags(args.get("source-cache") ?? "writeback", "Invalid source cache option: %");
    const environment = context.environment(args, "sync");
    const flags = { ...cache, forceShare: args.has("force-share") };
    const first = await run(openImage(environment, imageSpec(args, name1), flags));
    try {
      const second = await run(openImage(environment, { ...imageSpec(args, name2), format: args.get("second-format") }, flags));
      try {
        const progress = progressOf(args, context, "Comparing", 2, false);
        let mismatch = false;
        let result: CompareResult;
        try {
          result = await run(
            compareImages(first, second, {
              strict: args.has("strict"),
              onSizeMismatch: () => void (mismatch = true),
              signal: context.signal,
              ...(progress.onProgress === undefined ? {} : { onProgress: progress.onProgress }),
            }),
          );
        } catch (error) {
          if (!(error instanceof BlockError) || error.operation !== "read") throw error;
          output.failure(error);
          if (mismatch) say("Warning: Image size mismatch!");
          return READ_FAILED;
        }
        if (mismatch) say("Warning: Image size mismatch!");
        if (result.identical) say("Images are identical.");
        else if (result.reason === "size") say("Strict mode: Image size mismatch!");
        else if (result.reason === "content") say(`Content mismatch at offset ${result.offset}!`);
        else say(`Strict mode: Offset ${result.offset} ${result.reason} mismatch!`);
        progress.end();
        return result.identical ? 0 : 1;
      } finally {
        await run(closeQuietly(second));
      }
    } finally {
      await run(closeQuietly(first));
    }
  },
};
