/**
 * What QMP's commands take and return, and what its events say, as types: for `BlockCore` of the package.
 *
 * Made from the declarations by test/unit/qmp/types.test.ts (UPDATE_DOCS=1), which also holds it to them.
 */

/** An object without members. */
export type Nothing = { readonly [name: string]: never };

export interface Commands72 {
  /** Would add a descriptor that came over the socket to a set; none can come, so it fails. */
  "add-fd": { arguments: AddFdArg; returns: AddfdInfo };
  /** Starts a job that writes the data between `base` and `top` into `base`; with the active layer as `top` it waits for job-complete. */
  "block-commit": { arguments: BlockCommitArg; returns: Nothing };
  /** Makes a dirty bitmap that follows writes to a node. */
  "block-dirty-bitmap-add": { arguments: BlockDirtyBitmapAdd; returns: Nothing };
  /** Makes a dirty bitmap clean. */
  "block-dirty-bitmap-clear": { arguments: BlockDirtyBitmap; returns: Nothing };
  /** Lets a dirty bitmap follow writes no longer. */
  "block-dirty-bitmap-disable": { arguments: BlockDirtyBitmap; returns: Nothing };
  /** Lets a dirty bitmap follow writes. */
  "block-dirty-bitmap-enable": { arguments: BlockDirtyBitmap; returns: Nothing };
  /** Adds dirty bitmaps to another one. */
  "block-dirty-bitmap-merge": { arguments: BlockDirtyBitmapMerge; returns: Nothing };
  /** Removes a dirty bitmap, from the image too. */
  "block-dirty-bitmap-remove": { arguments: BlockDirtyBitmap; returns: Nothing };
  /** Exports a node; NBD is the only type there is here. */
  "block-export-add": { arguments: BlockExportOptions; returns: Nothing };
  /** Takes an export away; `hard` disconnects its clients. */
  "block-export-del": { arguments: BlockExportDelArg; returns: Nothing };
  /** Cancels a block job; a mirror that is ready ends with its target as a copy, unless `force`. */
  "block-job-cancel": { arguments: BlockJobCancelArg; returns: Nothing };
  /** Completes a mirror or active commit that is ready. */
  "block-job-complete": { arguments: BlockJobArg; returns: Nothing };
  /** Forgets a block job that is over. */
  "block-job-dismiss": { arguments: BlockJobIdArg; returns: Nothing };
  /** Makes the changes of a pending block job. */
  "block-job-finalize": { arguments: BlockJobIdArg; returns: Nothing };
  /** Pauses a block job. */
  "block-job-pause": { arguments: BlockJobArg; returns: Nothing };
  /** Lets a paused block job go on and forgets its I/O error. */
  "block-job-resume": { arguments: BlockJobArg; returns: Nothing };
  /** Limits a block job to so many bytes per second; 0: no limit. */
  "block-job-set-speed": { arguments: BlockJobSetSpeedArg; returns: Nothing };
  /** Keeps histograms of the latencies of a guest device (ns); those that are there begin anew, and with no boundaries they end. */
  "block-latency-histogram-set": { arguments: BlockLatencyHistogramSetArg; returns: Nothing };
  /** Sends BLOCK_WRITE_THRESHOLD once when a write to the node reaches behind this offset; 0: never. */
  "block-set-write-threshold": { arguments: BlockSetWriteThresholdArg; returns: Nothing };
  /** Starts a job that copies data from backing files into a node and then drops those backing files. */
  "block-stream": { arguments: BlockStreamArg; returns: Nothing };
  /** Changes the size of a disk in use, in bytes. */
  block_resize: { arguments: BlockResizeArg; returns: Nothing };
  /** Limits bytes and operations per second of a drive, with bursts; drives of one `group` share its limits. All zero: no limits. */
  block_set_io_throttle: { arguments: BlockIOThrottle; returns: Nothing };
  /** Adds a block node, with its children inside or by name. */
  "blockdev-add": { arguments: BlockdevOptions; returns: Nothing };
  /** Starts a job that copies a node as it is now into another one. */
  "blockdev-backup": { arguments: BlockdevBackup; returns: Nothing };
  /** Opens a file and puts it into a drive in the place of what is there. */
  "blockdev-change-medium": { arguments: BlockdevChangeMediumArg; returns: Nothing };
  /** Closes the tray of a drive. */
  "blockdev-close-tray": { arguments: BlockdevCloseTrayArg; returns: Nothing };
  /** Starts a job that makes an image in a node, or a file. */
  "blockdev-create": { arguments: BlockdevCreateArg; returns: Nothing };
  /** Deletes a node that was added with blockdev-add and that nobody uses. */
  "blockdev-del": { arguments: BlockdevDelArg; returns: Nothing };
  /** Puts a node into a drive whose tray is open, or that has none. */
  "blockdev-insert-medium": { arguments: BlockdevInsertMediumArg; returns: Nothing };
  /** Starts a job that keeps `target` a copy of `device` until it is completed or cancelled. */
  "blockdev-mirror": { arguments: BlockdevMirrorArg; returns: Nothing };
  /** Opens the tray of a drive; one that the guest has locked stays shut unless `force` is given. */
  "blockdev-open-tray": { arguments: BlockdevOpenTrayArg; returns: Nothing };
  /** Takes the medium out of a drive whose tray is open, or that has none. */
  "blockdev-remove-medium": { arguments: BlockdevRemoveMediumArg; returns: Nothing };
  /** Gives nodes new options, all of them or none; what is left out goes back to its default, and children may be others. */
  "blockdev-reopen": { arguments: BlockdevReopenArg; returns: Nothing };
  /** Puts a node on top of another one. */
  "blockdev-snapshot": { arguments: BlockdevSnapshot; returns: Nothing };
  /** Deletes a snapshot inside an image, by name, ID or both; answers what it was. */
  "blockdev-snapshot-delete-internal-sync": { arguments: BlockdevSnapshotDeleteInternalSyncArg; returns: unknown };
  /** Takes a snapshot inside an image. */
  "blockdev-snapshot-internal-sync": { arguments: BlockdevSnapshotInternal; returns: Nothing };
  /** Makes an overlay image and puts it on top of a node. */
  "blockdev-snapshot-sync": { arguments: BlockdevSnapshotSync; returns: Nothing };
  /** Rewrites the name of the backing file in an image; the name is not checked and nothing is reopened. */
  "change-backing-file": { arguments: ChangeBackingFileArg; returns: Nothing };
  /** Closes a named descriptor; there are none. */
  closefd: { arguments: ClosefdArg; returns: Nothing };
  /** Lets the guests go on; requests that an I/O error stopped are made again, and io-status is `ok`. */
  cont: { arguments: Nothing; returns: Nothing };
  /** Starts a job that copies a node as it is now into a file. */
  "drive-backup": { arguments: DriveBackup; returns: Nothing };
  /** Starts a job that keeps a file a copy of `device` until it is completed or cancelled. */
  "drive-mirror": { arguments: DriveMirror; returns: Nothing };
  /** Takes the medium out of a drive; `force`: even if the guest has locked it in. */
  eject: { arguments: EjectArg; returns: Nothing };
  /** Would give a descriptor that came over the socket a name; none can come, so it fails. */
  getfd: { arguments: GetfdArg; returns: Nothing };
  /** Runs a command of the human monitor and returns what it prints: the commands about disks; `help` lists them. */
  "human-monitor-command": { arguments: HumanMonitorCommandArg; returns: string };
  /** Cancels a job at once. */
  "job-cancel": { arguments: JobArg; returns: Nothing };
  /** Completes a job that is ready. */
  "job-complete": { arguments: JobArg; returns: Nothing };
  /** Forgets a job that is over. */
  "job-dismiss": { arguments: JobArg; returns: Nothing };
  /** Makes the changes of a pending job (and of its transaction). */
  "job-finalize": { arguments: JobArg; returns: Nothing };
  /** Pauses a job. */
  "job-pause": { arguments: JobArg; returns: Nothing };
  /** Lets a paused job go on. */
  "job-resume": { arguments: JobArg; returns: Nothing };
  /** Exports a device through the NBD server. */
  "nbd-server-add": { arguments: NbdServerAddArg; returns: Nothing };
  /** Takes an export away; `hard` disconnects its clients. */
  "nbd-server-remove": { arguments: NbdServerRemoveArg; returns: Nothing };
  /** Starts the NBD server of this program, on a TCP or Unix socket. */
  "nbd-server-start": { arguments: NbdServerStartArg; returns: Nothing };
  /** Ends the NBD server and all its exports. */
  "nbd-server-stop": { arguments: Nothing; returns: Nothing };
  /** Adds a secret, a throttle group or an I/O thread (accepted; there is one thread). */
  "object-add": { arguments: ObjectOptions; returns: Nothing };
  /** Removes an object. */
  "object-del": { arguments: ObjectDelArg; returns: Nothing };
  /** The first command of a connection: says which capabilities are wanted. */
  qmp_capabilities: { arguments: QmpCapabilitiesArg; returns: Nothing };
  /** A property of an object. */
  "qom-get": { arguments: QomGetArg; returns: unknown };
  /** The objects below a path, or the properties of the object there. */
  "qom-list": { arguments: QomListArg; returns: readonly ObjectPropertyInfo[] };
  /** Changes a property of an object: the limits of a throttle group. */
  "qom-set": { arguments: QomSetArg; returns: Nothing };
  /** All devices, with the medium in each. */
  "query-block": { arguments: Nothing; returns: readonly BlockInfo[] };
  /** All exports. */
  "query-block-exports": { arguments: Nothing; returns: readonly BlockExportInfo[] };
  /** Commit, stream, mirror and backup jobs. */
  "query-block-jobs": { arguments: Nothing; returns: readonly BlockJobInfo[] };
  /** I/O statistics of all devices, or of all nodes with `query-nodes`. */
  "query-blockstats": { arguments: QueryBlockstatsArg; returns: readonly BlockStats[] };
  /** Names of all commands. */
  "query-commands": { arguments: Nothing; returns: readonly CommandInfo[] };
  /** All sets of descriptors. */
  "query-fdsets": { arguments: Nothing; returns: readonly FdsetInfo[] };
  /** All jobs, the newest first. */
  "query-jobs": { arguments: Nothing; returns: readonly JobInfo[] };
  /** What the machine is called, if it has a name. */
  "query-name": { arguments: Nothing; returns: NameInfo };
  /** All nodes; `flat` leaves out what is said of backing files elsewhere. */
  "query-named-block-nodes": { arguments: QueryNamedBlockNodesArg; returns: readonly BlockDeviceInfo[] };
  /** Every command, event and type, for programs. */
  "query-qmp-schema": { arguments: Nothing; returns: readonly unknown[] };
  /** Whether the guests run, and why not. */
  "query-status": { arguments: Nothing; returns: StatusInfo };
  /** The machine's UUID: all zeros when it has none. */
  "query-uuid": { arguments: Nothing; returns: UuidInfo };
  /** The version of QEMU that is followed. */
  "query-version": { arguments: Nothing; returns: VersionInfo };
  /** Ends the program, after jobs were cancelled and images closed. */
  quit: { arguments: Nothing; returns: Nothing };
  /** Removes a descriptor from a set, or all of them; it is closed when nobody uses it any more. */
  "remove-fd": { arguments: RemoveFdArg; returns: Nothing };
  /** Stops the guests: their requests wait until `cont`; what they have written is flushed. */
  stop: { arguments: Nothing; returns: Nothing };
  /** Runs actions as one: all or none. `completion-mode: grouped` makes their jobs one, too. */
  transaction: { arguments: TransactionArg; returns: Nothing };
  /** Starts a job that changes format options of an image in use: adds and erases keys of LUKS encryption. */
  "x-blockdev-amend": { arguments: XBlockdevAmendArg; returns: Nothing };
  /** Adds the node `node` to the children of a quorum, or takes the one called `child` off. */
  "x-blockdev-change": { arguments: XBlockdevChangeArg; returns: Nothing };
  /** Moves a node to an I/O thread, or back. All nodes run in one thread here: checked, without other effect. */
  "x-blockdev-set-iothread": { arguments: XBlockdevSetIothreadArg; returns: Nothing };
  /** A hash of the bits of a dirty bitmap, in whole 64-bit words. */
  "x-debug-block-dirty-bitmap-sha256": { arguments: BlockDirtyBitmap; returns: BlockDirtyBitmapSha256 };
  /** Devices, nodes and what stands on what, with the permissions of each edge. */
  "x-debug-query-block-graph": { arguments: Nothing; returns: XDbgBlockGraph };
}

export interface Commands22 {
  /** Would add a descriptor that came over the socket to a set; none can come, so it fails. */
  "add-fd": { arguments: AddFdArg; returns: AddfdInfo };
  /** Starts a job that writes the data between `base` and `top` into `base`; with the active layer as `top` it waits for job-complete. */
  "block-commit": { arguments: BlockCommitArg; returns: Nothing };
  /** Cancels a block job; a mirror that is ready ends with its target as a copy, unless `force`. */
  "block-job-cancel": { arguments: BlockJobCancelArg; returns: Nothing };
  /** Completes a mirror or active commit that is ready. */
  "block-job-complete": { arguments: BlockJobArg; returns: Nothing };
  /** Pauses a block job. */
  "block-job-pause": { arguments: BlockJobArg; returns: Nothing };
  /** Lets a paused block job go on and forgets its I/O error. */
  "block-job-resume": { arguments: BlockJobArg; returns: Nothing };
  /** Limits a block job to so many bytes per second; 0: no limit. */
  "block-job-set-speed": { arguments: BlockJobSetSpeedArg; returns: Nothing };
  /** Starts a job that copies data from backing files into a node and then drops those backing files. */
  "block-stream": { arguments: BlockStreamArg; returns: Nothing };
  /** Gives the password of an encrypted image that was opened without. The old AES encryption cannot tell a wrong one from the right one: what is read then is noise, and what is written is lost. */
  block_passwd: { arguments: BlockPasswdArg; returns: Nothing };
  /** Changes the size of a disk in use, in bytes. */
  block_resize: { arguments: BlockResizeArg; returns: Nothing };
  /** Limits bytes and operations per second of a drive, with bursts; drives of one `group` share its limits. All zero: no limits. */
  block_set_io_throttle: { arguments: BlockSetIoThrottleArg; returns: Nothing };
  /** Another spelling of block-stream. */
  block_stream: { arguments: BlockStreamArg; returns: Nothing };
  /** Adds a block node, with its children inside or by name. */
  "blockdev-add": { arguments: BlockdevAddArg; returns: Nothing };
  /** Deletes a snapshot inside an image, by name, ID or both; answers what it was. */
  "blockdev-snapshot-delete-internal-sync": { arguments: BlockdevSnapshotDeleteInternalSyncArg; returns: unknown };
  /** Takes a snapshot inside an image. */
  "blockdev-snapshot-internal-sync": { arguments: BlockdevSnapshotInternal; returns: Nothing };
  /** Makes an overlay image and puts it on top of a node. */
  "blockdev-snapshot-sync": { arguments: BlockdevSnapshotSync; returns: Nothing };
  /** Puts the file `target` into a drive, of the format `arg`. */
  change: { arguments: ChangeArg; returns: Nothing };
  /** Rewrites the name of the backing file in an image; the name is not checked and nothing is reopened. */
  "change-backing-file": { arguments: ChangeBackingFileArg; returns: Nothing };
  /** Closes a named descriptor; there are none. */
  closefd: { arguments: ClosefdArg; returns: Nothing };
  /** Lets the guests go on; requests that an I/O error stopped are made again, and io-status is `ok`. */
  cont: { arguments: Nothing; returns: Nothing };
  /** Starts a job that copies a node as it is now into a file. */
  "drive-backup": { arguments: DriveBackup; returns: Nothing };
  /** Starts a job that keeps a file a copy of `device` until it is completed or cancelled. */
  "drive-mirror": { arguments: DriveMirror; returns: Nothing };
  /** Takes the medium out of a drive; `force`: even if the guest has locked it in. */
  eject: { arguments: EjectArg2; returns: Nothing };
  /** Would give a descriptor that came over the socket a name; none can come, so it fails. */
  getfd: { arguments: GetfdArg; returns: Nothing };
  /** Runs a command of the human monitor and returns what it prints: the commands about disks; `help` lists them. */
  "human-monitor-command": { arguments: HumanMonitorCommandArg; returns: string };
  /** Exports a device through the NBD server. */
  "nbd-server-add": { arguments: NbdServerAddArg; returns: Nothing };
  /** Starts the NBD server of this program, on a TCP or Unix socket. */
  "nbd-server-start": { arguments: NbdServerStartArg; returns: Nothing };
  /** Ends the NBD server and all its exports. */
  "nbd-server-stop": { arguments: Nothing; returns: Nothing };
  /** The first command of a connection: says which capabilities are wanted. */
  qmp_capabilities: { arguments: QmpCapabilitiesArg; returns: Nothing };
  /** All devices, with the medium in each. */
  "query-block": { arguments: Nothing; returns: readonly BlockInfo[] };
  /** Commit, stream, mirror and backup jobs. */
  "query-block-jobs": { arguments: Nothing; returns: readonly BlockJobInfo[] };
  /** I/O statistics of all devices, or of all nodes with `query-nodes`. */
  "query-blockstats": { arguments: Nothing; returns: readonly BlockStats[] };
  /** Names of all commands. */
  "query-commands": { arguments: Nothing; returns: readonly CommandInfo[] };
  /** All sets of descriptors. */
  "query-fdsets": { arguments: Nothing; returns: readonly FdsetInfo[] };
  /** What the machine is called, if it has a name. */
  "query-name": { arguments: Nothing; returns: NameInfo };
  /** All nodes; `flat` leaves out what is said of backing files elsewhere. */
  "query-named-block-nodes": { arguments: Nothing; returns: readonly BlockDeviceInfo[] };
  /** Whether the guests run, and why not. */
  "query-status": { arguments: Nothing; returns: StatusInfo };
  /** The machine's UUID: all zeros when it has none. */
  "query-uuid": { arguments: Nothing; returns: UuidInfo };
  /** The version of QEMU that is followed. */
  "query-version": { arguments: Nothing; returns: VersionInfo };
  /** Ends the program, after jobs were cancelled and images closed. */
  quit: { arguments: Nothing; returns: Nothing };
  /** Removes a descriptor from a set, or all of them; it is closed when nobody uses it any more. */
  "remove-fd": { arguments: RemoveFdArg; returns: Nothing };
  /** Stops the guests: their requests wait until `cont`; what they have written is flushed. */
  stop: { arguments: Nothing; returns: Nothing };
  /** Runs actions as one: all or none. `completion-mode: grouped` makes their jobs one, too. */
  transaction: { arguments: TransactionArg; returns: Nothing };
}

export interface Events {
  /** A block job is over; `error` says why when it failed. */
  BLOCK_JOB_COMPLETED: BLOCKJOBCOMPLETEDArg;
  /** A block job was cancelled and is over. */
  BLOCK_JOB_CANCELLED: BLOCKJOBCANCELLEDArg;
  /** A block job met an I/O error; `action` is what the policy made of it. */
  BLOCK_JOB_ERROR: BLOCKJOBERRORArg;
  /** A mirror or active commit has caught up and can be completed. */
  BLOCK_JOB_READY: BLOCKJOBREADYArg;
  /** A block job waits for job-finalize. */
  BLOCK_JOB_PENDING: BLOCKJOBPENDINGArg;
  /** A job is in another state. */
  JOB_STATUS_CHANGE: JOBSTATUSCHANGEArg;
  /** An image contradicts itself; `fatal`: it takes no more writes. */
  BLOCK_IMAGE_CORRUPTED: BLOCKIMAGECORRUPTEDArg;
  /** A block export is gone. */
  BLOCK_EXPORT_DELETED: BLOCKEXPORTDELETEDArg;
  /** A request of a guest device met an I/O error; `action` is what rerror or werror made of it, and STOP follows when that is `stop`. */
  BLOCK_IO_ERROR: BLOCKIOERRORArg;
  /** A write to a node reached beyond its threshold, which is gone now. */
  BLOCK_WRITE_THRESHOLD: BLOCKWRITETHRESHOLDArg;
  /** A tray has opened or closed. */
  DEVICE_TRAY_MOVED: DEVICETRAYMOVEDArg;
  /** The guests have been stopped. */
  STOP: Nothing;
  /** The guests go on. */
  RESUME: Nothing;
  /** A quorum found no majority, or too few children that answered. */
  QUORUM_FAILURE: QUORUMFAILUREArg;
  /** A child of a quorum failed or said something else than the majority. */
  QUORUM_REPORT_BAD: QUORUMREPORTBADArg;
}

export interface Abort { readonly [name: string]: never }

export interface AbortWrapper {
  data: Abort;
}

export type ActionCompletionMode = "individual" | "grouped";

export interface AddFdArg {
  "fdset-id"?: number | undefined;
  opaque?: string | undefined;
}

export interface AddfdInfo {
  "fdset-id": number;
  fd: number;
}

export interface AuthZListProperties {
  policy?: QAuthZListPolicy | undefined;
  rules?: readonly QAuthZListRule[] | undefined;
}

export interface AuthZSimpleProperties {
  identity: string;
}

export interface BLOCKEXPORTDELETEDArg {
  id: string;
}

export interface BLOCKIMAGECORRUPTEDArg {
  device: string;
  "node-name"?: string | undefined;
  msg: string;
  offset?: number | undefined;
  size?: number | undefined;
  fatal: boolean;
}

export interface BLOCKIOERRORArg {
  device: string;
  "node-name"?: string | undefined;
  operation: IoOperationType;
  action: BlockErrorAction;
  nospace?: boolean | undefined;
  reason: string;
}

export interface BLOCKJOBCANCELLEDArg {
  type: JobType;
  device: string;
  len: number;
  offset: number;
  speed: number;
}

export interface BLOCKJOBCOMPLETEDArg {
  type: JobType;
  device: string;
  len: number;
  offset: number;
  speed: number;
  error?: string | undefined;
}

export interface BLOCKJOBERRORArg {
  device: string;
  operation: IoOperationType;
  action: BlockErrorAction;
}

export interface BLOCKJOBPENDINGArg {
  type: JobType;
  id: string;
}

export interface BLOCKJOBREADYArg {
  type: JobType;
  device: string;
  len: number;
  offset: number;
  speed: number;
}

export interface BLOCKWRITETHRESHOLDArg {
  "node-name": string;
  "amount-exceeded": number;
  "write-threshold": number;
}

export interface BackupPerf {
  "use-copy-range"?: boolean | undefined;
  "max-workers"?: number | undefined;
  "max-chunk"?: number | undefined;
}

export type BitmapSyncMode = "on-success" | "never" | "always";

export type BlkdebugEvent = "l1_update" | "l1_grow_alloc_table" | "l1_grow_write_table" | "l1_grow_activate_table" | "l2_load" | "l2_update" | "l2_update_compressed" | "l2_alloc_cow_read" | "l2_alloc_write" | "read_aio" | "read_backing_aio" | "read_compressed" | "write_aio" | "write_compressed" | "vmstate_load" | "vmstate_save" | "cow_read" | "cow_write" | "reftable_load" | "reftable_grow" | "reftable_update" | "refblock_load" | "refblock_update" | "refblock_update_part" | "refblock_alloc" | "refblock_alloc_hookup" | "refblock_alloc_write" | "refblock_alloc_write_blocks" | "refblock_alloc_write_table" | "refblock_alloc_switch_table" | "cluster_alloc" | "cluster_alloc_bytes" | "cluster_free" | "flush_to_os" | "flush_to_disk" | "pwritev_rmw_head" | "pwritev_rmw_after_head" | "pwritev_rmw_tail" | "pwritev_rmw_after_tail" | "pwritev" | "pwritev_zero" | "pwritev_done" | "empty_image_prepare" | "l1_shrink_write_table" | "l1_shrink_free_l2_clusters" | "cor_write" | "cluster_alloc_space" | "none";

export type BlkdebugIOType = "read" | "write" | "write-zeroes" | "discard" | "flush" | "block-status";

export interface BlkdebugInjectErrorOptions {
  event: BlkdebugEvent;
  state?: number | undefined;
  iotype?: BlkdebugIOType | undefined;
  errno?: number | undefined;
  sector?: number | undefined;
  once?: boolean | undefined;
  immediately?: boolean | undefined;
}

export interface BlkdebugInjectErrorOptions2 {
  event: string;
  state?: number | undefined;
  iotype?: BlkdebugIOType | undefined;
  errno?: number | undefined;
  sector?: number | undefined;
  once?: boolean | undefined;
  immediately?: boolean | undefined;
}

export interface BlkdebugSetStateOptions {
  event: BlkdebugEvent;
  state?: number | undefined;
  new_state: number;
}

export interface BlkdebugSetStateOptions2 {
  event: string;
  state?: number | undefined;
  new_state: number;
}

export interface BlockCommitArg {
  "job-id"?: string | undefined;
  device: string;
  "base-node"?: string | undefined;
  base?: string | undefined;
  "top-node"?: string | undefined;
  top?: string | undefined;
  "backing-file"?: string | undefined;
  speed?: number | undefined;
  "on-error"?: BlockdevOnError | undefined;
  "filter-node-name"?: string | undefined;
  "auto-finalize"?: boolean | undefined;
  "auto-dismiss"?: boolean | undefined;
}

export interface BlockDeviceInfo {
  file: string;
  "node-name"?: string | undefined;
  ro: boolean;
  drv: string;
  backing_file?: string | undefined;
  backing_file_depth: number;
  encrypted: boolean;
  encryption_key_missing?: boolean | undefined;
  detect_zeroes: BlockdevDetectZeroesOptions;
  bps: number;
  bps_rd: number;
  bps_wr: number;
  iops: number;
  iops_rd: number;
  iops_wr: number;
  image: ImageInfo;
  bps_max?: number | undefined;
  bps_rd_max?: number | undefined;
  bps_wr_max?: number | undefined;
  iops_max?: number | undefined;
  iops_rd_max?: number | undefined;
  iops_wr_max?: number | undefined;
  bps_max_length?: number | undefined;
  bps_rd_max_length?: number | undefined;
  bps_wr_max_length?: number | undefined;
  iops_max_length?: number | undefined;
  iops_rd_max_length?: number | undefined;
  iops_wr_max_length?: number | undefined;
  iops_size?: number | undefined;
  group?: string | undefined;
  cache: BlockdevCacheInfo;
  write_threshold?: number | undefined;
  "dirty-bitmaps"?: readonly BlockDirtyInfo[] | undefined;
}

export type BlockDeviceIoStatus = "ok" | "failed" | "nospace";

export interface BlockDeviceStats {
  rd_bytes: number;
  wr_bytes: number;
  rd_operations: number;
  wr_operations: number;
  flush_operations: number;
  rd_total_time_ns: number;
  wr_total_time_ns: number;
  flush_total_time_ns: number;
  wr_highest_offset: number;
  unmap_bytes?: number | undefined;
  unmap_operations?: number | undefined;
  unmap_total_time_ns?: number | undefined;
  rd_merged?: number | undefined;
  wr_merged?: number | undefined;
  unmap_merged?: number | undefined;
  idle_time_ns?: number | undefined;
  failed_rd_operations?: number | undefined;
  failed_wr_operations?: number | undefined;
  failed_flush_operations?: number | undefined;
  failed_unmap_operations?: number | undefined;
  invalid_rd_operations?: number | undefined;
  invalid_wr_operations?: number | undefined;
  invalid_flush_operations?: number | undefined;
  invalid_unmap_operations?: number | undefined;
  account_invalid?: boolean | undefined;
  account_failed?: boolean | undefined;
  timed_stats?: readonly BlockDeviceTimedStats[] | undefined;
  rd_latency_histogram?: BlockLatencyHistogramInfo | undefined;
  wr_latency_histogram?: BlockLatencyHistogramInfo | undefined;
  flush_latency_histogram?: BlockLatencyHistogramInfo | undefined;
}

export interface BlockDeviceTimedStats {
  interval_length: number;
  min_rd_latency_ns: number;
  max_rd_latency_ns: number;
  avg_rd_latency_ns: number;
  min_wr_latency_ns: number;
  max_wr_latency_ns: number;
  avg_wr_latency_ns: number;
  min_flush_latency_ns: number;
  max_flush_latency_ns: number;
  avg_flush_latency_ns: number;
  avg_rd_queue_depth: number;
  avg_wr_queue_depth: number;
}

export interface BlockDirtyBitmap {
  node: string;
  name: string;
}

export interface BlockDirtyBitmapAdd {
  node: string;
  name: string;
  granularity?: number | undefined;
  persistent?: boolean | undefined;
  disabled?: boolean | undefined;
}

export interface BlockDirtyBitmapAddWrapper {
  data: BlockDirtyBitmapAdd;
}

export interface BlockDirtyBitmapClearWrapper {
  data: BlockDirtyBitmap;
}

export interface BlockDirtyBitmapDisableWrapper {
  data: BlockDirtyBitmap;
}

export interface BlockDirtyBitmapEnableWrapper {
  data: BlockDirtyBitmap;
}

export interface BlockDirtyBitmapMerge {
  node: string;
  target: string;
  bitmaps: readonly BlockDirtyBitmapOrStr[];
}

export interface BlockDirtyBitmapMergeWrapper {
  data: BlockDirtyBitmapMerge;
}

export type BlockDirtyBitmapOrStr = string | BlockDirtyBitmap;

export interface BlockDirtyBitmapRemoveWrapper {
  data: BlockDirtyBitmap;
}

export interface BlockDirtyBitmapSha256 {
  sha256: string;
}

export interface BlockDirtyInfo {
  name?: string | undefined;
  count: number;
  granularity: number;
  recording: boolean;
  busy: boolean;
  persistent: boolean;
  inconsistent?: boolean | undefined;
}

export interface BlockDirtyInfo22 {
  count: number;
  granularity: number;
}

export type BlockErrorAction = "ignore" | "report" | "stop";

export interface BlockExportDelArg {
  id: string;
  mode?: BlockExportRemoveMode | undefined;
}

export interface BlockExportInfo {
  id: string;
  type: BlockExportType;
  "node-name": string;
  "shutting-down": boolean;
}

export type BlockExportOptions = {
  id: string;
  "fixed-iothread"?: boolean | undefined;
  iothread?: string | undefined;
  "node-name": string;
  writable?: boolean | undefined;
  writethrough?: boolean | undefined;
} & (
  | ({ type: "nbd" } & BlockExportOptionsNbd)
);

export interface BlockExportOptionsNbd {
  name?: string | undefined;
  description?: string | undefined;
  bitmaps?: readonly BlockDirtyBitmapOrStr[] | undefined;
  "allocation-depth"?: boolean | undefined;
}

export type BlockExportRemoveMode = "safe" | "hard";

export type BlockExportType = "nbd";

export interface BlockIOThrottle {
  device?: string | undefined;
  id?: string | undefined;
  bps: number;
  bps_rd: number;
  bps_wr: number;
  iops: number;
  iops_rd: number;
  iops_wr: number;
  bps_max?: number | undefined;
  bps_rd_max?: number | undefined;
  bps_wr_max?: number | undefined;
  iops_max?: number | undefined;
  iops_rd_max?: number | undefined;
  iops_wr_max?: number | undefined;
  bps_max_length?: number | undefined;
  bps_rd_max_length?: number | undefined;
  bps_wr_max_length?: number | undefined;
  iops_max_length?: number | undefined;
  iops_rd_max_length?: number | undefined;
  iops_wr_max_length?: number | undefined;
  iops_size?: number | undefined;
  group?: string | undefined;
}

export interface BlockInfo {
  device: string;
  qdev?: string | undefined;
  type: string;
  removable: boolean;
  locked: boolean;
  inserted?: BlockDeviceInfo | undefined;
  tray_open?: boolean | undefined;
  "io-status"?: BlockDeviceIoStatus | undefined;
  "dirty-bitmaps"?: readonly BlockDirtyInfo22[] | undefined;
}

export interface BlockJobArg {
  device: string;
}

export interface BlockJobCancelArg {
  device: string;
  force?: boolean | undefined;
}

export interface BlockJobIdArg {
  id: string;
}

export interface BlockJobInfo {
  type: JobType;
  device: string;
  len: number;
  offset: number;
  busy: boolean;
  paused: boolean;
  speed: number;
  "io-status": BlockDeviceIoStatus;
  ready: boolean;
  status: JobStatus;
  "auto-finalize": boolean;
  "auto-dismiss": boolean;
  error?: string | undefined;
}

export interface BlockJobSetSpeedArg {
  device: string;
  speed: number;
}

export interface BlockLatencyHistogramInfo {
  boundaries: readonly number[];
  bins: readonly number[];
}

export interface BlockLatencyHistogramSetArg {
  id: string;
  boundaries?: readonly number[] | undefined;
  "boundaries-read"?: readonly number[] | undefined;
  "boundaries-write"?: readonly number[] | undefined;
  "boundaries-flush"?: readonly number[] | undefined;
}

export interface BlockPasswdArg {
  device?: string | undefined;
  "node-name"?: string | undefined;
  password: string;
}

export type BlockPermission = "consistent-read" | "write" | "write-unchanged" | "resize";

export interface BlockResizeArg {
  device?: string | undefined;
  "node-name"?: string | undefined;
  size: number;
}

export interface BlockSetIoThrottleArg {
  device: string;
  bps: number;
  bps_rd: number;
  bps_wr: number;
  iops: number;
  iops_rd: number;
  iops_wr: number;
  bps_max?: number | undefined;
  bps_rd_max?: number | undefined;
  bps_wr_max?: number | undefined;
  iops_max?: number | undefined;
  iops_rd_max?: number | undefined;
  iops_wr_max?: number | undefined;
  iops_size?: number | undefined;
}

export interface BlockSetWriteThresholdArg {
  "node-name": string;
  "write-threshold": number;
}

export interface BlockStats {
  device?: string | undefined;
  qdev?: string | undefined;
  "node-name"?: string | undefined;
  stats: BlockDeviceStats;
  "driver-specific"?: BlockStatsSpecificFile | undefined;
  parent?: BlockStats | undefined;
  backing?: BlockStats | undefined;
}

export interface BlockStatsSpecificFile {
  driver: string;
  "discard-nb-ok": number;
  "discard-nb-failed": number;
  "discard-bytes-ok": number;
}

export interface BlockStreamArg {
  "job-id"?: string | undefined;
  device: string;
  base?: string | undefined;
  "base-node"?: string | undefined;
  "backing-file"?: string | undefined;
  bottom?: string | undefined;
  speed?: number | undefined;
  "on-error"?: BlockdevOnError | undefined;
  "filter-node-name"?: string | undefined;
  "auto-finalize"?: boolean | undefined;
  "auto-dismiss"?: boolean | undefined;
}

export interface BlockdevAddArg {
  options: BlockdevOptions22;
}

export type BlockdevAioOptions = "threads" | "native" | "io_uring";

export type BlockdevAmendOptions = (
  | ({ driver: "luks" } & BlockdevAmendOptionsLUKS)
  | ({ driver: "qcow2" } & BlockdevAmendOptionsQcow2)
  | { driver: "blkdebug" | "blklogwrites" | "blkreplay" | "blkverify" | "bochs" | "cloop" | "compress" | "copy-before-write" | "copy-on-read" | "dmg" | "file" | "snapshot-access" | "ftp" | "ftps" | "gluster" | "host_cdrom" | "host_device" | "http" | "https" | "io_uring" | "iscsi" | "nbd" | "nfs" | "null-aio" | "null-co" | "nvme" | "nvme-io_uring" | "parallels" | "preallocate" | "qcow" | "qed" | "quorum" | "raw" | "rbd" | "replication" | "ssh" | "throttle" | "vdi" | "vhdx" | "virtio-blk-vhost-vdpa" | "vmdk" | "vpc" | "vvfat" | "archipelago" | "cow" | "tftp" | "host_floppy" }
);

export interface BlockdevAmendOptionsLUKS {
  state: QCryptoBlockLUKSKeyslotState;
  "new-secret"?: string | undefined;
  "old-secret"?: string | undefined;
  keyslot?: number | undefined;
  "iter-time"?: number | undefined;
  secret?: string | undefined;
}

export interface BlockdevAmendOptionsQcow2 {
  encrypt?: QCryptoBlockAmendOptions | undefined;
}

export interface BlockdevBackup {
  "job-id"?: string | undefined;
  device: string;
  target: string;
  sync: MirrorSyncMode;
  speed?: number | undefined;
  bitmap?: string | undefined;
  "bitmap-mode"?: BitmapSyncMode | undefined;
  compress?: boolean | undefined;
  "filter-node-name"?: string | undefined;
  "x-perf"?: BackupPerf | undefined;
  "on-source-error"?: BlockdevOnError | undefined;
  "on-target-error"?: BlockdevOnError | undefined;
  "auto-finalize"?: boolean | undefined;
  "auto-dismiss"?: boolean | undefined;
}

export interface BlockdevBackupWrapper {
  data: BlockdevBackup;
}

export interface BlockdevCacheInfo {
  writeback: boolean;
  direct: boolean;
  "no-flush": boolean;
}

export interface BlockdevCacheOptions {
  direct?: boolean | undefined;
  "no-flush"?: boolean | undefined;
}

export interface BlockdevCacheOptions22 {
  writeback?: boolean | undefined;
  direct?: boolean | undefined;
  "no-flush"?: boolean | undefined;
}

export interface BlockdevChangeMediumArg {
  device?: string | undefined;
  id?: string | undefined;
  filename: string;
  format?: string | undefined;
  force?: boolean | undefined;
  "read-only-mode"?: BlockdevChangeReadOnlyMode | undefined;
}

export type BlockdevChangeReadOnlyMode = "retain" | "read-only" | "read-write";

export interface BlockdevCloseTrayArg {
  device?: string | undefined;
  id?: string | undefined;
}

export interface BlockdevCreateArg {
  "job-id": string;
  options: BlockdevCreateOptions;
}

export type BlockdevCreateOptions = (
  | ({ driver: "file" } & BlockdevCreateOptionsFile)
  | ({ driver: "luks" } & BlockdevCreateOptionsLUKS)
  | ({ driver: "parallels" } & BlockdevCreateOptionsParallels)
  | ({ driver: "qcow" } & BlockdevCreateOptionsQcow)
  | ({ driver: "qcow2" } & BlockdevCreateOptionsQcow2)
  | ({ driver: "qed" } & BlockdevCreateOptionsQed)
  | ({ driver: "ssh" } & BlockdevCreateOptionsSsh)
  | ({ driver: "vdi" } & BlockdevCreateOptionsVdi)
  | ({ driver: "vhdx" } & BlockdevCreateOptionsVhdx)
  | ({ driver: "vmdk" } & BlockdevCreateOptionsVmdk)
  | ({ driver: "vpc" } & BlockdevCreateOptionsVpc)
);

export interface BlockdevCreateOptionsFile {
  filename: string;
  size: number;
  preallocation?: PreallocMode | undefined;
  nocow?: boolean | undefined;
  "extent-size-hint"?: number | undefined;
}

export interface BlockdevCreateOptionsLUKS {
  "key-secret"?: string | undefined;
  "cipher-alg"?: string | undefined;
  "cipher-mode"?: string | undefined;
  "ivgen-alg"?: string | undefined;
  "ivgen-hash-alg"?: string | undefined;
  "hash-alg"?: string | undefined;
  "iter-time"?: number | undefined;
  file: BlockdevRef;
  size: number;
  preallocation?: PreallocMode | undefined;
}

export interface BlockdevCreateOptionsParallels {
  file: BlockdevRef;
  size: number;
  "cluster-size"?: number | undefined;
}

export interface BlockdevCreateOptionsQcow {
  file: BlockdevRef;
  size: number;
  "backing-file"?: string | undefined;
  encrypt?: QCryptoBlockCreateOptions | undefined;
}

export interface BlockdevCreateOptionsQcow2 {
  file: BlockdevRef;
  size: number;
  "data-file"?: BlockdevRef | undefined;
  "data-file-raw"?: boolean | undefined;
  "extended-l2"?: boolean | undefined;
  version?: BlockdevQcow2Version | undefined;
  "backing-file"?: string | undefined;
  "backing-fmt"?: string | undefined;
  encrypt?: QCryptoBlockCreateOptions | undefined;
  "cluster-size"?: number | undefined;
  preallocation?: PreallocMode | undefined;
  "lazy-refcounts"?: boolean | undefined;
  "refcount-bits"?: number | undefined;
  "compression-type"?: Qcow2CompressionType | undefined;
}

export interface BlockdevCreateOptionsQed {
  file: BlockdevRef;
  size: number;
  "backing-file"?: string | undefined;
  "backing-fmt"?: string | undefined;
  "cluster-size"?: number | undefined;
  "table-size"?: number | undefined;
}

export interface BlockdevCreateOptionsSsh {
  location: BlockdevOptionsSsh;
  size: number;
}

export interface BlockdevCreateOptionsVdi {
  file: BlockdevRef;
  size: number;
  preallocation?: PreallocMode | undefined;
}

export interface BlockdevCreateOptionsVhdx {
  file: BlockdevRef;
  size: number;
  "log-size"?: number | undefined;
  "block-size"?: number | undefined;
  subformat?: BlockdevVhdxSubformat | undefined;
  "block-state-zero"?: boolean | undefined;
}

export interface BlockdevCreateOptionsVmdk {
  file: BlockdevRef;
  size: number;
  extents?: readonly BlockdevRef[] | undefined;
  subformat?: BlockdevVmdkSubformat | undefined;
  "backing-file"?: string | undefined;
  "adapter-type"?: BlockdevVmdkAdapterType | undefined;
  hwversion?: string | undefined;
  toolsversion?: string | undefined;
  "zeroed-grain"?: boolean | undefined;
}

export interface BlockdevCreateOptionsVpc {
  file: BlockdevRef;
  size: number;
  subformat?: BlockdevVpcSubformat | undefined;
  "force-size"?: boolean | undefined;
}

export interface BlockdevDelArg {
  "node-name": string;
}

export type BlockdevDetectZeroesOptions = "off" | "on" | "unmap";

export type BlockdevDiscardOptions = "ignore" | "unmap";

export interface BlockdevInsertMediumArg {
  id: string;
  "node-name": string;
}

export interface BlockdevMirrorArg {
  "job-id"?: string | undefined;
  device: string;
  target: string;
  replaces?: string | undefined;
  sync: MirrorSyncMode;
  speed?: number | undefined;
  granularity?: number | undefined;
  "buf-size"?: number | undefined;
  "on-source-error"?: BlockdevOnError | undefined;
  "on-target-error"?: BlockdevOnError | undefined;
  "filter-node-name"?: string | undefined;
  "copy-mode"?: MirrorCopyMode | undefined;
  "auto-finalize"?: boolean | undefined;
  "auto-dismiss"?: boolean | undefined;
}

export type BlockdevOnError = "report" | "ignore" | "enospc" | "stop" | "auto";

export type BlockdevOnError2 = "report" | "ignore" | "enospc" | "stop";

export interface BlockdevOpenTrayArg {
  device?: string | undefined;
  id?: string | undefined;
  force?: boolean | undefined;
}

export type BlockdevOptions = {
  "node-name"?: string | undefined;
  discard?: BlockdevDiscardOptions | undefined;
  cache?: BlockdevCacheOptions | undefined;
  "read-only"?: boolean | undefined;
  "auto-read-only"?: boolean | undefined;
  "force-share"?: boolean | undefined;
  "detect-zeroes"?: BlockdevDetectZeroesOptions | undefined;
} & (
  | ({ driver: "blkdebug" } & BlockdevOptionsBlkdebug)
  | ({ driver: "blklogwrites" } & BlockdevOptionsBlklogwrites)
  | ({ driver: "blkreplay" } & BlockdevOptionsBlkreplay)
  | ({ driver: "blkverify" } & BlockdevOptionsBlkverify)
  | ({ driver: "bochs" } & BlockdevOptionsGenericFormat)
  | ({ driver: "cloop" } & BlockdevOptionsGenericFormat)
  | ({ driver: "compress" } & BlockdevOptionsGenericFormat)
  | ({ driver: "copy-before-write" } & BlockdevOptionsCbw)
  | ({ driver: "copy-on-read" } & BlockdevOptionsCor)
  | ({ driver: "dmg" } & BlockdevOptionsGenericFormat)
  | ({ driver: "file" } & BlockdevOptionsFile)
  | ({ driver: "snapshot-access" } & BlockdevOptionsGenericFormat)
  | ({ driver: "ftp" } & BlockdevOptionsCurlFtp)
  | ({ driver: "ftps" } & BlockdevOptionsCurlFtps)
  | ({ driver: "host_cdrom" } & BlockdevOptionsFile)
  | ({ driver: "host_device" } & BlockdevOptionsFile)
  | ({ driver: "http" } & BlockdevOptionsCurlHttp)
  | ({ driver: "https" } & BlockdevOptionsCurlHttps)
  | ({ driver: "luks" } & BlockdevOptionsLUKS)
  | ({ driver: "nbd" } & BlockdevOptionsNbd)
  | ({ driver: "null-aio" } & BlockdevOptionsNull)
  | ({ driver: "null-co" } & BlockdevOptionsNull)
  | ({ driver: "parallels" } & BlockdevOptionsGenericFormat)
  | ({ driver: "preallocate" } & BlockdevOptionsPreallocate)
  | ({ driver: "qcow" } & BlockdevOptionsQcow)
  | ({ driver: "qcow2" } & BlockdevOptionsQcow2)
  | ({ driver: "qed" } & BlockdevOptionsGenericCOWFormat)
  | ({ driver: "quorum" } & BlockdevOptionsQuorum)
  | ({ driver: "raw" } & BlockdevOptionsRaw)
  | ({ driver: "ssh" } & BlockdevOptionsSsh)
  | ({ driver: "throttle" } & BlockdevOptionsThrottle)
  | ({ driver: "vdi" } & BlockdevOptionsGenericFormat)
  | ({ driver: "vhdx" } & BlockdevOptionsGenericFormat)
  | ({ driver: "vmdk" } & BlockdevOptionsGenericCOWFormat)
  | ({ driver: "vpc" } & BlockdevOptionsGenericFormat)
  | ({ driver: "vvfat" } & BlockdevOptionsVVFAT)
  | ({ driver: "archipelago" } & BlockdevOptionsArchipelago)
  | ({ driver: "cow" } & BlockdevOptionsGenericCOWFormat)
  | ({ driver: "tftp" } & BlockdevOptionsCurlTftp)
  | ({ driver: "host_floppy" } & BlockdevOptionsFile)
  | { driver: "gluster" | "io_uring" | "iscsi" | "nfs" | "nvme" | "nvme-io_uring" | "rbd" | "replication" | "virtio-blk-vhost-vdpa" }
);

export type BlockdevOptions22 = {
  "node-name"?: string | undefined;
  discard?: BlockdevDiscardOptions | undefined;
  cache?: BlockdevCacheOptions22 | undefined;
  "read-only"?: boolean | undefined;
  "auto-read-only"?: boolean | undefined;
  "force-share"?: boolean | undefined;
  "detect-zeroes"?: BlockdevDetectZeroesOptions | undefined;
  id?: string | undefined;
  aio?: BlockdevAioOptions | undefined;
  rerror?: BlockdevOnError2 | undefined;
  werror?: BlockdevOnError2 | undefined;
} & (
  | ({ driver: "blkdebug" } & BlockdevOptionsBlkdebug2)
  | ({ driver: "blklogwrites" } & BlockdevOptionsBlklogwrites)
  | ({ driver: "blkreplay" } & BlockdevOptionsBlkreplay)
  | ({ driver: "blkverify" } & BlockdevOptionsBlkverify)
  | ({ driver: "bochs" } & BlockdevOptionsGenericFormat)
  | ({ driver: "cloop" } & BlockdevOptionsGenericFormat)
  | ({ driver: "compress" } & BlockdevOptionsGenericFormat)
  | ({ driver: "copy-before-write" } & BlockdevOptionsCbw)
  | ({ driver: "copy-on-read" } & BlockdevOptionsCor)
  | ({ driver: "dmg" } & BlockdevOptionsGenericFormat)
  | ({ driver: "file" } & BlockdevOptionsFile)
  | ({ driver: "snapshot-access" } & BlockdevOptionsGenericFormat)
  | ({ driver: "ftp" } & BlockdevOptionsCurlFtp)
  | ({ driver: "ftps" } & BlockdevOptionsCurlFtps)
  | ({ driver: "host_cdrom" } & BlockdevOptionsFile)
  | ({ driver: "host_device" } & BlockdevOptionsFile)
  | ({ driver: "http" } & BlockdevOptionsCurlHttp)
  | ({ driver: "https" } & BlockdevOptionsCurlHttps)
  | ({ driver: "luks" } & BlockdevOptionsLUKS)
  | ({ driver: "nbd" } & BlockdevOptionsNbd)
  | ({ driver: "null-aio" } & BlockdevOptionsNull)
  | ({ driver: "null-co" } & BlockdevOptionsNull)
  | ({ driver: "parallels" } & BlockdevOptionsGenericFormat)
  | ({ driver: "preallocate" } & BlockdevOptionsPreallocate)
  | ({ driver: "qcow" } & BlockdevOptionsQcow)
  | ({ driver: "qcow2" } & BlockdevOptionsQcow2)
  | ({ driver: "qed" } & BlockdevOptionsGenericCOWFormat)
  | ({ driver: "quorum" } & BlockdevOptionsQuorum)
  | ({ driver: "raw" } & BlockdevOptionsRaw)
  | ({ driver: "ssh" } & BlockdevOptionsSsh)
  | ({ driver: "throttle" } & BlockdevOptionsThrottle)
  | ({ driver: "vdi" } & BlockdevOptionsGenericFormat)
  | ({ driver: "vhdx" } & BlockdevOptionsGenericFormat)
  | ({ driver: "vmdk" } & BlockdevOptionsGenericCOWFormat)
  | ({ driver: "vpc" } & BlockdevOptionsGenericFormat)
  | ({ driver: "vvfat" } & BlockdevOptionsVVFAT)
  | ({ driver: "archipelago" } & BlockdevOptionsArchipelago)
  | ({ driver: "cow" } & BlockdevOptionsGenericCOWFormat)
  | ({ driver: "tftp" } & BlockdevOptionsCurlTftp)
  | ({ driver: "host_floppy" } & BlockdevOptionsFile)
  | { driver: "gluster" | "io_uring" | "iscsi" | "nfs" | "nvme" | "nvme-io_uring" | "rbd" | "replication" | "virtio-blk-vhost-vdpa" }
);

export interface BlockdevOptionsArchipelago {
  volume: string;
  mport?: number | undefined;
  vport?: number | undefined;
  segment?: string | undefined;
}

export interface BlockdevOptionsBlkdebug {
  image: BlockdevRef;
  config?: string | undefined;
  align?: number | undefined;
  "max-transfer"?: number | undefined;
  "opt-write-zero"?: number | undefined;
  "max-write-zero"?: number | undefined;
  "opt-discard"?: number | undefined;
  "max-discard"?: number | undefined;
  "inject-error"?: readonly BlkdebugInjectErrorOptions[] | undefined;
  "set-state"?: readonly BlkdebugSetStateOptions[] | undefined;
  "take-child-perms"?: readonly string[] | undefined;
  "unshare-child-perms"?: readonly string[] | undefined;
}

export interface BlockdevOptionsBlkdebug2 {
  image: BlockdevRef;
  config?: string | undefined;
  align?: number | undefined;
  "max-transfer"?: number | undefined;
  "opt-write-zero"?: number | undefined;
  "max-write-zero"?: number | undefined;
  "opt-discard"?: number | undefined;
  "max-discard"?: number | undefined;
  "inject-error"?: readonly BlkdebugInjectErrorOptions2[] | undefined;
  "set-state"?: readonly BlkdebugSetStateOptions2[] | undefined;
  "take-child-perms"?: readonly string[] | undefined;
  "unshare-child-perms"?: readonly string[] | undefined;
}

export interface BlockdevOptionsBlklogwrites {
  file: BlockdevRef;
  log: BlockdevRef;
  "log-sector-size"?: number | undefined;
  "log-append"?: boolean | undefined;
  "log-super-update-interval"?: number | undefined;
}

export interface BlockdevOptionsBlkreplay {
  image: BlockdevRef;
}

export interface BlockdevOptionsBlkverify {
  test: BlockdevRef;
  raw: BlockdevRef;
}

export interface BlockdevOptionsCbw {
  file: BlockdevRef;
  target: BlockdevRef;
  bitmap?: BlockDirtyBitmap | undefined;
  "on-cbw-error"?: OnCbwError | undefined;
  "cbw-timeout"?: number | undefined;
}

export interface BlockdevOptionsCor {
  file: BlockdevRef;
  bottom?: string | undefined;
}

export interface BlockdevOptionsCurlFtp {
  url: string;
  readahead?: number | undefined;
  timeout?: number | undefined;
  username?: string | undefined;
  "password-secret"?: string | undefined;
  "proxy-username"?: string | undefined;
  "proxy-password-secret"?: string | undefined;
}

export interface BlockdevOptionsCurlFtps {
  url: string;
  readahead?: number | undefined;
  timeout?: number | undefined;
  username?: string | undefined;
  "password-secret"?: string | undefined;
  "proxy-username"?: string | undefined;
  "proxy-password-secret"?: string | undefined;
  sslverify?: boolean | undefined;
}

export interface BlockdevOptionsCurlHttp {
  url: string;
  readahead?: number | undefined;
  timeout?: number | undefined;
  username?: string | undefined;
  "password-secret"?: string | undefined;
  "proxy-username"?: string | undefined;
  "proxy-password-secret"?: string | undefined;
  cookie?: string | undefined;
  "cookie-secret"?: string | undefined;
}

export interface BlockdevOptionsCurlHttps {
  url: string;
  readahead?: number | undefined;
  timeout?: number | undefined;
  username?: string | undefined;
  "password-secret"?: string | undefined;
  "proxy-username"?: string | undefined;
  "proxy-password-secret"?: string | undefined;
  sslverify?: boolean | undefined;
  cookie?: string | undefined;
  "cookie-secret"?: string | undefined;
}

export interface BlockdevOptionsCurlTftp {
  url: string;
  readahead?: number | undefined;
  timeout?: number | undefined;
  username?: string | undefined;
  "password-secret"?: string | undefined;
  "proxy-username"?: string | undefined;
  "proxy-password-secret"?: string | undefined;
}

export interface BlockdevOptionsFile {
  filename: string;
  "pr-manager"?: string | undefined;
  locking?: OnOffAuto | undefined;
  aio?: BlockdevAioOptions | undefined;
  "aio-max-batch"?: number | undefined;
  "drop-cache"?: boolean | undefined;
  "x-check-cache-dropped"?: boolean | undefined;
}

export interface BlockdevOptionsGenericCOWFormat {
  file: BlockdevRef;
  backing?: BlockdevRefOrNull | undefined;
}

export interface BlockdevOptionsGenericFormat {
  file: BlockdevRef;
}

export interface BlockdevOptionsLUKS {
  file: BlockdevRef;
  "key-secret"?: string | undefined;
  header?: BlockdevRef | undefined;
}

export interface BlockdevOptionsNbd {
  server: SocketAddress;
  export?: string | undefined;
  "tls-creds"?: string | undefined;
  "tls-hostname"?: string | undefined;
  "x-dirty-bitmap"?: string | undefined;
  "reconnect-delay"?: number | undefined;
  "open-timeout"?: number | undefined;
}

export interface BlockdevOptionsNull {
  size?: number | undefined;
  "latency-ns"?: number | undefined;
  "read-zeroes"?: boolean | undefined;
}

export interface BlockdevOptionsPreallocate {
  file: BlockdevRef;
  "prealloc-align"?: number | undefined;
  "prealloc-size"?: number | undefined;
}

export interface BlockdevOptionsQcow {
  file: BlockdevRef;
  backing?: BlockdevRefOrNull | undefined;
  encrypt?: BlockdevQcowEncryption | undefined;
}

export interface BlockdevOptionsQcow2 {
  file: BlockdevRef;
  backing?: BlockdevRefOrNull | undefined;
  "lazy-refcounts"?: boolean | undefined;
  "pass-discard-request"?: boolean | undefined;
  "pass-discard-snapshot"?: boolean | undefined;
  "pass-discard-other"?: boolean | undefined;
  "overlap-check"?: Qcow2OverlapChecks | undefined;
  "cache-size"?: number | undefined;
  "l2-cache-size"?: number | undefined;
  "l2-cache-entry-size"?: number | undefined;
  "refcount-cache-size"?: number | undefined;
  "cache-clean-interval"?: number | undefined;
  encrypt?: BlockdevQcow2Encryption | undefined;
  "data-file"?: BlockdevRef | undefined;
}

export interface BlockdevOptionsQuorum {
  blkverify?: boolean | undefined;
  children: readonly BlockdevRef[];
  "vote-threshold": number;
  "rewrite-corrupted"?: boolean | undefined;
  "read-pattern"?: QuorumReadPattern | undefined;
}

export interface BlockdevOptionsRaw {
  file: BlockdevRef;
  offset?: number | undefined;
  size?: number | undefined;
}

export interface BlockdevOptionsSsh {
  server: InetSocketAddress;
  path: string;
  user?: string | undefined;
  "host-key-check"?: SshHostKeyCheck | undefined;
}

export interface BlockdevOptionsThrottle {
  "throttle-group": string;
  file: BlockdevRef;
}

export interface BlockdevOptionsVVFAT {
  dir: string;
  "fat-type"?: number | undefined;
  label?: string | undefined;
  floppy?: boolean | undefined;
  rw?: boolean | undefined;
}

export type BlockdevQcow2Encryption = (
  | ({ format: "aes" } & QCryptoBlockOptionsQCow)
  | ({ format: "luks" } & QCryptoBlockOptionsLUKS)
);

export type BlockdevQcow2Version = "v2" | "v3";

export type BlockdevQcowEncryption = (
  | ({ format: "aes" } & QCryptoBlockOptionsQCow)
);

export type BlockdevRef = BlockdevOptions | string;

export type BlockdevRefOrNull = BlockdevOptions | string | null;

export interface BlockdevRemoveMediumArg {
  id: string;
}

export interface BlockdevReopenArg {
  options: readonly BlockdevOptions[];
}

export interface BlockdevSnapshot {
  node: string;
  overlay: string;
}

export interface BlockdevSnapshotDeleteInternalSyncArg {
  device: string;
  id?: string | undefined;
  name?: string | undefined;
}

export interface BlockdevSnapshotInternal {
  device: string;
  name: string;
}

export interface BlockdevSnapshotInternalSyncWrapper {
  data: BlockdevSnapshotInternal;
}

export interface BlockdevSnapshotSync {
  device?: string | undefined;
  "node-name"?: string | undefined;
  "snapshot-file": string;
  "snapshot-node-name"?: string | undefined;
  format?: string | undefined;
  mode?: NewImageMode | undefined;
}

export interface BlockdevSnapshotSyncWrapper {
  data: BlockdevSnapshotSync;
}

export interface BlockdevSnapshotWrapper {
  data: BlockdevSnapshot;
}

export type BlockdevVhdxSubformat = "dynamic" | "fixed";

export type BlockdevVmdkAdapterType = "ide" | "buslogic" | "lsilogic" | "legacyESX";

export type BlockdevVmdkSubformat = "monolithicSparse" | "monolithicFlat" | "twoGbMaxExtentSparse" | "twoGbMaxExtentFlat" | "streamOptimized";

export type BlockdevVpcSubformat = "dynamic" | "fixed";

export interface ChangeArg {
  device: string;
  target: string;
  arg?: string | undefined;
}

export interface ChangeBackingFileArg {
  device: string;
  "image-node-name": string;
  "backing-file": string;
}

export interface ClosefdArg {
  fdname: string;
}

export interface CommandInfo {
  name: string;
}

export interface DEVICETRAYMOVEDArg {
  device: string;
  id: string;
  "tray-open": boolean;
}

export interface DriveBackup {
  "job-id"?: string | undefined;
  device: string;
  target: string;
  sync: MirrorSyncMode;
  speed?: number | undefined;
  bitmap?: string | undefined;
  "bitmap-mode"?: BitmapSyncMode | undefined;
  compress?: boolean | undefined;
  "filter-node-name"?: string | undefined;
  "x-perf"?: BackupPerf | undefined;
  "on-source-error"?: BlockdevOnError | undefined;
  "on-target-error"?: BlockdevOnError | undefined;
  "auto-finalize"?: boolean | undefined;
  "auto-dismiss"?: boolean | undefined;
  format?: string | undefined;
  mode?: NewImageMode | undefined;
}

export interface DriveBackupWrapper {
  data: DriveBackup;
}

export interface DriveMirror {
  "job-id"?: string | undefined;
  device: string;
  target: string;
  replaces?: string | undefined;
  sync: MirrorSyncMode;
  speed?: number | undefined;
  granularity?: number | undefined;
  "buf-size"?: number | undefined;
  "on-source-error"?: BlockdevOnError | undefined;
  "on-target-error"?: BlockdevOnError | undefined;
  "filter-node-name"?: string | undefined;
  "copy-mode"?: MirrorCopyMode | undefined;
  "auto-finalize"?: boolean | undefined;
  "auto-dismiss"?: boolean | undefined;
  format?: string | undefined;
  "node-name"?: string | undefined;
  mode?: NewImageMode | undefined;
  unmap?: boolean | undefined;
}

export interface EjectArg {
  device?: string | undefined;
  id?: string | undefined;
  force?: boolean | undefined;
}

export interface EjectArg2 {
  device: string;
  force?: boolean | undefined;
}

export interface FdSocketAddress {
  str: string;
}

export interface FdsetFdInfo {
  fd: number;
  opaque?: string | undefined;
}

export interface FdsetInfo {
  "fdset-id": number;
  fds: readonly FdsetFdInfo[];
}

export interface GetfdArg {
  fdname: string;
}

export interface HumanMonitorCommandArg {
  "command-line": string;
  "cpu-index"?: number | undefined;
}

export interface ImageInfo {
  filename: string;
  format: string;
  "dirty-flag"?: boolean | undefined;
  "actual-size"?: number | undefined;
  "virtual-size": number;
  "cluster-size"?: number | undefined;
  encrypted?: boolean | undefined;
  compressed?: boolean | undefined;
  "backing-filename"?: string | undefined;
  "full-backing-filename"?: string | undefined;
  "backing-filename-format"?: string | undefined;
  snapshots?: readonly SnapshotInfo[] | undefined;
  "backing-image"?: ImageInfo | undefined;
  "format-specific"?: ImageInfoSpecific | undefined;
}

export type ImageInfoSpecific = (
  | ({ type: "qcow2" } & ImageInfoSpecificQCow2Wrapper)
  | ({ type: "vmdk" } & ImageInfoSpecificVmdkWrapper)
  | ({ type: "luks" } & ImageInfoSpecificLUKSWrapper)
);

export interface ImageInfoSpecificLUKSWrapper {
  data: unknown;
}

export interface ImageInfoSpecificQCow2 {
  compat: string;
  "data-file"?: string | undefined;
  "data-file-raw"?: boolean | undefined;
  "extended-l2"?: boolean | undefined;
  "lazy-refcounts"?: boolean | undefined;
  corrupt?: boolean | undefined;
  "refcount-bits": number;
  encrypt?: unknown;
  bitmaps?: readonly Qcow2BitmapInfo[] | undefined;
  "compression-type": Qcow2CompressionType;
}

export interface ImageInfoSpecificQCow2Wrapper {
  data: ImageInfoSpecificQCow2;
}

export interface ImageInfoSpecificVmdk {
  "create-type": string;
  cid: number;
  "parent-cid": number;
  extents: readonly ImageInfo[];
}

export interface ImageInfoSpecificVmdkWrapper {
  data: ImageInfoSpecificVmdk;
}

export interface InetSocketAddress {
  host: string;
  port: string;
  numeric?: boolean | undefined;
  to?: number | undefined;
  ipv4?: boolean | undefined;
  ipv6?: boolean | undefined;
  "keep-alive"?: boolean | undefined;
  mptcp?: boolean | undefined;
}

export type IoOperationType = "read" | "write";

export interface IothreadProperties {
  "poll-max-ns"?: number | undefined;
  "poll-grow"?: number | undefined;
  "poll-shrink"?: number | undefined;
  "aio-max-batch"?: number | undefined;
  "thread-pool-min"?: number | undefined;
  "thread-pool-max"?: number | undefined;
}

export interface JOBSTATUSCHANGEArg {
  id: string;
  status: JobStatus;
}

export interface JobArg {
  id: string;
}

export interface JobInfo {
  id: string;
  type: JobType;
  status: JobStatus;
  "current-progress": number;
  "total-progress": number;
  error?: string | undefined;
}

export type JobStatus = "undefined" | "created" | "running" | "paused" | "ready" | "standby" | "waiting" | "pending" | "aborting" | "concluded" | "null";

export type JobType = "commit" | "stream" | "mirror" | "backup" | "create" | "amend" | "snapshot-load" | "snapshot-save" | "snapshot-delete";

export type MirrorCopyMode = "background" | "write-blocking";

export type MirrorSyncMode = "top" | "full" | "none" | "incremental" | "bitmap";

export interface NameInfo {
  name?: string | undefined;
}

export interface NbdServerAddArg {
  device: string;
  name?: string | undefined;
  description?: string | undefined;
  writable?: boolean | undefined;
  bitmap?: string | undefined;
}

export interface NbdServerRemoveArg {
  name: string;
  mode?: BlockExportRemoveMode | undefined;
}

export interface NbdServerStartArg {
  addr: SocketAddressLegacyInput;
  "tls-creds"?: string | undefined;
  "tls-authz"?: string | undefined;
  "max-connections"?: number | undefined;
}

export type NewImageMode = "existing" | "absolute-paths";

export interface ObjectDelArg {
  id: string;
}

export type ObjectOptions = {
  id: string;
} & (
  | ({ "qom-type": "authz-list" } & AuthZListProperties)
  | ({ "qom-type": "authz-simple" } & AuthZSimpleProperties)
  | ({ "qom-type": "iothread" } & IothreadProperties)
  | ({ "qom-type": "secret" } & SecretProperties)
  | ({ "qom-type": "throttle-group" } & ThrottleGroupProperties)
  | ({ "qom-type": "tls-creds-anon" } & TlsCredsAnonProperties)
  | ({ "qom-type": "tls-creds-psk" } & TlsCredsPskProperties)
  | ({ "qom-type": "tls-creds-x509" } & TlsCredsX509Properties)
);

export interface ObjectPropertyInfo {
  name: string;
  type: string;
  description?: string | undefined;
}

export type OnCbwError = "break-guest-write" | "break-snapshot";

export type OnOffAuto = "auto" | "on" | "off";

export type PreallocMode = "off" | "metadata" | "falloc" | "full";

export type QAuthZListFormat = "exact" | "glob";

export type QAuthZListPolicy = "deny" | "allow";

export interface QAuthZListRule {
  match: string;
  policy: QAuthZListPolicy;
  format?: QAuthZListFormat | undefined;
}

export type QCryptoBlockAmendOptions = (
  | ({ format: "luks" } & QCryptoBlockAmendOptionsLUKS)
  | { format: "qcow" }
);

export interface QCryptoBlockAmendOptionsLUKS {
  state: QCryptoBlockLUKSKeyslotState;
  "new-secret"?: string | undefined;
  "old-secret"?: string | undefined;
  keyslot?: number | undefined;
  "iter-time"?: number | undefined;
  secret?: string | undefined;
}

export type QCryptoBlockCreateOptions = (
  | ({ format: "qcow" } & QCryptoBlockOptionsQCow)
  | ({ format: "luks" } & QCryptoBlockCreateOptionsLUKS)
);

export interface QCryptoBlockCreateOptionsLUKS {
  "key-secret"?: string | undefined;
  "cipher-alg"?: string | undefined;
  "cipher-mode"?: string | undefined;
  "ivgen-alg"?: string | undefined;
  "ivgen-hash-alg"?: string | undefined;
  "hash-alg"?: string | undefined;
  "iter-time"?: number | undefined;
}

export type QCryptoBlockLUKSKeyslotState = "active" | "inactive";

export interface QCryptoBlockOptionsLUKS {
  "key-secret"?: string | undefined;
}

export interface QCryptoBlockOptionsQCow {
  "key-secret"?: string | undefined;
}

export type QCryptoSecretFormat = "raw" | "base64";

export type QCryptoTLSCredsEndpoint = "client" | "server";

export type QMPCapability = "oob";

export interface QUORUMFAILUREArg {
  reference: string;
  "sector-num": number;
  "sectors-count": number;
}

export interface QUORUMREPORTBADArg {
  type: QuorumOpType;
  error?: string | undefined;
  "node-name": string;
  "sector-num": number;
  "sectors-count": number;
}

export interface Qcow2BitmapInfo {
  name: string;
  granularity: number;
  flags: readonly Qcow2BitmapInfoFlags[];
}

export type Qcow2BitmapInfoFlags = "in-use" | "auto";

export type Qcow2CompressionType = "zlib" | "zstd";

export interface Qcow2OverlapCheckFlags {
  template?: Qcow2OverlapCheckMode | undefined;
  "main-header"?: boolean | undefined;
  "active-l1"?: boolean | undefined;
  "active-l2"?: boolean | undefined;
  "refcount-table"?: boolean | undefined;
  "refcount-block"?: boolean | undefined;
  "snapshot-table"?: boolean | undefined;
  "inactive-l1"?: boolean | undefined;
  "inactive-l2"?: boolean | undefined;
  "bitmap-directory"?: boolean | undefined;
}

export type Qcow2OverlapCheckMode = "none" | "constant" | "cached" | "all";

export type Qcow2OverlapChecks = Qcow2OverlapCheckFlags | Qcow2OverlapCheckMode;

export interface QmpCapabilitiesArg {
  enable?: readonly QMPCapability[] | undefined;
}

export interface QomGetArg {
  path: string;
  property: string;
}

export interface QomListArg {
  path: string;
}

export interface QomSetArg {
  path: string;
  property: string;
  value: unknown;
}

export interface QueryBlockstatsArg {
  "query-nodes"?: boolean | undefined;
}

export interface QueryNamedBlockNodesArg {
  flat?: boolean | undefined;
}

export type QuorumOpType = "read" | "write" | "flush";

export type QuorumReadPattern = "quorum" | "fifo";

export interface RemoveFdArg {
  "fdset-id": number;
  fd?: number | undefined;
}

export type RunState = "debug" | "inmigrate" | "internal-error" | "io-error" | "paused" | "postmigrate" | "prelaunch" | "finish-migrate" | "restore-vm" | "running" | "save-vm" | "shutdown" | "suspended" | "watchdog" | "guest-panicked" | "colo";

export interface SecretProperties {
  data?: string | undefined;
  file?: string | undefined;
  format?: QCryptoSecretFormat | undefined;
  keyid?: string | undefined;
  iv?: string | undefined;
}

export interface SnapshotInfo {
  id: string;
  name: string;
  "vm-state-size": number;
  "date-sec": number;
  "date-nsec": number;
  "vm-clock-sec": number;
  "vm-clock-nsec": number;
  icount?: number | undefined;
}

export type SocketAddress = (
  | ({ type: "inet" } & InetSocketAddress)
  | ({ type: "unix" } & UnixSocketAddress)
  | ({ type: "vsock" } & VsockSocketAddress)
  | ({ type: "fd" } & FdSocketAddress)
);

export interface SocketAddressLegacyData {
  host?: string | undefined;
  port?: string | undefined;
  path?: string | undefined;
  numeric?: boolean | undefined;
  ipv4?: boolean | undefined;
  ipv6?: boolean | undefined;
}

export interface SocketAddressLegacyInput {
  type: SocketAddressLegacyKind;
  data: SocketAddressLegacyData;
}

export type SocketAddressLegacyKind = "inet" | "unix" | "vsock" | "fd";

export type SshHostKeyCheck = (
  | ({ mode: "hash" } & SshHostKeyHash)
  | { mode: "none" | "known_hosts" }
);

export type SshHostKeyCheckHashType = "md5" | "sha1" | "sha256";

export interface SshHostKeyHash {
  type: SshHostKeyCheckHashType;
  hash: string;
}

export interface StatusInfo {
  running: boolean;
  singlestep: boolean;
  status: RunState;
}

export type StrOrNull = string | null;

export interface ThrottleGroupProperties {
  limits?: ThrottleLimits | undefined;
  "x-iops-total"?: number | undefined;
  "x-iops-total-max"?: number | undefined;
  "x-iops-total-max-length"?: number | undefined;
  "x-iops-read"?: number | undefined;
  "x-iops-read-max"?: number | undefined;
  "x-iops-read-max-length"?: number | undefined;
  "x-iops-write"?: number | undefined;
  "x-iops-write-max"?: number | undefined;
  "x-iops-write-max-length"?: number | undefined;
  "x-bps-total"?: number | undefined;
  "x-bps-total-max"?: number | undefined;
  "x-bps-total-max-length"?: number | undefined;
  "x-bps-read"?: number | undefined;
  "x-bps-read-max"?: number | undefined;
  "x-bps-read-max-length"?: number | undefined;
  "x-bps-write"?: number | undefined;
  "x-bps-write-max"?: number | undefined;
  "x-bps-write-max-length"?: number | undefined;
  "x-iops-size"?: number | undefined;
}

export interface ThrottleLimits {
  "iops-total"?: number | undefined;
  "iops-total-max"?: number | undefined;
  "iops-total-max-length"?: number | undefined;
  "iops-read"?: number | undefined;
  "iops-read-max"?: number | undefined;
  "iops-read-max-length"?: number | undefined;
  "iops-write"?: number | undefined;
  "iops-write-max"?: number | undefined;
  "iops-write-max-length"?: number | undefined;
  "bps-total"?: number | undefined;
  "bps-total-max"?: number | undefined;
  "bps-total-max-length"?: number | undefined;
  "bps-read"?: number | undefined;
  "bps-read-max"?: number | undefined;
  "bps-read-max-length"?: number | undefined;
  "bps-write"?: number | undefined;
  "bps-write-max"?: number | undefined;
  "bps-write-max-length"?: number | undefined;
  "iops-size"?: number | undefined;
}

export interface TlsCredsAnonProperties {
  "verify-peer"?: boolean | undefined;
  dir?: string | undefined;
  endpoint?: QCryptoTLSCredsEndpoint | undefined;
  priority?: string | undefined;
}

export interface TlsCredsPskProperties {
  "verify-peer"?: boolean | undefined;
  dir?: string | undefined;
  endpoint?: QCryptoTLSCredsEndpoint | undefined;
  priority?: string | undefined;
  username?: string | undefined;
}

export interface TlsCredsX509Properties {
  "verify-peer"?: boolean | undefined;
  dir?: string | undefined;
  endpoint?: QCryptoTLSCredsEndpoint | undefined;
  priority?: string | undefined;
  "sanity-check"?: boolean | undefined;
  passwordid?: string | undefined;
}

export type TransactionAction = (
  | ({ type: "abort" } & AbortWrapper)
  | ({ type: "block-dirty-bitmap-add" } & BlockDirtyBitmapAddWrapper)
  | ({ type: "block-dirty-bitmap-remove" } & BlockDirtyBitmapRemoveWrapper)
  | ({ type: "block-dirty-bitmap-clear" } & BlockDirtyBitmapClearWrapper)
  | ({ type: "block-dirty-bitmap-enable" } & BlockDirtyBitmapEnableWrapper)
  | ({ type: "block-dirty-bitmap-disable" } & BlockDirtyBitmapDisableWrapper)
  | ({ type: "block-dirty-bitmap-merge" } & BlockDirtyBitmapMergeWrapper)
  | ({ type: "blockdev-backup" } & BlockdevBackupWrapper)
  | ({ type: "blockdev-snapshot" } & BlockdevSnapshotWrapper)
  | ({ type: "blockdev-snapshot-internal-sync" } & BlockdevSnapshotInternalSyncWrapper)
  | ({ type: "blockdev-snapshot-sync" } & BlockdevSnapshotSyncWrapper)
  | ({ type: "drive-backup" } & DriveBackupWrapper)
);

export interface TransactionArg {
  actions: readonly TransactionAction[];
  properties?: TransactionProperties | undefined;
}

export interface TransactionProperties {
  "completion-mode"?: ActionCompletionMode | undefined;
}

export interface UnixSocketAddress {
  path: string;
  abstract?: boolean | undefined;
  tight?: boolean | undefined;
}

export interface UuidInfo {
  UUID: string;
}

export interface VersionInfo {
  qemu: VersionTriple;
  package: string;
}

export interface VersionTriple {
  major: number;
  minor: number;
  micro: number;
}

export interface VsockSocketAddress {
  cid: string;
  port: string;
}

export interface XBlockdevAmendArg {
  "job-id": string;
  "node-name": string;
  options: BlockdevAmendOptions;
  force?: boolean | undefined;
}

export interface XBlockdevChangeArg {
  parent: string;
  child?: string | undefined;
  node?: string | undefined;
}

export interface XBlockdevSetIothreadArg {
  "node-name": string;
  iothread: StrOrNull;
  force?: boolean | undefined;
}

export interface XDbgBlockGraph {
  nodes: readonly XDbgBlockGraphNode[];
  edges: readonly XDbgBlockGraphEdge[];
}

export interface XDbgBlockGraphEdge {
  parent: number;
  child: number;
  name: string;
  perm: readonly BlockPermission[];
  "shared-perm": readonly BlockPermission[];
}

export interface XDbgBlockGraphNode {
  id: number;
  type: XDbgBlockGraphNodeType;
  name: string;
}

export type XDbgBlockGraphNodeType = "block-backend" | "block-job" | "block-driver";
