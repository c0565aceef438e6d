/** Shapes of what queries return. */
import {
  any,
  array,
  bool,
  enumeration,
  int64,
  lazy,
  number,
  optional,
  str,
  struct,
  uint32,
  uint64,
  union,
  type AnySchema,
  type Member,
  type Members,
} from "../../qapi/schema.js";
import { detectZeroes, ioStatus, jobStatus, jobType } from "./common.js";

const snapshotInfo = struct("SnapshotInfo", {
  id: str(),
  name: str(),
  "vm-state-size": int64(),
  "date-sec": int64(),
  "date-nsec": int64(),
  "vm-clock-sec": int64(),
  "vm-clock-nsec": int64(),
  icount: optional(int64()),
});
/** Of images: what only their format has. */
const imageInfoSpecific = union(
  "ImageInfoSpecific",
  { type: enumeration("ImageInfoSpecificKind", ["qcow2", "vmdk", "luks"]) },
  "type",
  {
    qcow2: struct("ImageInfoSpecificQCow2Wrapper", {
      data: struct("ImageInfoSpecificQCow2", {
        compat: str(),
        "data-file": optional(str()),
        "data-file-raw": optional(bool()),
        "extended-l2": optional(bool()),
        "lazy-refcounts": optional(bool()),
        corrupt: optional(bool()),
        "refcount-bits": int64(),
        encrypt: optional(any()),
        bitmaps: optional(
          array(
            struct("Qcow2BitmapInfo", {
              name: str(),
              granularity: uint32(),
              flags: array(enumeration("Qcow2BitmapInfoFlags", ["in-use", "auto"])),
            }),
          ),
        ),
        "compression-type": enumeration("Qcow2CompressionType", ["zlib", "zstd"]),
      }),
    }),
    vmdk: struct("ImageInfoSpecificVmdkWrapper", {
      data: struct("ImageInfoSpecificVmdk", {
        "create-type": str(),
        cid: int64(),
        "parent-cid": int64(),
        extents: array(lazy((): AnySchema => imageInfo)),
      }),
    }),
    luks: struct("ImageInfoSpecificLUKSWrapper", { data: any() }),
  },
);
const imageInfo: AnySchema = struct("ImageInfo", {
  filename: str(),
  format: str(),
  "dirty-flag": optional(bool()),
  "actual-size": optional(int64()),
  "virtual-size": int64(),
  "cluster-size": optional(int64()),
  encrypted: optional(bool()),
  compressed: optional(bool()),
  "backing-filename": optional(str()),
  "full-backing-filename": optional(str()),
  "backing-filename-format": optional(str()),
  snapshots: optional(array(snapshotInfo)),
  "backing-image": optional(lazy((): AnySchema => imageInfo)),
  "format-specific": optional(imageInfoSpecific as unknown as AnySchema),
});

/** What `check --output=json` of the programs prints. */
export const imageCheck: AnySchema = struct("ImageCheck", {
  filename: str(),
  format: str(),
  "check-errors": int64(),
  "image-end-offset": optional(int64()),
  corruptions: optional(int64()),
  leaks: optional(int64()),
  "corruptions-fixed": optional(int64()),
  "leaks-fixed": optional(int64()),
  "total-clusters": optional(int64()),
  "allocated-clusters": optional(int64()),
  "fragmented-clusters": optional(int64()),
  "compressed-clusters": optional(int64()),
});
/** What `map --output=json` of the programs prints, entry by entry. */
export const mapEntry: AnySchema = struct("BlockDeviceMapEntry", {
  start: int64(),
  length: int64(),
  depth: int64(),
  present: bool(),
  zero: bool(),
  data: bool(),
  offset: optional(int64()),
});
const dirtyInfo = struct("BlockDirtyInfo", {
  name: optional(str()),
  count: int64(),
  granularity: int64(),
  recording: bool(),
  busy: bool(),
  persistent: bool(),
  inconsistent: optional(bool()),
});
export const blockDeviceInfo: AnySchema = struct("BlockDeviceInfo", {
  file: str(),
  "node-name": optional(str()),
  ro: bool(),
  drv: str(),
  backing_file: optional(str()),
  backing_file_depth: int64(),
  encrypted: bool(),
  /** 2.2 only. */
  encryption_key_missing: optional(bool()),
  detect_zeroes: detectZeroes,
  bps: int64(),
  bps_rd: int64(),
  bps_wr: int64(),
  iops: int64(),
  iops_rd: int64(),
  iops_wr: int64(),
  image: imageInfo,
  bps_max: optional(int64()),
  bps_rd_max: optional(int64()),
  bps_wr_max: optional(int64()),
  iops_max: optional(int64()),
  iops_rd_max: optional(int64()),
  iops_wr_max: optional(int64()),
  bps_max_length: optional(int64()),
  bps_rd_max_length: optional(int64()),
  bps_wr_max_length: optional(int64()),
  iops_max_length: optional(int64()),
  iops_rd_max_length: optional(int64()),
  iops_wr_max_length: optional(int64()),
  iops_size: optional(int64()),
  group: optional(str()),
  cache: struct("BlockdevCacheInfo", { writeback: bool(), direct: bool(), "no-flush": bool() }),
  write_threshold: optional(int64()),
  "dirty-bitmaps": optional(array(dirtyInfo)),
});
export const blockInfoType: AnySchema = struct("BlockInfo", {
  device: str(),
  qdev: optional(str()),
  type: str(),
  removable: bool(),
  locked: bool(),
  inserted: optional(blockDeviceInfo),
  tray_open: optional(bool()),
  "io-status": optional(ioStatus),
  /** 2.2 only; later among what is inserted. */
  "dirty-bitmaps": optional(array(struct("BlockDirtyInfo22", { count: int64(), granularity: uint32() }))),
});
const spread = (name: string): Members => ({
  [`min_${name}_latency_ns`]: int64(),
  [`max_${name}_latency_ns`]: int64(),
  [`avg_${name}_latency_ns`]: int64(),
});
const histogram = struct("BlockLatencyHistogramInfo", { boundaries: array(uint64()), bins: array(uint64()) });
const counters = (names: readonly string[], type: () => Member): Members =>
  Object.fromEntries(names.map((name) => [name, type()]));
const deviceStats = struct("BlockDeviceStats", {
  ...counters(
    [
      "rd_bytes",
      "wr_bytes",
      "rd_operations",
      "wr_operations",
      "flush_operations",
      "rd_total_time_ns",
      "wr_total_time_ns",
      "flush_total_time_ns",
      "wr_highest_offset",
    ],
    int64,
  ),
  ...counters(
    [
      "unmap_bytes",
      "unmap_operations",
      "unmap_total_time_ns",
      "rd_merged",
      "wr_merged",
      "unmap_merged",
      "idle_time_ns",
      "failed_rd_operations",
      "failed_wr_operations",
      "failed_flush_operations",
      "failed_unmap_operations",
      "invalid_rd_operations",
      "invalid_wr_operations",
      "invalid_flush_operations",
      "invalid_unmap_operations",
    ],
    () => optional(int64()),
  ),
  account_invalid: optional(bool()),
  account_failed: optional(bool()),
  timed_stats: optional(
    array(
      struct("BlockDeviceTimedStats", {
        interval_length: int64(),
        ...spread("rd"),
        ...spread("wr"),
        ...spread("flush"),
        avg_rd_queue_depth: number(),
        avg_wr_queue_depth: number(),
      }),
    ),
  ),
  rd_latency_histogram: optional(histogram),
  wr_latency_histogram: optional(histogram),
  flush_latency_histogram: optional(histogram),
});
export const blockStatsType: AnySchema = struct("BlockStats", {
  device: optional(str()),
  qdev: optional(str()),
  "node-name": optional(str()),
  stats: deviceStats as AnySchema,
  "driver-specific": optional(
    struct("BlockStatsSpecificFile", {
      driver: str(),
      "discard-nb-ok": uint64(),
      "discard-nb-failed": uint64(),
      "discard-bytes-ok": uint64(),
    }),
  ),
  parent: optional(lazy((): AnySchema => blockStatsType)),
  backing: optional(lazy((): AnySchema => blockStatsType)),
});
export const jobInfoType: AnySchema = struct("JobInfo", {
  id: str(),
  type: jobType,
  status: jobStatus,
  "current-progress": int64(),
  "total-progress": int64(),
  error: optional(str()),
});
export const blockJobInfoType: AnySchema = struct("BlockJobInfo", {
  type: jobType,
  device: str(),
  len: int64(),
  offset: int64(),
  busy: bool(),
  paused: bool(),
  speed: int64(),
  "io-status": ioStatus,
  ready: bool(),
  status: jobStatus,
  "auto-finalize": bool(),
  "auto-dismiss": bool(),
  error: optional(str()),
});
export const blockExportInfo: AnySchema = struct("BlockExportInfo", {
  id: str(),
  type: enumeration("BlockExportType", ["nbd"]),
  "node-name": str(),
  "shutting-down": bool(),
});
