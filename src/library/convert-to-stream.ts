/** `convertToStream`. */
import { runAsync } from "../block/op.js";
import { checkOptions } from "../image/arguments.js";
import { Image } from "../image/image.js";
import { readablePlan } from "../image/readable.js";
import { planStream } from "../image/stream-plan.js";
import { optsOf } from "./create.js";
import { environmentOf } from "./environment.js";
import type { Library } from "./functions.js";
import { openOp } from "./open.js";
import { pickCommon, STREAM, type Platform } from "./options.js";

export function makeConvertToStream<Source>(platform: Platform<Source>): Library<Source>["convertToStream"] {
  return async (source, options = {}) => {
    checkOptions("convertToStream", options, STREAM);
    const { format = "raw", signal, onProgress } = options;
    const own = source instanceof Image ? null : new Image(await runAsync(openOp(platform, source, pickCommon(options))));
    const ended = (): Promise<void> => own?.close() ?? Promise.resolve();
    try {
      const { node } = own ?? (source as Image);
      // What the source was opened with may lack the format of the new image.
      const environment = options.formats === undefined ? node.environment : environmentOf(platform, options);
      const plan = await runAsync(
        planStream(environment, [node], {
          format,
          options: optsOf(environment, format, options.options),
          signal,
          ...(onProgress === undefined ? {} : { onProgress }),
        }),
      );
      return { length: plan.length, stream: readablePlan(plan, ended) };
    } catch (error) {
      await ended();
      throw error;
    }
  };
}
