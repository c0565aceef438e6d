/** Enums and small structs of block-core.json that several commands use. */
import { JOB_STATES } from "../../jobs/job.js";
import {
  enumeration,
  optional,
  struct,
  size,
  str,
  bool,
  type EnumType,
  type StructType,
  type AnySchema,
} from "../../qapi/schema.js";

export const onError: EnumType<"report" | "ignore" | "enospc" | "stop" | "auto"> = enumeration("BlockdevOnError", [
  "report",
  "ignore",
  "enospc",
  "stop",
  "auto",
]);
export const mirrorSync: EnumType<"top" | "full" | "none" | "incremental" | "bitmap"> = enumeration("MirrorSyncMode", [
  "top",
  "full",
  "none",
  "incremental",
  "bitmap",
]);
export const newImageMode: EnumType<"existing" | "absolute-paths"> = enumeration("NewImageMode", ["existing", "absolute-paths"]);
export const mirrorCopyMode: EnumType<"background" | "write-blocking"> = enumeration("MirrorCopyMode", [
  "background",
  "write-blocking",
]);
export const bitmapSync: EnumType<"on-success" | "never" | "always"> = enumeration("BitmapSyncMode", [
  "on-success",
  "never",
  "always",
]);
export const prealloc: EnumType<"off" | "metadata" | "falloc" | "full"> = enumeration("PreallocMode", [
  "off",
  "metadata",
  "falloc",
  "full",
]);
export const jobType: AnySchema = enumeration("JobType", [
  "commit",
  "stream",
  "mirror",
  "backup",
  "create",
  "amend",
  "snapshot-load",
  "snapshot-save",
  "snapshot-delete",
]);
export const jobStatus: AnySchema = enumeration("JobStatus", [...JOB_STATES]);
export const ioStatus: AnySchema = enumeration("BlockDeviceIoStatus", ["ok", "failed", "nospace"]);
export const detectZeroes: AnySchema = enumeration("BlockdevDetectZeroesOptions", ["off", "on", "unmap"]);

export const versionTriple: AnySchema = struct("VersionTriple", { major: size(), minor: size(), micro: size() });
export const cacheOptions: StructType<{ direct?: boolean; "no-flush"?: boolean }> = struct("BlockdevCacheOptions", {
  direct: optional(bool()),
  "no-flush": optional(bool()),
}) as never;
export const nameOnly: AnySchema = struct("CommandInfo", { name: str() });
