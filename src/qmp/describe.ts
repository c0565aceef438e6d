/** What nodes, devices and jobs look like in answers. */
import type { Backend } from "../block/backend.js";
import { below, skipImplicit } from "../block/graph.js";
import type { NamedBitmap } from "../block/named-bitmap.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import type { ImageInfo } from "../block/types.js";
import type { WorkBitmap } from "../block/work-bitmap.js";
import { imageInfo } from "../image/info.js";
import type { Job } from "../jobs/job.js";
import type { BlockCore } from "./block-core.js";
import type { Device } from "./device.js";
import { IO_LIMITS } from "./io-limits.js";

type Json = Record<string, unknown>;

function* image(node: Node): Op<ImageInfo> {
  const info = yield* imageInfo(node);
  return { ...(hasDetails(node) ? { "dirty-flag": false } : {}), ...info, filename: node.filename };
}

/** Whether QEMU knows more of such a node than its size: of files and formats it does. */
function hasDetails(node: Node): boolean {
  const { category, name } = node.driver;
  if (category === "protocol") return name === "file" || name.startsWith("host_");
  const [below] = node.children.filter(({ role }) => role === (category === "filter" ? "filtered" : "data"));
  if (category === "filter" || name === "raw") return below !== undefined && hasDetails(below.node);
  return true;
}

/** The next layer down; for a drive, filters of jobs are passed over. */
function layerBelow(node: Node, ofDrive: boolean): Node | null {
  const next = below(node);
  return next !== null && ofDrive ? skipImplicit(next) : next;
}

/** ImageInfo with the chain below in `backing-image`, filters and all. */
function* imageChain(node: Node, ofDrive: boolean): Op<ImageInfo> {
  const info = yield* image(node);
  const next = layerBelow(node, ofDrive);
  if (next !== null) info["backing-image"] = yield* imageChain(next, ofDrive);
  return info;
}

function namedBitmap(bitmap: NamedBitmap): Json {
  return {
    name: bitmap.name,
    recording: bitmap.enabled,
    persistent: bitmap.persistent,
    busy: bitmap.busy !== null,
    granularity: bitmap.granularity,
    count: bitmap.inconsistent ? 0 : bitmap.bits.count,
    ...(bitmap.inconsistent ? { inconsistent: true } : {}),
  };
}

function workBitmap({ recording, bits: { granularity, count } }: WorkBitmap): Json {
  return { recording, persistent: false, busy: false, granularity, count };
}

/** All that are on a node, the newest first. */
function bitmaps(node: Node): Json[] {
  const named = node.bitmaps.map((bitmap) => ({ number: bitmap.number, info: namedBitmap(bitmap) }));
  const others = [...node.workBitmaps].map((bitmap) => ({ number: bitmap.number, info: workBitmap(bitmap) }));
  return [...named, ...others].sort((a, b) => b.number - a.number).map(({ info }) => info);
}

/** What follows the writes of guests, as 2.2 has it. */
function earlyBitmaps({ bitmaps: named, workBitmaps }: Node): Json {
  const all = [...[...workBitmaps].filter(({ recording }) => recording), ...named];
  if (all.length === 0) return {};
  return { "dirty-bitmaps": all.map(({ bits: { count, granularity } }) => ({ count, granularity })) };
}

function chainDepth(node: Node, ofDrive: boolean): number {
  let depth = 0;
  for (let at = layerBelow(node, ofDrive); at !== null; at = layerBelow(at, ofDrive)) depth++;
  return depth;
}

/** What throttles a drive; the names are those of block_set_io_throttle. */
function throttling(backend: Backend | null, modern: boolean): Json {
  const group = backend?.throttle?.group;
  const info: Json = {};
  if (group === undefined) {
    for (const { name } of IO_LIMITS) info[name] = 0;
    return info;
  }
  const { buckets, iopsSize } = group.limits;
  for (const { name, what } of IO_LIMITS) {
    const { average, max, length } = buckets[what];
    info[name] = average;
    if (max > 0) {
      info[`${name}_max`] = max;
      if (modern) info[`${name}_max_length`] = length;
    }
  }
  if (iopsSize > 0) info["iops_size"] = iopsSize;
  if (modern) info["group"] = group.name;
  return info;
}

/** 2.2 says what the image names, 7.2 what is open below it. */
function backingFile(node: Node, named: string | null, modern: boolean): Json {
  const name = modern ? (node.backing?.filename ?? null) : named;
  return name === null ? {} : { backing_file: name };
}

/** BlockDeviceInfo. `flat`: without the backing chain. `backend`: the drive it is the medium of. */
export function* deviceInfo(core: BlockCore, node: Node, flat: boolean, backend: Backend | null = null): Op<Json> {
  const modern = core.profile === "qemu-7.2";
  // Counts are of the whole content.
  if (modern) for (const bitmap of node.bitmaps) if (!bitmap.inconsistent) yield* bitmap.load();
  const { impl } = node;
  const link = impl.shape === "mapped" ? (impl.backingFile ?? null) : null;
  const details = impl.blockInfo?.();
  return {
    file: node.filename,
    "node-name": node.nodeName,
    ro: node.staysReadOnly,
    drv: node.driver.name,
    ...backingFile(node, link?.filename ?? null, modern),
    backing_file_depth: flat ? 0 : chainDepth(node, backend !== null),
    encrypted: details?.encrypted ?? false,
    ...(modern ? {} : { encryption_key_missing: node.flags.noIO && details?.encrypted === true }),
    detect_zeroes: node.detectZeroes,
    ...throttling(backend, modern),
    image: flat ? yield* image(node) : yield* imageChain(node, backend !== null),
    cache: {
      writeback: (modern && backend === null) || !node.flags.writethrough,
      direct: node.flags.direct,
      "no-flush": node.flags.noFlush,
    },
    ...(modern ? { write_threshold: node.writeThreshold } : {}),
    ...(modern && node.bitmaps.length + node.workBitmaps.size > 0 ? { "dirty-bitmaps": bitmaps(node) } : {}),
  };
}

/** BlockInfo. */
export function* blockInfo(core: BlockCore, device: Device): Op<Json> {
  const root = device.medium;
  const modern = core.profile === "qemu-7.2";
  return {
    device: device.name,
    type: "unknown",
    removable: device.isRemovable,
    locked: device.locked,
    ...(modern && device.frontEnd !== null ? { qdev: device.frontEnd.qdev } : {}),
    ...(device.hasTray ? { tray_open: device.isTrayOpen } : {}),
    ...(device.ioStatus === null ? {} : { "io-status": device.ioStatus }),
    ...(root === null ? {} : { inserted: yield* deviceInfo(core, root, false, device.backend) }),
    ...(modern || root === null ? {} : earlyBitmaps(root)),
  };
}

export function jobInfo(job: Job): Json {
  return {
    id: job.id,
    type: job.type,
    status: job.status,
    "current-progress": job.progress.current,
    "total-progress": job.progress.total,
    ...(job.error === null ? {} : { error: job.error.message }),
  };
}

export function blockJobInfo(core: BlockCore, job: Job): Json {
  return {
    type: job.type,
    device: job.id,
    len: job.progress.total,
    offset: job.progress.current,
    busy: job.busy,
    paused: job.isPaused,
    speed: job.speed,
    "io-status": job.ioStatus,
    ready: job.isReady,
    ...(core.profile === "qemu-2.2"
      ? {}
      : {
          status: job.status,
          "auto-finalize": job.autoFinalize,
          "auto-dismiss": job.autoDismiss,
          ...(job.error === null ? {} : { error: job.error.message }),
        }),
  };
}
