/** `convert`, and `planConvert`. */
import type { Node } from "../block/node.js";
import { runAsync, type Op } from "../block/op.js";
import { checkOptions } from "../image/arguments.js";
import { convertInto, startsZeroed } from "../image/convert.js";
import { closeQuietly, imageSize, keySecretOptions } from "../image/open.js";
import { planConvert } from "../image/plan.js";
import { createOp, optsOf } from "./create.js";
import type { Library } from "./functions.js";
import { openOp, using } from "./open.js";
import { CONVERT, PLAN, type ConvertTo, type Platform } from "./options.js";

function* convertOp<Source>(platform: Platform<Source>, source: Node, target: Source, options: ConvertTo<Source>): Op<void> {
  const format = options.plan?.format ?? options.format ?? "raw";
  const { plan, options: given, signal, onProgress, compress, sparseSize, parallel, rateLimit, outOfOrder, ...common } = options;
  checkOptions("convert", options, CONVERT);
  const chosen = plan === undefined ? (given ?? {}) : Object.fromEntries(plan.options.map((opt) => [opt.name, opt.value]));
  const opts = yield* createOp(platform, target, { ...common, ...chosen, format, size: imageSize(source) });
  const secrets = keySecretOptions(Object.fromEntries(opts.map((opt) => [opt.name, opt.value])));
  const node = yield* openOp(platform, target, { ...common, format, writable: true, options: { ...secrets } });
  try {
    yield* convertInto([source], node, {
      targetIsZero: startsZeroed(node),
      signal,
      onProgress,
      ...(compress === undefined ? {} : { compress }),
      ...(sparseSize === undefined ? {} : { sparseSize }),
      ...(parallel === undefined ? {} : { parallel }),
      ...(rateLimit === undefined ? {} : { rateLimit }),
      ...(outOfOrder === undefined ? {} : { outOfOrder }),
    });
  } catch (error) {
    yield* closeQuietly(node);
    throw error;
  }
  yield* node.unref();
}

export function makeConvert<Source>(platform: Platform<Source>): Library<Source>["convert"] {
  return (source, target, options = {}) =>
    using(platform, source, options, ({ node }) => runAsync(convertOp(platform, node, target, options)));
}

/** The same on every platform: it asks an image that is open. */
export const planConversion: Library<unknown>["planConvert"] = async (source, options) => {
  checkOptions("planConvert", options, PLAN);
  const { environment } = source.node;
  const opts = optsOf(environment, options.format, options.options);
  return await runAsync(planConvert(environment, source.node, { ...options, options: opts }));
};
