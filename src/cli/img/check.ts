/** `check`: consistency, and repair. Exit codes: 0 clean, 1 not completed, 2 corrupt, 3 leaks only, 63 no checks for this format. */
import { BlockError, strerror, toBlockError } from "../../base/error.js";
import type { ImageCheck } from "../../block/types.js";
import { checkImage } from "../../image/check.js";
import { openImage, closeQuietly } from "../../image/open.js";
import { UsageError } from "../options.js";
import { checkText, repairedText } from "./check-text.js";
import { cacheFlags, imageSpec, outputFormat, printJson, run, type Verb } from "./verb.js";

const NOT_SUPPORTED = 63;

export const check: Verb = {
  async run(args, context) {
    const { output } = context;
    const repair = args.get("repair");
    if (repair !== undefined && repair !== "leaks" && repair !== "all") {
      throw new UsageError(`Unknown option value for -r (expecting 'leaks' or 'all'): ${repair}`);
    }
    const fix = repair ?? "none";
    const form = outputFormat(args);
    const quiet = args.has("quiet");
    const [filename, ...rest] = args.operands;
    if (filename === undefined || rest.length > 0) throw new UsageError("Expecting one image file name");
    const cache = cacheFlags(args.get("source-cache") ?? "writeback", "Invalid source cache option: %");
    const environment = context.environment(args, "sync");
    const node = await run(
      openImage(environment, imageSpec(args, filename), {
        ...cache,
        write: fix !== "none",
        unmap: fix !== "none",
        check: true,
        forceShare: args.has("force-share"),
      }),
    );
    try {
      let result: ImageCheck;
      try {
        result = await run(
          checkImage(node, {
            fix,
            signal: context.signal,
            onProblem: (problem) => output.note(`${problem.text}\n`),
            onRepaired: (first) => {
              if (form === "human" && !quiet) output.print(repairedText(first));
            },
          }),
        );
      } catch (error) {
        const failure = toBlockError(error);
        if (failure instanceof BlockError && failure.code === "ERR_UNSUPPORTED") {
          output.error("This image format does not support checks");
          return NOT_SUPPORTED;
        }
        // What makes going on pointless; a bare errno says nothing that the line below does not say.
        if (failure.message !== strerror(failure.errno)) output.error(failure.message, failure.hint);
        output.error(`Check failed: ${strerror(failure.errno)}`);
        return 1;
      }
      if (!quiet) {
        if (form === "json") printJson(output, { ...result, filename });
        else output.print(checkText(result));
      }
      if (result["check-errors"] > 0) {
        output.error("Check failed");
        return 1;
      }
      if ((result.corruptions ?? 0) > 0) return 2;
      return (result.leaks ?? 0) > 0 ? 3 : 0;
    } finally {
      await run(closeQuietly(node));
    }
  },
};
