/** The events a BlockCore sends. */
import { bool, enumeration, int64, optional, str, struct, type AnySchema } from "../../qapi/schema.js";
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
];
