/** `check` of open images: for callers in JavaScript, of either kind. */
import { BlockError } from "../base/error.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import type { CheckProblem, ImageCheck, RepairStep } from "../block/types.js";
import { checkOptions } from "./arguments.js";
import { camelize, type Camelized } from "./camel.js";
import { checkImage } from "./check.js";
import type { OperationOptions } from "./signal.js";

export interface ImageCheckOptions extends OperationOptions {
  /** false: look only; "leaks": free lost clusters; true or "all": repair what can be repaired. */
  repair?: boolean | "leaks" | "all";
  onProblem?: (problem: CheckProblem) => void;
  /** Only find and plan what `repair` would do: nothing is written, and the image may be open for reading only. Formats that plan: qcow2. */
  dryRun?: boolean;
  /** Every step of a repair, before the first one is taken. */
  onPlan?: (step: RepairStep) => void;
}

export interface ImageCheckReport extends Camelized<ImageCheck> {
  /** Findings, at most `MAX_PROBLEMS`; `onProblem` hears of all. */
  problems: CheckProblem[];
}

const MAX_PROBLEMS = 1000;
const OPTIONS = ["repair", "onProblem", "dryRun", "onPlan", "signal", "onProgress"];

/** @throws BlockError ERR_UNSUPPORTED for formats that have no checks */
export function* checkReport(node: Node, options: ImageCheckOptions): Op<ImageCheckReport> {
  checkOptions("check", options, OPTIONS);
  const { repair = false, onProblem, ...rest } = options;
  if (typeof repair !== "boolean" && repair !== "leaks" && repair !== "all")
    throw new BlockError("ERR_INVALID_ARGUMENT", 'repair must be true, false, "leaks" or "all"');
  const problems: CheckProblem[] = [];
  const result = yield* checkImage(node, {
    ...rest,
    fix: repair === false ? "none" : repair === true ? "all" : repair,
    onProblem: (problem) => {
      if (problems.length < MAX_PROBLEMS) problems.push(problem);
      onProblem?.(problem);
    },
  });
  return { ...camelize(result), problems };
}
