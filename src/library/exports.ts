/** What every entry exports besides the functions that it makes for its platform. */
export { BlockError, type BlockErrorDetails, type Errno, type ErrorCode } from "../base/error.js";
export { GiB, KiB, MiB, TiB } from "../base/int.js";
export type { Reference } from "../block/context.js";
export type { Driver, Measure } from "../block/driver.js";
export type { CheckProblem, ImageCheck, ImageInfo, MapEntry, RepairStep, SnapshotInfo } from "../block/types.js";
export type { Camelized } from "../image/camel.js";
export type { CompareOptions, CompareResult } from "../image/compare.js";
export type { ImageCheckOptions, ImageCheckReport } from "../image/check-report.js";
export { Image } from "../image/image.js";
export type { ImageReader } from "../image/reader.js";
export type { ConvertPlan, LostFeature } from "../image/plan.js";
export { SyncImage } from "../image/sync-image.js";
export type {
  CommonOptions,
  ConvertTo,
  CreateOptions,
  ImageStream,
  OpenOptions,
  ReferenceAnswer,
  References,
  SecretSource,
  StreamTo,
} from "./options.js";
export { planConversion as planConvert, resizeImage as resize, type Library } from "./functions.js";
export { kernelStatus, setKernelModule, type KernelStatus } from "../kernel/kernel.js";
export { blobStorage } from "../storage/blob.js";
export { closeStorage } from "../platform/sources.js";
export { fatDisk, type DirectorySource, type FatDiskOptions } from "../platform/directories.js";
export { customStorage, type CustomSource } from "../storage/custom.js";
export { httpStorage, type HttpStorageOptions } from "../storage/http.js";
export { memoryDirectory, type FileTree, type MemoryDirectory } from "../storage/memory-directory.js";
export { memoryStorage, type MemoryStorage } from "../storage/memory.js";
export { objectSink, objectStorage, type ObjectSource, type ObjectTarget } from "../storage/object.js";
export { sliceStorage } from "../storage/slice.js";
export type { Directory } from "../storage/directory.js";
export type { Storage, StorageExtent } from "../storage/storage.js";
export { streamSink } from "../storage/stream-sink.js";
