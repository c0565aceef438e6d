/** Shapes of what queries return. */
import { any, array, bool, int64, optional, str, struct, enumeration, type AnySchema } from "../../qapi/schema.js";
import { detectZeroes, ioStatus, jobStatus, jobType } from "./common.js";

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
  snapshots: optional(array(any())),
  "backing-image": optional(any()),
  "format-specific": optional(any()),
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
  detect_zeroes: detectZeroes,
  bps: int64(),
  bps_rd: int64(),
  bps_wr: int64(),
  iops: int64(),
  iops_rd: int64(),
  iops_wr: int64(),
  image: imageInfo,
  cache: struct("BlockdevCacheInfo", { writeback: bool(), direct: bool(), "no-flush": bool() }),
  write_threshold: int64(),
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
});
export const blockStatsType: AnySchema = struct("BlockStats", {
  device: optional(str()),
  qdev: optional(str()),
  "node-name": optional(str()),
  stats: any(),
  "driver-specific": optional(any()),
  parent: optional(any()),
  backing: optional(any()),
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
