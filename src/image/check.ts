/** Consistency checks and repair. */
import { BlockError, errnoError } from "../base/error.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { imageName } from "../block/node-filename.js";
import type { CheckFix, CheckProblem, ImageCheck, RepairStep } from "../block/types.js";
import type { OperationOptions } from "./signal.js";
import { throwIfAborted } from "./signal.js";

export interface CheckImageOptions extends OperationOptions {
  /** What to repair; needs the image opened read-write. */
  fix?: CheckFix;
  /** Every finding, worded as qemu-img words it. */
  onProblem?: (problem: CheckProblem) => void;
  /** Only find and plan: nothing is written, and the image may be open read-only. */
  dryRun?: boolean;
  /** Every step of the repair, before the first one is taken. */
  onPlan?: (step: RepairStep) => void;
  /** Called between a repair and the second check that proves it. */
  onRepaired?: (first: ImageCheck) => void;
}

/**
 * Checks an image; after a repair that changed something it is checked again, and what was fixed is added to that result.
 * @throws BlockError ERR_UNSUPPORTED (ENOTSUP) when the format has no checks
 */
export function* checkImage(node: Node, options: CheckImageOptions = {}): Op<ImageCheck> {
  const fix = options.fix ?? "none";
  const first = yield* checkOnce(node, fix, options);
  if (fix === "none" || ((first["corruptions-fixed"] ?? 0) === 0 && (first["leaks-fixed"] ?? 0) === 0)) return first;
  options.onRepaired?.(first);
  const second = yield* checkOnce(node, "none", options);
  if (first["leaks-fixed"]) second["leaks-fixed"] = first["leaks-fixed"];
  if (first["corruptions-fixed"]) second["corruptions-fixed"] = first["corruptions-fixed"];
  return second;
}

function* checkOnce(node: Node, fix: CheckFix, options: CheckImageOptions): Op<ImageCheck> {
  const impl = node.impl;
  if (impl.shape !== "mapped" || impl.check === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", "This image format does not support checks", {
      errno: "ENOTSUP",
      node: node.nodeName,
    });
  }
  if (fix !== "none" && options.dryRun !== true && node.readOnly)
    throw errnoError("EACCES", "The image must be open read-write to be repaired");
  throwIfAborted(options.signal);
  const found = yield* impl.check({
    fix: options.dryRun === true && node.driver.plansRepairs !== true ? "none" : fix,
    report: (problem) => options.onProblem?.(problem),
    ...(options.dryRun === true ? { dryRun: true } : {}),
    ...(options.onPlan === undefined ? {} : { plan: options.onPlan }),
    progress: (done, total) => {
      throwIfAborted(options.signal);
      options.onProgress?.({ phase: fix === "none" ? "check" : "repair", done, total });
    },
  });
  return withoutZeros({ ...found, filename: imageName(node), format: node.driver.name });
}

/** Counts of nothing are left out, as in QAPI's optional members. */
function withoutZeros(check: ImageCheck): ImageCheck {
  const result: ImageCheck = { filename: check.filename, format: check.format, "check-errors": check["check-errors"] };
  for (const [name, value] of Object.entries(check)) {
    if (name !== "check-errors" && value !== 0 && value !== undefined) Object.assign(result, { [name]: value });
  }
  return result;
}
