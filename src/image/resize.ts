/** Changing the size of an image. */
import { BlockError } from "../base/error.js";
import { truncate } from "../block/io.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import type { Preallocation } from "../storage/storage.js";
import { imageSize } from "./open.js";

export interface ResizeOptions {
  /** How new space is allocated; default "off". */
  preallocation?: Preallocation;
  /** Giving away data at the end must be wanted. */
  shrink?: boolean;
}

const MODES: readonly Preallocation[] = ["off", "metadata", "falloc", "full"];

/** Sets the size in bytes. The image must be open read-write. */
export function* resizeImage(node: Node, size: number, options: ResizeOptions = {}): Op<void> {
  const preallocation = options.preallocation ?? "off";
  if (!MODES.includes(preallocation))
    throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid parameter '${String(preallocation)}'`, {
      hint: `preallocation is one of: ${MODES.join(", ")}.`,
    });
  const current = imageSize(node);
  if (size <= 0 || !Number.isSafeInteger(size)) throw new BlockError("ERR_INVALID_ARGUMENT", "New image size must be positive");
  if (size <= current && preallocation !== "off")
    throw new BlockError("ERR_INVALID_ARGUMENT", "Preallocation can only be used for growing images");
  if (size < current && options.shrink !== true) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Use the --shrink option to perform a shrink operation.");
  }
  yield* truncate(node, size, { preallocation, exact: true });
}
