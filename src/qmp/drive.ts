/** Drives described by the options of QEMU's `-drive`: medium, cache mode, error policies, limits, statistics. */
import { BlockError } from "../base/error.js";
import type { BlockdevOptions, OpenFlags } from "../block/context.js";
import type { ErrorPolicy } from "../block/error-policy.js";
import type { Node } from "../block/node.js";
import { openNode } from "../block/open.js";
import type { Op } from "../block/op.js";
import { storageNode } from "../block/storage-node.js";
import { take, takeBool, takeString } from "../block/take.js";
import { takeLimits, THROTTLED, type ThrottleLimits } from "../block/throttle.js";
import { temporaryOverlay } from "../image/temporary-overlay.js";
import type { JsonObject } from "../qapi/json.js";
import { unflatten } from "../qapi/options.js";
import type { BlockCore } from "./block-core.js";
import type { Device } from "./device.js";
import { nameOfPlace, takePlace } from "./drive-place.js";

type Bag = Record<string, unknown>;
const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

/** Names that options had before. */
const RENAMED: Readonly<Record<string, string>> = {
  iops: "throttling.iops-total",
  iops_rd: "throttling.iops-read",
  iops_wr: "throttling.iops-write",
  bps: "throttling.bps-total",
  bps_rd: "throttling.bps-read",
  bps_wr: "throttling.bps-write",
  iops_max: "throttling.iops-total-max",
  iops_rd_max: "throttling.iops-read-max",
  iops_wr_max: "throttling.iops-write-max",
  bps_max: "throttling.bps-total-max",
  bps_rd_max: "throttling.bps-read-max",
  bps_wr_max: "throttling.bps-write-max",
  iops_size: "throttling.iops-size",
  group: "throttling.group",
  readonly: "read-only",
};

/** Flags of a cache mode's name (`cache=writethrough`); null for no such mode. */
function cacheModeFlags(mode: string): Pick<OpenFlags, "direct" | "noFlush" | "writethrough"> | null {
  switch (mode) {
    case "none":
    case "off":
      return { direct: true, noFlush: false, writethrough: false };
    case "directsync":
      return { direct: true, noFlush: false, writethrough: true };
    case "writeback":
      return { direct: false, noFlush: false, writethrough: false };
    case "unsafe":
      return { direct: false, noFlush: true, writethrough: false };
    case "writethrough":
      return { direct: false, noFlush: false, writethrough: true };
    default:
      return null;
  }
}

function takePolicy(bag: Bag, name: "rerror" | "werror"): ErrorPolicy | undefined {
  const value = takeString(bag, name);
  if (value === undefined) return undefined;
  const isRead = name === "rerror";
  if (value === "report" || value === "ignore" || value === "stop" || (value === "enospc" && !isRead)) return value;
  throw fail(`'${value}' invalid ${isRead ? "read" : "write"} error action`);
}

/** Limits under `throttling.`; null when none are given (a group alone counts for nothing, as in QEMU). */
function takeThrottling(bag: Bag): { limits: ThrottleLimits; group: string | undefined } | null {
  const inner: Bag = {};
  for (const name of Object.keys(bag)) if (name.startsWith("throttling.")) inner[name.slice(11)] = take(bag, name);
  const group = takeString(inner, "group");
  const limits = takeLimits(inner);
  for (const name of Object.keys(inner)) throw fail(`Block format 'raw' does not support the option 'throttling.${name}'`);
  const some = THROTTLED.some((what) => limits.buckets[what].average > 0);
  return some ? { limits, group } : null;
}

function takeIntervals(bag: Bag): number[] {
  const intervals: number[] = [];
  for (let i = 0; ; i++) {
    const value = take(bag, `stats-intervals.${i}`);
    if (value === undefined) break;
    const seconds = Number(value);
    if (!Number.isInteger(seconds) || seconds <= 0 || seconds > 0xffff_ffff)
      throw fail(`Invalid interval length: ${String(value)}`);
    intervals.push(seconds);
  }
  return intervals;
}

/**
 * Makes a drive.
 * @param given the options of `-drive`, by name as they are written there (dotted names stay dotted); no others are accepted than
 *   those that QEMU and the driver of the medium know
 */
export function* addDrive(core: BlockCore, given: Readonly<JsonObject>): Op<Device> {
  const bag: Bag = {};
  for (const [name, value] of Object.entries(given)) {
    const today = RENAMED[name] ?? name;
    if (today !== name && given[today] !== undefined)
      throw fail(`'${today}' and its alias '${name}' can't be used at the same time`);
    bag[today] = value;
  }
  const place = takePlace(
    bag,
    [...core.devices.values()].flatMap((device) => device.place ?? []),
  );
  take(bag, "serial");
  const id = takeString(bag, "id") ?? nameOfPlace(place);
  const rerror = takePolicy(bag, "rerror");
  const werror = takePolicy(bag, "werror");
  const throttling = takeThrottling(bag);
  const accounting = {
    invalid: takeBool(bag, "stats-account-invalid") ?? true,
    failed: takeBool(bag, "stats-account-failed") ?? true,
    intervals: takeIntervals(bag),
  };
  const readOnly = takeBool(bag, "read-only") ?? place.media === "cdrom";
  const medium = yield* openMedium(core, bag, readOnly);
  let device: Device;
  try {
    device = core.addDevice(id, medium, {
      ...(rerror === undefined ? {} : { rerror }),
      ...(werror === undefined ? {} : { werror }),
      accounting,
      readOnly,
      place,
    });
  } finally {
    if (medium !== null) yield* medium.unref();
  }
  if (throttling !== null) core.throttleGroups.join(device.backend, throttling.group ?? id).limits = throttling.limits;
  return device;
}

/** Opens what the drive has in it; null: nothing. The caller owns a reference. */
function* openMedium(core: BlockCore, bag: Bag, readOnly: boolean): Op<Node | null> {
  const file = takeString(bag, "file");
  const format = takeString(bag, "format");
  if (format !== undefined && bag["driver"] !== undefined) throw fail("Cannot specify both 'driver' and 'format'");
  const driver = format ?? takeString(bag, "driver");
  const mode = takeString(bag, "cache");
  const cache: Partial<OpenFlags> | null = mode === undefined ? {} : cacheModeFlags(mode);
  if (cache === null) throw fail("invalid cache option");
  const writeback = takeBool(bag, "cache.writeback");
  if (writeback !== undefined) cache.writethrough = !writeback;
  const aio = takeString(bag, "aio");
  if (aio !== undefined && !["threads", "native", "io_uring"].includes(aio)) throw fail("invalid aio option");
  if (aio === "native" && !(cache.direct ?? bag["cache.direct"] === "on"))
    throw fail("aio=native was specified, but it requires cache.direct=on, which was not specified.");
  const copyOnRead = takeBool(bag, "copy-on-read") ?? false;
  const snapshot = takeBool(bag, "snapshot") ?? false;
  if (
    (file === undefined || file === "") &&
    driver === undefined &&
    Object.keys(bag).every((name) => NOT_OF_A_MEDIUM.has(name.split(".")[0]!))
  )
    return null;
  const nodeName = bag["node-name"];
  if (nodeName !== undefined) core.nodes.checkNames({ "node-name": nodeName }, (name) => core.devices.has(name));
  const options: BlockdevOptions = {
    ...(unflatten(bag as JsonObject, "keep") as BlockdevOptions),
    "read-only": readOnly || snapshot,
  };
  const node = yield* openNode(core.environment, {
    ...(file === undefined || file === "" ? {} : { filename: file }),
    ...(driver === undefined ? {} : { driver }),
    options,
    flags: core.openFlags({ ...cache, ...(snapshot ? { write: false } : {}) }),
  });
  if (snapshot) return yield* overlayOf(core, node, readOnly);
  if (!copyOnRead || readOnly) return node;
  try {
    return yield* openNode(core.environment, {
      options: { driver: "copy-on-read", file: node },
      flags: { ...node.flags, ...node.inactive },
    });
  } finally {
    yield* node.unref();
  }
}

/** A place for writes that ends with the drive (`snapshot=on`); takes over the reference. */
function* overlayOf(core: BlockCore, node: Node, readOnly: boolean): Op<Node> {
  if (core.temporaryFile === null) {
    yield* node.unref();
    throw new BlockError("ERR_UNSUPPORTED", "There is no place for temporary snapshots here");
  }
  let file: Node;
  try {
    file = yield* storageNode(core.environment, core.temporaryFile());
  } catch (error) {
    yield* node.unref();
    throw error;
  }
  const overlay = yield* temporaryOverlay(core.environment, node, file);
  // The file below stays as it is: it has no name to be opened by.
  if (readOnly) overlay.flags = { ...overlay.flags, write: false };
  return overlay;
}

const NOT_OF_A_MEDIUM: ReadonlySet<string> = new Set([
  "node-name",
  "cache",
  "detect-zeroes",
  "discard",
  "auto-read-only",
  "force-share",
]);
