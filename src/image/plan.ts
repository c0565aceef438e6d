/** What a conversion will do, and what of the source the target cannot hold, before anything is written. */
import type { Environment } from "../block/context.js";
import type { Measure } from "../block/driver.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import type { Opt } from "../qapi/options.js";
import { imageSize } from "./open.js";
import { measureImage } from "./measure.js";

export type LostFeature = "snapshots" | "bitmaps" | "encryption" | "backing" | "compression";

export interface ConvertPlan {
  readonly format: string;
  readonly options: readonly Opt[];
  /** Virtual size in bytes. */
  readonly size: number;
  /** Bytes the target will need without compression; null where its format cannot say. */
  readonly measure: Measure | null;
  /** What will not be in the target. "backing": the content of the chain will be, its layers not. */
  readonly lost: readonly LostFeature[];
}

export function* planConvert(
  environment: Environment,
  source: Node,
  request: { format: string; options?: readonly Opt[]; compress?: boolean },
): Op<ConvertPlan> {
  const impl = source.impl;
  const options = request.options ?? [];
  const lost: LostFeature[] = [];
  if (impl.shape === "mapped") {
    if ((impl.snapshots?.list() ?? []).length > 0) lost.push("snapshots");
    if ((impl.bitmaps?.list() ?? []).length > 0) lost.push("bitmaps");
    if (source.backing !== null) lost.push("backing");
  }
  if (impl.blockInfo?.().encrypted === true && !options.some((opt) => opt.name.startsWith("encrypt"))) lost.push("encryption");
  const driver = environment.drivers.get(request.format);
  const measure =
    driver?.measure === undefined ? null : yield* measureImage(environment, { format: request.format, options, source });
  return { format: request.format, options, size: imageSize(source), measure, lost };
}
