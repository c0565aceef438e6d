/**
 * Where the two dialects part: QEMU 2.2 as its schema describes it, and QEMU 7.2 as it behaves. Every difference in an answer
 * is a row here; docs/QMP.md prints the table.
 */
import { BlockError, type QmpErrorClass } from "../base/error.js";
import type { Profile } from "./command.js";

export interface Divergence {
  readonly id: string;
  /** Commands or events concerned. */
  readonly where: string;
  readonly "qemu-2.2": string;
  readonly "qemu-7.2": string;
}

export const DIVERGENCES: readonly Divergence[] = [
  {
    id: "no-such-device",
    where: "commands that take a device",
    "qemu-2.2": "DeviceNotFound",
    "qemu-7.2": "GenericError (block-commit: DeviceNotFound)",
  },
  {
    id: "busy-device",
    where: "block-stream, block-commit and others",
    "qemu-2.2": "DeviceInUse",
    "qemu-7.2": "GenericError \"Node 'x' is busy: …\"",
  },
  { id: "bad-speed", where: "jobs, block-job-set-speed", "qemu-2.2": "InvalidParameter", "qemu-7.2": "GenericError" },
  { id: "not-supported", where: "block-stream, block-commit", "qemu-2.2": "NotSupported", "qemu-7.2": "GenericError" },
  { id: "pause-twice", where: "block-job-pause", "qemu-2.2": "no effect", "qemu-7.2": "error" },
  { id: "resume-running", where: "block-job-resume", "qemu-2.2": "no error", "qemu-7.2": "error" },
  {
    id: "cancel-ready",
    where: "block-job-cancel of a mirror that is ready",
    "qemu-2.2": "BLOCK_JOB_CANCELLED",
    "qemu-7.2": "BLOCK_JOB_COMPLETED",
  },
  { id: "complete-paused", where: "block-job-complete", "qemu-2.2": "refused while paused", "qemu-7.2": "allowed" },
  { id: "job-states", where: "JOB_STATUS_CHANGE, BLOCK_JOB_PENDING", "qemu-2.2": "no such events", "qemu-7.2": "sent" },
  { id: "blockdev-add", where: "blockdev-add", "qemu-2.2": "{options: {id, …}}", "qemu-7.2": "flat, node-name" },
  {
    id: "block_passwd",
    where: "block_passwd, change",
    "qemu-2.2": "encrypted images open without their key and get it later; media change by `change`",
    "qemu-7.2": "CommandNotFound: secrets when a node is opened, blockdev-change-medium",
  },
  {
    id: "io-error",
    where: "BLOCK_IO_ERROR",
    "qemu-2.2": "no node-name; nospace only where there is an io-status",
    "qemu-7.2": "node-name; nospace always (false without io-status)",
  },
  {
    id: "device-id",
    where: "eject, block_set_io_throttle, DEVICE_TRAY_MOVED, query-block",
    "qemu-2.2": "drives by name",
    "qemu-7.2": "drives by name or by the id of their guest device; `id` and `qdev` in answers",
  },
  {
    id: "dirty-bitmaps",
    where: "query-block",
    "qemu-2.2": "dirty-bitmaps beside inserted: count and granularity",
    "qemu-7.2": "dirty-bitmaps in inserted, with names and states",
  },
  {
    id: "blkdebug-events",
    where: "blockdev-add of blkdebug",
    "qemu-2.2": "events spelled with dots or underscores",
    "qemu-7.2": "events spelled with underscores",
  },
  { id: "block_stream", where: "block_stream", "qemu-2.2": "alias of block-stream", "qemu-7.2": "CommandNotFound" },
];

type Kind = "no-such-device" | "busy-device" | "bad-speed" | "not-supported";
const CLASS_22: Record<Kind, QmpErrorClass> = {
  "no-such-device": "DeviceNotFound",
  "busy-device": "DeviceInUse",
  "bad-speed": "InvalidParameter",
  "not-supported": "NotSupported",
};

/** An error whose class depends on the dialect. */
export function dialectError(profile: Profile, kind: Kind, message: string): BlockError {
  const code =
    kind === "no-such-device"
      ? "ERR_NOT_FOUND"
      : kind === "busy-device"
        ? "ERR_BUSY"
        : kind === "bad-speed"
          ? "ERR_INVALID_ARGUMENT"
          : "ERR_UNSUPPORTED";
  return new BlockError(code, message, { qmpClass: profile === "qemu-2.2" ? CLASS_22[kind] : "GenericError" });
}
