/** The limits of throttling: what can be limited, how limits are spelled, which make sense. `throttle-group.ts` keeps them. */
import { BlockError } from "../base/error.js";
import { take, takeSize } from "./take.js";

/** The six things that can be limited. */
export const THROTTLED = ["bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write"] as const;
export type Throttled = (typeof THROTTLED)[number];

export interface BucketLimit {
  /** Units a second in the long run; 0: no limit. */
  average: number;
  /** Units a second in a burst; 0: no bursts but short ones (a tenth of a second). */
  max: number;
  /** Seconds a burst may last; at least 1. */
  length: number;
}
export interface ThrottleLimits {
  buckets: Readonly<Record<Throttled, BucketLimit>>;
  /** A request counts as one operation for each so many bytes; 0: as one whatever its size. */
  iopsSize: number;
}

/** No rate may be higher than this. */
export const MAX_RATE = 1e15;

export function noLimits(): ThrottleLimits {
  const none = (): BucketLimit => ({ average: 0, max: 0, length: 1 });
  return {
    buckets: {
      "bps-total": none(),
      "bps-read": none(),
      "bps-write": none(),
      "iops-total": none(),
      "iops-read": none(),
      "iops-write": none(),
    },
    iopsSize: 0,
  };
}

/** Takes limits out of a bag in the spelling of throttle-group objects: `bps-total`, `bps-total-max`, `bps-total-max-length`, `iops-size`, also with `x-`. */
export function takeLimits(bag: Record<string, unknown>): ThrottleLimits {
  const limits = noLimits();
  const number = (name: string): number | undefined => {
    const plain = takeSize(bag, name);
    return plain ?? takeSize(bag, `x-${name}`);
  };
  for (const what of THROTTLED) {
    const limit = limits.buckets[what];
    limit.average = number(what) ?? 0;
    limit.max = number(`${what}-max`) ?? 0;
    limit.length = number(`${what}-max-length`) ?? 1;
  }
  limits.iopsSize = number("iops-size") ?? 0;
  const nested = take(bag, "limits");
  if (typeof nested === "object" && nested !== null) return takeLimits({ ...nested });
  checkLimits(limits);
  return limits;
}

/** Throws what is wrong with limits, in QEMU's words. */
export function checkLimits({ buckets, iopsSize }: ThrottleLimits): void {
  const bad = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);
  for (const kind of ["bps", "iops"] as const) {
    const total = buckets[`${kind}-total`];
    const parts = [buckets[`${kind}-read`], buckets[`${kind}-write`]];
    if ((total.average > 0 && parts.some((part) => part.average > 0)) || (total.max > 0 && parts.some((part) => part.max > 0))) {
      throw bad("bps/iops/max total values and read/write values cannot be used at the same time");
    }
  }
  if (
    iopsSize > 0 &&
    !(buckets["iops-total"].average > 0 || buckets["iops-read"].average > 0 || buckets["iops-write"].average > 0)
  ) {
    throw bad("iops size requires an iops value to be set");
  }
  for (const what of THROTTLED) {
    const { average, max, length } = buckets[what];
    if (average > MAX_RATE || max > MAX_RATE) throw bad(`bps/iops/max values must be within [0, ${MAX_RATE}]`);
    if (length < 1) throw bad("the burst length cannot be 0");
    if (length > 1 && max === 0) throw bad("burst length set without burst rate");
    if (max > 0 && length > MAX_RATE / max) throw bad("burst length too high for this burst rate");
    if (max > 0 && average === 0) throw bad("bps_max/iops_max require corresponding bps/iops values");
    if (max > 0 && max < average) throw bad("bps_max/iops_max cannot be lower than bps/iops");
  }
}
