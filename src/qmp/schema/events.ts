/** The events a BlockCore sends. */
import { bool, enumeration, int64, optional, str, struct, uint64, type AnySchema } from "../../qapi/schema.js";
import { jobStatus, jobType } from "./common.js";

export interface EventDeclaration {
  readonly name: string;
  readonly since: string;
  readonly summary: string;
  readonly data: AnySchema | null;
}

const operation = enumeration("IoOperationType", ["read", "write"]);
const action = enumeration("BlockErrorAction", ["ignore", "report", "stop"]);
const progress = { type: jobType, device: str(), len: int64(), offset: int64(), speed: int64() };

export const EVENTS: readonly EventDeclaration[] = [
  {
    name: "BLOCK_JOB_COMPLETED",
    since: "1.1",
    summary: "A block job is over; `error` says why when it failed.",
    data: struct("BLOCK_JOB_COMPLETED-arg", { ...progress, error: optional(str()) }),
  },
  {
    name: "BLOCK_JOB_CANCELLED",
    since: "1.1",
    summary: "A block job was cancelled and is over.",
    data: struct("BLOCK_JOB_CANCELLED-arg", progress),
  },
  {
    name: "BLOCK_JOB_ERROR",
    since: "1.3",
    summary: "A block job met an I/O error; `action` is what the policy made of it.",
    data: struct("BLOCK_JOB_ERROR-arg", { device: str(), operation, action }),
  },
  {
    name: "BLOCK_JOB_READY",
    since: "1.3",
    summary: "A mirror or active commit has caught up and can be completed.",
    data: struct("BLOCK_JOB_READY-arg", progress),
  },
  {
    name: "BLOCK_JOB_PENDING",
    since: "2.12",
    summary: "A block job waits for job-finalize.",
    data: struct("BLOCK_JOB_PENDING-arg", { type: jobType, id: str() }),
  },
  {
    name: "JOB_STATUS_CHANGE",
    since: "3.0",
    summary: "A job is in another state.",
    data: struct("JOB_STATUS_CHANGE-arg", { id: str(), status: jobStatus }),
  },
  {
    name: "BLOCK_IMAGE_CORRUPTED",
    since: "1.7",
    summary: "An image contradicts itself; `fatal`: it takes no more writes.",
    data: struct("BLOCK_IMAGE_CORRUPTED-arg", {
      device: str(),
      "node-name": optional(str()),
      msg: str(),
      offset: optional(int64()),
      size: optional(int64()),
      fatal: bool(),
    }),
  },
  {
    name: "BLOCK_EXPORT_DELETED",
    since: "5.2",
    summary: "A block export is gone.",
    data: struct("BLOCK_EXPORT_DELETED-arg", { id: str() }),
  },
  {
    name: "BLOCK_IO_ERROR",
    since: "0.13",
    summary:
      "A request of a guest device met an I/O error; `action` is what rerror or werror made of it, and STOP follows when that is `stop`.",
    data: struct("BLOCK_IO_ERROR-arg", {
      device: str(),
      "node-name": optional(str()),
      operation,
      action,
      nospace: optional(bool()),
      reason: str(),
    }),
  },
  {
    name: "BLOCK_WRITE_THRESHOLD",
    since: "2.3",
    summary: "A write to a node reached beyond its threshold, which is gone now.",
    data: struct("BLOCK_WRITE_THRESHOLD-arg", {
      "node-name": str(),
      "amount-exceeded": uint64(),
      "write-threshold": uint64(),
    }),
  },
  {
    name: "DEVICE_TRAY_MOVED",
    since: "1.1",
    summary: "A tray has opened or closed.",
    data: struct("DEVICE_TRAY_MOVED-arg", { device: str(), id: str(), "tray-open": bool() }),
  },
  { name: "STOP", since: "0.12", summary: "The guests have been stopped.", data: null },
  { name: "RESUME", since: "0.12", summary: "The guests go on.", data: null },
  {
    name: "QUORUM_FAILURE",
    since: "2.0",
    summary: "A quorum found no majority, or too few children that answered.",
    data: struct("QUORUM_FAILURE-arg", { reference: str(), "sector-num": int64(), "sectors-count": int64() }),
  },
  {
    name: "QUORUM_REPORT_BAD",
    since: "2.0",
    summary: "A child of a quorum failed or said something else than the majority.",
    data: struct("QUORUM_REPORT_BAD-arg", {
      type: enumeration("QuorumOpType", ["read", "write", "flush"]),
      error: optional(str()),
      "node-name": str(),
      "sector-num": int64(),
      "sectors-count": int64(),
    }),
  },
];
