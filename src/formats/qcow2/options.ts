/** Runtime options of the qcow2 driver, with QEMU's names, defaults and messages. */
import { BlockError } from "../../base/error.js";
import { alignUp, isPowerOfTwo, KiB, MiB } from "../../base/int.js";
import type { OpenContext } from "../../block/context.js";
import { take, takeBool, takeSize, takeString } from "../../block/take.js";
import { Autoclear, Compatible } from "./layout.js";
import type { Header } from "./header.js";
import type { MetadataKind } from "./overlap.js";

export interface Options {
  lazyRefcounts: boolean;
  passDiscardRequest: boolean;
  passDiscardSnapshot: boolean;
  passDiscardOther: boolean;
  discardNoUnref: boolean;
  overlap: ReadonlySet<MetadataKind>;
  /** Bytes. */
  l2CacheSize: number;
  refcountCacheSize: number;
  /** Bytes of one cached slice of an L2 table or refcount block. */
  sliceSize: number;
  /** Autoclear bits that this session maintains. */
  autoclearKept: number;
  snapshotTableSize: number;
}

const OVERLAP_KINDS = [
  "main-header",
  "active-l1",
  "active-l2",
  "refcount-table",
  "refcount-block",
  "snapshot-table",
  "inactive-l1",
  "inactive-l2",
  "bitmap-directory",
] as const;

const TEMPLATES: Record<string, readonly MetadataKind[]> = {
  none: [],
  constant: ["main-header", "refcount-table", "snapshot-table", "active-l1", "bitmap-directory"],
  cached: [
    "main-header",
    "refcount-table",
    "snapshot-table",
    "active-l1",
    "bitmap-directory",
    "refcount-block",
    "active-l2",
    "inactive-l1",
  ],
  all: OVERLAP_KINDS,
};

export const CACHE_OPTIONS: readonly string[] = [
  "cache-size",
  "l2-cache-size",
  "l2-cache-entry-size",
  "refcount-cache-size",
  "cache-clean-interval",
];
export const RUNTIME_OPTIONS: readonly string[] = /* @__PURE__ */ [
  "encrypt",
  "lazy-refcounts",
  "pass-discard-request",
  "pass-discard-snapshot",
  "pass-discard-other",
  "discard-no-unref",
  "overlap-check",
  "overlap-check.template",
].concat(
  /* @__PURE__ */ OVERLAP_KINDS.map((kind) => `overlap-check.${kind}`),
  CACHE_OPTIONS,
);

/** All but the key. */
export const MUTABLE_OPTIONS: readonly string[] = /* @__PURE__ */ RUNTIME_OPTIONS.slice(1);

const MAX_L2_CACHE = 32 * MiB;
const MIN_REFCOUNT_CLUSTERS = 4;
/** Entries that QEMU can count; what is asked for is bounded by the memory budget in any case. */
const MAX_CACHE_ENTRIES = 0x7fffffff;

export function takeOptions(context: OpenContext, header: Header): Options {
  const bag = context.options;
  const clusterSize = 2 ** header.clusterBits;
  const fromImage = (header.compatible.lo & Compatible.lazyRefcounts) !== 0;
  const lazyRefcounts = takeBool(bag, "lazy-refcounts") ?? fromImage;
  if (lazyRefcounts && header.version < 3) {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level",
    );
  }
  const unmap = context.flags.unmap;
  takeCleanInterval(bag);
  return {
    lazyRefcounts: lazyRefcounts && context.flags.write,
    passDiscardRequest: takeBool(bag, "pass-discard-request") ?? unmap,
    passDiscardSnapshot: takeBool(bag, "pass-discard-snapshot") ?? true,
    passDiscardOther: takeBool(bag, "pass-discard-other") ?? false,
    discardNoUnref: takeBool(bag, "discard-no-unref") ?? false,
    overlap: takeOverlap(bag),
    ...takeCacheSizes(bag, header, clusterSize, context.environment.memoryBudget),
    autoclearKept: Autoclear.bitmaps | Autoclear.rawDataFile,
    snapshotTableSize: 0,
  };
}

/** Seconds after which unused cache entries go; ours are bounded and stay. */
function takeCleanInterval(bag: Record<string, unknown>): void {
  const value = take(bag, "cache-clean-interval");
  if (value === undefined || value === null) return;
  const seconds = Number(value);
  if (!Number.isInteger(seconds))
    throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'cache-clean-interval' expects a number");
  if (seconds < 0 || seconds > 0xffffffff) throw new BlockError("ERR_INVALID_ARGUMENT", "Cache clean interval too big");
}

function takeOverlap(bag: Record<string, unknown>): ReadonlySet<MetadataKind> {
  const given = take(bag, "overlap-check");
  const flags = typeof given === "object" && given !== null ? { ...(given as Record<string, unknown>) } : {};
  const named = takeString(flags, "template") ?? takeString(bag, "overlap-check.template");
  if (typeof given === "string" && named !== undefined && named !== given) {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      `Conflicting values for qcow2 options 'overlap-check' ('${given}') and 'overlap-check.template' ('${named}')`,
    );
  }
  const template = typeof given === "string" ? given : (named ?? "cached");
  const kinds = TEMPLATES[template];
  if (kinds === undefined) {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      `Unsupported value '${template}' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all`,
    );
  }
  const chosen = new Set<MetadataKind>(kinds);
  for (const kind of OVERLAP_KINDS) {
    const on = takeBool(flags, kind) ?? takeBool(bag, `overlap-check.${kind}`);
    if (on === true) chosen.add(kind);
    if (on === false) chosen.delete(kind);
  }
  return chosen;
}

/** Bytes of the caches: as asked for, else what it takes to map the whole image, within limits. */
export function takeCacheSizes(
  bag: Record<string, unknown>,
  header: Header,
  clusterSize: number,
  budget: number,
): { l2CacheSize: number; refcountCacheSize: number; sliceSize: number } {
  const both = takeSize(bag, "cache-size");
  let l2 = takeSize(bag, "l2-cache-size");
  let refcount = takeSize(bag, "refcount-cache-size");
  const sliceSize = takeSize(bag, "l2-cache-entry-size") ?? Math.min(clusterSize, 64 * KiB);
  if (sliceSize < 512 || sliceSize > clusterSize || !isPowerOfTwo(sliceSize)) {
    throw new BlockError(
      "ERR_INVALID_ARGUMENT",
      `L2 cache entry size must be a power of two between 512 and the cluster size (${clusterSize})`,
    );
  }
  if (both !== undefined) {
    if (l2 !== undefined && refcount !== undefined) {
      throw new BlockError(
        "ERR_INVALID_ARGUMENT",
        "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time",
      );
    }
    if (l2 !== undefined && l2 > both) throw new BlockError("ERR_INVALID_ARGUMENT", "l2-cache-size may not exceed cache-size");
    if (refcount !== undefined && refcount > both)
      throw new BlockError("ERR_INVALID_ARGUMENT", "refcount-cache-size may not exceed cache-size");
    if (l2 === undefined)
      l2 = refcount === undefined ? both - Math.min(MIN_REFCOUNT_CLUSTERS * clusterSize, both / 2) : both - refcount;
    refcount ??= both - l2;
  }
  if (l2 !== undefined && l2 / sliceSize > MAX_CACHE_ENTRIES)
    throw new BlockError("ERR_INVALID_ARGUMENT", "L2 cache size too big");
  if (refcount !== undefined && refcount / clusterSize > MAX_CACHE_ENTRIES)
    throw new BlockError("ERR_INVALID_ARGUMENT", "Refcount cache size too big");
  // What it takes to map the whole image, within limits.
  const entry = header.incompatible.lo & 16 ? 16 : 8;
  const whole = Math.ceil(header.size / clusterSize) * entry;
  const bounded = (bytes: number): number => alignUp(Math.max(2 * sliceSize, Math.min(bytes, budget)), sliceSize);
  return {
    l2CacheSize: bounded(l2 ?? Math.min(alignUp(whole, sliceSize) + 2 * sliceSize, MAX_L2_CACHE)),
    refcountCacheSize: bounded(refcount ?? Math.max(MIN_REFCOUNT_CLUSTERS * Math.min(clusterSize, 64 * KiB), 16 * sliceSize)),
    sliceSize,
  };
}
