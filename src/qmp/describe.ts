/** What nodes, devices and jobs look like in answers. */
import { below, skipFilters } from "../block/graph.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import type { ImageInfo } from "../block/types.js";
import { imageInfo } from "../image/info.js";
import type { Job } from "../jobs/job.js";
import type { Backend } from "../block/backend.js";
import type { BlockCore } from "./block-core.js";
import type { Device } from "./device.js";

type Json = Record<string, unknown>;

function* image(node: Node): Op<ImageInfo> {
  const info = yield* imageInfo(node);
  return { "dirty-flag": false, ...info, filename: node.filename };
}

/** ImageInfo with the chain below in `backing-image`. */
function* imageChain(node: Node): Op<ImageInfo> {
  const info = yield* image(node);
  const backing = skipFilters(node).backing;
  if (backing !== null) {
    const inner = yield* imageChain(skipFilters(backing));
    info["backing-image"] = inner;
  }
  return info;
}

function bitmaps(node: Node): Json[] {
  return node.bitmaps.map((bitmap) => ({
    name: bitmap.name,
    recording: bitmap.enabled,
    persistent: bitmap.persistent,
    busy: bitmap.busy !== null,
    granularity: bitmap.granularity,
    count: bitmap.inconsistent ? 0 : bitmap.bits.count,
    ...(bitmap.inconsistent ? { inconsistent: true } : {}),
  }));
}

function chainDepth(node: Node): number {
  let depth = 0;
  for (let at: Node | null = skipFilters(node).backing; at !== null; at = skipFilters(at).backing) depth++;
  return depth;
}

/** BlockDeviceInfo. `flat`: without the backing chain. */
export function* deviceInfo(core: BlockCore, node: Node, flat: boolean): Op<Json> {
  const modern = core.profile === "qemu-7.2";
  // Counts are of the whole content.
  if (modern) for (const bitmap of node.bitmaps) if (!bitmap.inconsistent) yield* bitmap.load();
  const { impl } = node;
  const link = impl.shape === "mapped" ? (impl.backingFile ?? null) : null;
  const details = impl.blockInfo?.();
  return {
    file: node.filename,
    "node-name": node.nodeName,
    ro: node.readOnly,
    drv: node.driver.name,
    ...(link === null ? {} : { backing_file: link.filename }),
    backing_file_depth: flat ? 0 : chainDepth(node),
    encrypted: details?.encrypted ?? false,
    ...(modern ? {} : { encryption_key_missing: false }),
    detect_zeroes: node.detectZeroes,
    bps: 0,
    bps_rd: 0,
    bps_wr: 0,
    iops: 0,
    iops_rd: 0,
    iops_wr: 0,
    image: flat ? yield* image(node) : yield* imageChain(node),
    cache: { writeback: !node.flags.writethrough, direct: node.flags.direct, "no-flush": node.flags.noFlush },
    ...(modern ? { write_threshold: 0 } : {}),
    ...(modern && node.bitmaps.length > 0 ? { "dirty-bitmaps": bitmaps(node) } : {}),
  };
}

/** BlockInfo. */
export function* blockInfo(core: BlockCore, device: Device): Op<Json> {
  const { root } = device.backend;
  return {
    device: device.name,
    type: "unknown",
    removable: device.removable,
    locked: device.locked,
    ...(device.removable ? { tray_open: device.trayOpen } : {}),
    ...(device.ioStatus === null ? {} : { "io-status": device.ioStatus }),
    ...(root === null ? {} : { inserted: yield* deviceInfo(core, root, false) }),
    ...(core.profile === "qemu-2.2" && root !== null && root.bitmaps.length > 0
      ? { "dirty-bitmaps": root.bitmaps.map((bitmap) => ({ count: bitmap.bits.count, granularity: bitmap.granularity })) }
      : {}),
  };
}

const NO_STATISTICS: Backend["statistics"] = {
  readBytes: 0,
  readOperations: 0,
  writeBytes: 0,
  writeOperations: 0,
  flushOperations: 0,
  unmapBytes: 0,
  unmapOperations: 0,
  failedReads: 0,
  failedWrites: 0,
  readNs: 0,
  writeNs: 0,
  flushNs: 0,
  highestWrite: 0,
};

function statistics(core: BlockCore, of: Backend["statistics"]): Json {
  const old: Json = {
    rd_bytes: of.readBytes,
    wr_bytes: of.writeBytes,
    rd_operations: of.readOperations,
    wr_operations: of.writeOperations,
    flush_operations: of.flushOperations,
    rd_total_time_ns: Math.round(of.readNs),
    wr_total_time_ns: Math.round(of.writeNs),
    flush_total_time_ns: Math.round(of.flushNs),
    wr_highest_offset: of.highestWrite,
  };
  if (core.profile === "qemu-2.2") return old;
  return {
    ...old,
    unmap_bytes: of.unmapBytes,
    unmap_operations: of.unmapOperations,
    unmap_total_time_ns: 0,
    unmap_merged: 0,
    rd_merged: 0,
    wr_merged: 0,
    failed_rd_operations: of.failedReads,
    failed_wr_operations: of.failedWrites,
    failed_unmap_operations: 0,
    failed_flush_operations: 0,
    invalid_rd_operations: 0,
    invalid_wr_operations: 0,
    invalid_unmap_operations: 0,
    invalid_flush_operations: 0,
    account_invalid: false,
    account_failed: false,
    timed_stats: [],
  };
}

/** BlockStats of a node and what is below it. */
export function nodeStats(core: BlockCore, node: Node, of: Backend["statistics"] = NO_STATISTICS, withBacking = false): Json {
  const file = node.child("file");
  const backing = withBacking ? below(node) : null;
  const modern = core.profile === "qemu-7.2";
  return {
    ...(modern ? { "node-name": node.nodeName } : {}),
    stats: statistics(core, of),
    ...(modern && node.driver.name === "file"
      ? { "driver-specific": { driver: "file", "discard-nb-ok": 0, "discard-nb-failed": 0, "discard-bytes-ok": 0 } }
      : {}),
    ...(file === null ? {} : { parent: nodeStats(core, file) }),
    ...(backing === null || backing === file ? {} : { backing: nodeStats(core, backing, NO_STATISTICS, true) }),
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
