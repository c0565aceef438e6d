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
const MAX_RATE = 1e15;

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
  const nested = take(bag, "limits");
  const limits = takeSome(bag, noLimits());
  if (typeof nested === "object" && nested !== null) takeSome({ ...nested }, limits);
  checkLimits(limits);
  return limits;
}

/** `limits` with those of the bag in their places. */
export function mergeLimits(limits: ThrottleLimits, bag: Readonly<Record<string, unknown>>): ThrottleLimits {
  const merged = { ...limits, buckets: { ...limits.buckets } };
  for (const what of THROTTLED) merged.buckets[what] = { ...merged.buckets[what] };
  return takeSome({ ...bag }, merged);
}

const outOfRange = (): BlockError =>
  new BlockError("ERR_INVALID_ARGUMENT", `bps/iops/max values must be within [0, ${MAX_RATE}]`);

function takeSome(bag: Record<string, unknown>, limits: ThrottleLimits): ThrottleLimits {
  const number = (name: string): number | undefined => {
    for (const spelled of [name, `x-${name}`]) {
      const value = bag[spelled];
      if ((typeof value === "number" || typeof value === "bigint") && value < 0)
        throw new BlockError("ERR_INVALID_ARGUMENT", "Property values cannot be negative");
      if (typeof value === "string" && (value.startsWith("-") || Number(value) > MAX_RATE)) throw outOfRange();
      const taken = takeSize(bag, spelled);
      if (taken !== undefined) return taken;
    }
    return undefined;
  };
  for (const what of THROTTLED) {
    const limit = limits.buckets[what];
    limit.average = number(what) ?? limit.average;
    limit.max = number(`${what}-max`) ?? limit.max;
    limit.length = number(`${what}-max-length`) ?? limit.length;
  }
  limits.iopsSize = number("iops-size") ?? limits.iopsSize;
  return limits;
}

/** The opposite of `takeLimits`. */
export function limitsBag({ buckets, iopsSize }: ThrottleLimits): Record<string, number> {
  const bag: Record<string, number> = {};
  for (const what of THROTTLED) {
    bag[what] = buckets[what].average;
    bag[`${what}-max`] = buckets[what].max;
    bag[`${what}-max-length`] = buckets[what].length;
  }
  bag["iops-size"] = iopsSize;
  return bag;
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
    if (average > MAX_RATE || max > MAX_RATE) throw outOfRange();
    if (length < 1) throw bad("the burst length cannot be 0");
    if (length > 1 && max === 0) throw bad("burst length set without burst rate");
    if (max > 0 && length > MAX_RATE / max) throw bad("burst length too high for this burst rate");
    if (max > 0 && average === 0) throw bad("bps_max/iops_max require corresponding bps/iops values");
    if (max > 0 && max < average) throw bad("bps_max/iops_max cannot be lower than bps/iops");
  }
}
