/** `bench`: how fast an image is read or written. */
import { parseSizeArgument, parseInteger } from "../../base/size.js";
import { fixed } from "../../base/format.js";
import { benchImage } from "../../image/bench.js";
import { closeQuietly, openImage } from "../../image/open.js";
import { UsageError } from "../options.js";
import { cacheFlags, imageSpec, refuse, run, type Verb } from "./verb.js";

const MAX_INT = 2147483647;

function integer(text: string | undefined, fallback: number, max: number, message: string): number {
  if (text === undefined) return fallback;
  const value = parseInteger(text);
  if (typeof value !== "bigint" || value < 0n || value > BigInt(max)) throw refuse(message);
  return Number(value);
}

export const bench: Verb = {
  async run(args, context) {
    const { output } = context;
    const count = integer(args.get("count"), 75000, MAX_INT, "Invalid request count specified");
    const depth = integer(args.get("depth"), 64, MAX_INT, "Invalid queue depth specified");
    const offsetText = args.get("offset");
    const offset = offsetText === undefined ? 0 : parseSizeArgument("offset", offsetText);
    const sizeText = args.get("buffer-size");
    const bufferSize = sizeText === undefined ? 4096 : parseSizeArgument("buffer size", sizeText, { max: MAX_INT });
    const stepText = args.get("step-size");
    const step = stepText === undefined ? 0 : parseSizeArgument("step size", stepText, { max: MAX_INT });
    const pattern = integer(args.get("pattern"), 0, 255, "Invalid pattern byte specified");
    const flushInterval = integer(args.get("flush-interval"), 0, MAX_INT, "Invalid flush interval specified");
    const aio = args.get("aio") ?? "threads";
    if (!["threads", "native", "io_uring"].includes(aio)) throw refuse(`Invalid aio option: ${aio}`);
    const cache = cacheFlags(args.get("cache") ?? "writeback", "Invalid cache mode");
    const writes = args.has("write");
    const [filename, ...rest] = args.operands;
    if (filename === undefined || rest.length > 0) throw new UsageError("Expecting one image file name");
    if (!writes && flushInterval > 0) throw refuse("--flush-interval is only available in write tests");
    if (flushInterval > 0 && flushInterval < depth) throw refuse("Flush interval can't be smaller than depth");
    if (depth === 0) throw refuse("Invalid queue depth specified");
    const environment = context.environment(args, "both");
    const node = await run(
      openImage(environment, imageSpec(args, filename), {
        ...cache,
        write: writes,
        unmap: writes,
        forceShare: args.has("force-share"),
      }),
    );
    try {
      const distance = step === 0 ? bufferSize : step;
      if (!args.has("quiet")) {
        output.line(
          `Sending ${count} ${writes ? "write" : "read"} requests, ${bufferSize} bytes each, ${depth} in parallel (starting at offset ${offset}, step size ${distance})`,
        );
        if (flushInterval > 0) output.line(`Sending flush every ${flushInterval} requests`);
      }
      const started = performance.now();
      await run(
        benchImage(node, {
          count,
          depth,
          bufferSize,
          step: distance,
          offset,
          write: writes,
          pattern,
          flushInterval,
          drainOnFlush: !args.has("no-drain"),
          signal: context.signal,
        }),
      );
      if (!args.has("quiet")) output.line(`Run completed in ${fixed((performance.now() - started) / 1000, 3)} seconds.`);
    } finally {
      await run(closeQuietly(node));
    }
    return 0;
  },
};
