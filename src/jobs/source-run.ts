/** What a range of a job's source is, in runs worth one request. */
import { alignDown, alignUp } from "../base/int.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { blockStatus } from "../block/status.js";

export interface SourceRun {
  /** Bytes, in whole units but for the end of the range. */
  length: number;
  /** "hole": reads as zeros, and nothing is stored for it. */
  kind: "data" | "zero" | "hole";
}

/**
 * The run that begins at `offset`: at most `length` bytes, of data at most `maxData`. A unit that is data in part is data. Where the
 * source does not tell, it is data, too: reading that fails or not.
 */
export function* sourceRun(source: Node, offset: number, length: number, unit: number, maxData: number): Op<SourceRun> {
  const end = offset + length;
  let at = offset;
  let kind: SourceRun["kind"] = "data";
  while (at < end && (at === offset || kind !== "data" || at - offset < maxData)) {
    const found = yield* statusAt(source, at, end - at);
    if (at > offset && found.kind !== kind) break;
    kind = found.kind;
    at += found.length;
  }
  if (kind !== "data") {
    const whole = at === end ? length : alignDown(at - offset, unit);
    if (whole > 0) return { length: whole, kind };
  }
  return { length: Math.min(length, maxData, alignUp(at - offset, unit)), kind: "data" };
}

function* statusAt(source: Node, offset: number, length: number): Op<SourceRun> {
  try {
    const status = yield* blockStatus(source, offset, length);
    return { length: status.length, kind: !status.zero ? "data" : status.data ? "zero" : "hole" };
  } catch {
    return { length, kind: "data" };
  }
}
