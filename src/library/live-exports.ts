/** What comes with `BlockCore` in every entry that has it. */
export type {
  BlockCoreOptions,
  BlockEvent,
  CommandArguments,
  CommandName,
  CommandResult,
  EventName,
  GuestOptions,
  JobCommand,
} from "./block-core.js";
export { NbdClient, type NbdClientOptions } from "../nbd/client.js";
export { nbdStorage, type NbdStorageOptions } from "../nbd/client-storage.js";
export { listExports as listNbdExports, type ExportInfo as NbdExportInfo } from "../nbd/handshake-client.js";
export { webDuplex, type Duplex } from "../nbd/duplex.js";
export { messageDuplex, type MessageChannelLike } from "../nbd/message-duplex.js";
export type { Profile } from "../qmp/command.js";
export type { Disk } from "../qmp/disk.js";
export type { JobHandle, JobStatus, JobType } from "../qmp/job-handle.js";
export type { MonitorOptions } from "../qmp/server.js";
export type * as Qmp from "../qmp/types.js";
