/**
 * The driver contract.
 *
 * A driver is a named way to make nodes: a *format* (qcow2, vmdk …) interprets the bytes of its `file` child, a *protocol*
 * (file, http …) holds a storage, a *filter* (throttle, blkdebug …) passes requests on. `open` returns an implementation of
 * one of three shapes; the I/O chokepoint (`block/io.ts`) treats each in one place:
 *
 *  - `storage`: the bytes are in a Storage.
 *  - `mapped`: the node says where guest ranges are (extents); the chokepoint moves the bytes.
 *  - `intercept`: the node takes the requests themselves.
 */
import type { Storage, Preallocation } from "../storage/storage.js";
import type { CreateContext, CreateOption, Environment, OpenContext } from "./context.js";
import type { ExtentList } from "./extent.js";
import type { Child, Node } from "./node.js";
import type { JsonObject } from "../qapi/json.js";
import type { Op } from "./op.js";
import type { Permissions } from "./permissions.js";
import type { ImageCheck, CheckOptions, ImageInfoSpecific, BitmapInfo, SnapshotInfo } from "./types.js";

export interface Driver {
  /** QEMU's name of the driver. */
  readonly name: string;
  readonly category: "format" | "protocol" | "filter";
  /** How sure the driver is that the bytes are its own, 0 (no) to 100. `head` holds the first up to 2048 bytes. */
  readonly probe?: (head: Uint8Array, filename: string) => number;
  /** Driver-specific runtime options it understands, by QAPI name (children and generic ones are handled by open). */
  readonly runtimeOptions?: readonly string[];
  /** Those that may change while the node is open (blockdev-reopen); absent: the node cannot be reopened at all. */
  readonly mutableOptions?: readonly string[];
  /**
   * Those of them that change what a reader sees: the node's name tells them (`block/node-filename.ts`). "set-state." stands for all
   * below "set-state".
   */
  readonly strongOptions?: readonly string[];
  /** The plain name that opens such a node again, given the options that make it; "" where there is none. Absent: a format has its file's. */
  exactFilename?(node: Node, options: JsonObject): string;
  /** Brings the descriptions of the children, by name of child, into the form of the driver's options. */
  arrangeChildren?(options: JsonObject): void;
  /** Names relative to such a node mean nothing; what messages call the driver. */
  readonly directoryless?: string;
  /** Can have a `backing` child. */
  readonly supportsBacking?: boolean;
  /** Some images of the format are changes to a parent, which `backing` may name; others cannot be put over anything (VHD, VHDX, VDI). */
  readonly hasParents?: boolean;
  open(context: OpenContext): Op<NodeImpl>;
  /** Options of `create` in the order QEMU lists them. */
  readonly createOptions?: readonly CreateOption[];
  /** Options of `amend`, where the format has any. */
  readonly amendOptions?: readonly CreateOption[];
  /** Writes a new image into `context.file` (an empty, writable node). */
  create?(context: CreateContext): Op<void>;
  /** URL schemes or prefixes a protocol answers to ("http", "nbd"), without the colon. */
  readonly schemes?: readonly string[];
  /** Protocols of special files: whether a plain path is one of theirs. Asked before the path goes to "file". */
  claims?(filename: string): boolean;
  /** Turns "scheme:rest" into options. */
  parseFilename?(filename: string): Record<string, unknown>;
  /** Makes (or empties) a file of a protocol and returns its writable node. */
  createFile?(environment: Environment, filename: string): Op<Node>;
  /** The same for a file that is described by options instead of a name (`location` of blockdev-create). */
  createAt?(environment: Environment, location: Record<string, unknown>): Op<Node>;
  /** Removes a file of a protocol (a half-made image). */
  deleteFile?(filename: string): Op<void>;
  /** Size of an image of `size` guest bytes, for `measure`. */
  measure?(context: MeasureContext): Op<Measure>;
  /** Its checks tell the steps of a repair, and can leave it at that (`CheckOptions.dryRun`). */
  readonly plansRepairs?: boolean;
  /** Lays out a new image that can be written from its first byte to its last, into a pipe: every place is known before the first byte. */
  planStream?(context: StreamContext): Op<StreamPlan>;
}

export interface StreamContext {
  readonly environment: Environment;
  /** Creation options. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Virtual size in bytes, a multiple of 512. */
  readonly size: number;
  readonly source: StreamSource;
}
/** The guest's bytes, which must not change between the plan and the end of the stream. */
export interface StreamSource {
  /** Whether a prefix of [offset, offset+length) is data or reads as zeros. */
  status(offset: number, length: number): Op<{ length: number; data: boolean }>;
  read(into: Uint8Array, offset: number): Op<void>;
}
export interface StreamPlan {
  /** Bytes of the whole image. */
  readonly length: number;
  /** Hands the image out in order; `to` is done with the bytes when it returns. */
  write(to: (bytes: Uint8Array) => Op<void>): Op<void>;
}

export interface MeasureContext {
  readonly environment: Environment;
  readonly options: Readonly<Record<string, unknown>>;
  /** Virtual size in bytes. */
  readonly size: number;
  /** The source image whose data is to be converted, when there is one. */
  readonly source: Node | null;
}
export interface Measure {
  required: number;
  fullyAllocated: number;
  /** Bytes for persistent bitmaps of the source, where both ends can have them. */
  bitmaps?: number;
}

export type NodeImpl = StorageImpl | MappedImpl | InterceptImpl;

export interface WriteFlags {
  /** Durable when the call returns. */
  fua?: boolean;
  /** `writeZeroes`: the space may be given back. */
  mayUnmap?: boolean;
  /** `writeZeroes`: fail with ERR_UNSUPPORTED rather than write zeros one by one. */
  noFallback?: boolean;
  /** `write`: store compressed (whole clusters). */
  compressed?: boolean;
}

/** Members that all shapes share. */
export interface CommonImpl {
  /** Format-specific part of `query-block` / `qemu-img info`. */
  specificInfo?(): Op<ImageInfoSpecific | undefined>;
  /** The node is about to become writable (true) or read-only (false, after a flush): state that depends on it is brought in line. */
  accessChanging?(write: boolean): Op<void>;
  /** Extra members of ImageInfo and BlockDriverInfo: cluster size, dirty flag … */
  blockInfo?(): BlockDriverInfo;
  /** What the node does with a child other than a backing file, where that is not what its kind does (blkdebug). */
  childPermissions?(usual: Permissions, above: Permissions, edge: Child): Permissions;
  /** Holds requests back for a time (throttle): lets them go while the graph changes, and then no more. */
  readonly limiter?: { suspend(): void; restore(): void };
  /** Breakpoints, where the driver can stop requests (blkdebug). */
  readonly debug?: DebugEvents;
  close(): Op<void>;
}

/** Requests stopped at named events and let go again, for tests of interleavings. */
export interface DebugEvents {
  /** A request has come to the named place (`l2_load`): rules take effect, and it may be stopped here. */
  event(name: string): Op<void>;
  /** The next request that reaches `event` stops and is known as `tag`. Throws EINVAL for an unknown event. */
  addBreakpoint(event: string, tag: string): void;
  /** Forgets a breakpoint and resumes what it stopped; false when there is none. */
  removeBreakpoint(tag: string): boolean;
  /** Lets a stopped request go on; false when there is none. */
  resume(tag: string): boolean;
  isSuspended(tag: string): boolean;
}

export interface BlockDriverInfo {
  clusterSize?: number;
  dirty?: boolean;
  compressed?: boolean;
  encrypted?: boolean;
  /** Guest offset behind the disk where VM state begins. */
  vmStateOffset?: number;
  /** Sub-cluster size where allocation is finer than clusters. */
  subclusterSize?: number;
}

export interface StorageImpl extends CommonImpl {
  readonly shape: "storage";
  /** Replaced when the node is reopened with other access. */
  storage: Storage;
  /** Bytes; kept current by the chokepoint. */
  size: number;
}

/** A table that `map` needs and that is not in memory. The format's own business; `load` takes it. */
export interface Miss {
  /** Byte offset in the image file, for messages. */
  readonly offset: number;
}

/** One contiguous piece of a planned write. */
export interface WritePiece {
  /** Guest range. For fresh pieces it includes the copy-on-write head and tail and may begin before and end behind the request. */
  start: number;
  length: number;
  file: Node;
  host: number;
  /** Newly allocated: all of it must be written before `commitWrite`; what the request does not cover gets the old content. */
  fresh: boolean;
}

export interface WritePlan {
  /** Guest bytes of the request this plan covers, from its offset; at least 1. The caller plans again for the rest. */
  length: number;
  pieces: WritePiece[];
}

/**
 * A format node. `map` and `load` serve reads: `map` mutates nothing and never waits; on a miss it names what it needs, the
 * loop loads it and calls `map` again. Writes plan (allocating under the node's own metadata lock), do their data I/O, then
 * commit or abort; on any failure they may leak space but never corrupt.
 */
export interface MappedImpl extends CommonImpl {
  readonly shape: "mapped";
  /** Virtual size in bytes. */
  readonly size: number;
  /** Guest ranges allocated by one write lie in units of this many bytes: overlapping writers of one unit take turns. */
  readonly allocationUnit: number;
  /**
   * Appends extents that cover a prefix (at least one byte) of [offset, offset+length), which lies inside the image, and
   * returns null; or appends what it knows and returns the miss that stops it.
   */
  map(offset: number, length: number, out: ExtentList): Miss | null;
  load(miss: Miss): Op<void>;
  /** Reads from a `special` extent found by `map`: `into` gets the bytes from guest offset `at` on (inside the extent). */
  readSpecial?(extent: SpecialExtent, at: number, into: Uint8Array): Op<void>;
  /**
   * The same for several of them, whole: `into` begins at guest offset `base`, and only their own ranges of it are filled. For
   * formats that are faster at many together than one by one.
   */
  readSpecials?(extents: readonly SpecialExtent[], base: number, into: Uint8Array): Op<void>;
  /**
   * Reads guest data that is transformed in place (encryption): called by the chokepoint after the bytes of a `data` extent
   * were read, with the guest and host offsets of the bytes.
   */
  decrypt?(bytes: Uint8Array, guest: number, host: number): Op<void>;
  /** The reverse, on a private copy of the caller's bytes, before they are written to `host`. */
  encrypt?(bytes: Uint8Array, guest: number, host: number): Op<void>;
  /**
   * Requests to encrypted images must be multiples of this (sector size); the chokepoint widens them, at the end of an image
   * of odd size up to the next multiple: `map` answers for that too.
   */
  readonly transformUnit?: number;

  prepareWrite?(offset: number, length: number): Op<WritePlan>;
  commitWrite?(plan: WritePlan): Op<void>;
  abortWrite?(plan: WritePlan): Op<void>;
  /** Stores one cluster compressed (or as is when it does not shrink); `offset` is cluster-aligned, `bytes` a cluster or up to the image's end. */
  writeCompressed?(bytes: Uint8Array, offset: number): Op<void>;
  /** Whether a cluster is not worth an attempt to compress it: neighbours of that kind are stored as they are, with one write. */
  isIncompressible?(bytes: Uint8Array): boolean;
  /** True: all writes are compressed ones, of whole clusters (streamOptimized VMDK). False: compressed writes store plainly (other VMDK). */
  readonly compressedOnly?: boolean;
  /** Range aligned to `zeroUnit` (or reaching the end of the image). ERR_UNSUPPORTED makes the caller write zeros instead. */
  writeZeroes?(offset: number, length: number, flags: WriteFlags): Op<void>;
  readonly zeroUnit?: number;
  /** Range aligned to `discardUnit` (or reaching the end of the image). */
  discard?(offset: number, length: number): Op<void>;
  readonly discardUnit?: number;
  /** Brings metadata and data down to the file children, in the right order, durably. */
  flush(): Op<void>;
  /** `flush` says itself when metadata is written and the file's turn has come (the event `flush_to_disk`). */
  readonly tellsFlush?: boolean;
  truncate?(size: number, options: TruncateOptions): Op<void>;
  check?(options: CheckOptions): Op<ImageCheck>;
  /** Rewrites the backing file string in the image ("" or null: none). */
  changeBackingFile?(backingFile: string | null, backingFormat: string | null): Op<void>;
  /** Formats that backing files of this one must have; absent: any. */
  readonly backingFormats?: readonly string[];
  /** The backing file has got content of this image (commit): renews what ties the two together, durably. */
  followBacking?(): Op<void>;
  /** Frees everything: the image then reads as its backing file (commit). */
  makeEmpty?(): Op<void>;
  amend?(options: Readonly<Record<string, unknown>>, progress: (done: number, total: number) => void, force: boolean): Op<void>;
  readonly snapshots?: SnapshotVerbs;
  readonly bitmaps?: BitmapStore | undefined;
  /** The backing file the image names, as stored; null when it names none. */
  readonly backingFile?: BackingLink | null;
  /** Data extents may be holes of the file below (raw; preallocated metadata): block status asks there too. */
  readonly recurseStatus?: boolean;
  /** Decides `recurseStatus` where that takes a look at the image; asked once per query, remembers its answer. */
  decideRecursion?(): Op<boolean>;
  /** Bytes of VM state stored behind the guest disk (qcow2 savevm); `io.readVmState` uses it. */
  mapVmState?(offset: number, length: number, out: ExtentList): Miss | null;
  /** Writes VM state of the active layer; whole sectors. */
  writeVmState?(bytes: Uint8Array, offset: number): Op<void>;
}

export interface SpecialExtent {
  readonly start: number;
  readonly length: number;
  readonly host: number;
  readonly aux: number;
  readonly file: Node | null;
}

export interface BackingLink {
  /** As stored in the image. */
  readonly filename: string;
  readonly format: string | null;
}

export interface TruncateOptions {
  preallocation: Preallocation;
  /** The size must be exactly this (block devices cannot shrink otherwise). */
  exact?: boolean;
}

export interface SnapshotVerbs {
  list(): SnapshotInfo[];
  create(
    name: string,
    state: { vmStateSize: number; dateSec: number; dateNsec: number; vmClockNsec: number; icount?: number },
  ): Op<void>;
  apply(snapshot: SnapshotInfo): Op<void>;
  remove(snapshot: SnapshotInfo): Op<void>;
  /** From now on this node shows the snapshot, read-only (a temporary load, as `convert -l`). */
  load(snapshot: SnapshotInfo): Op<void>;
}

/**
 * Where a format keeps persistent dirty bitmaps. In memory they are `Node.bitmaps` (`block/named-bitmap.ts`); the format puts
 * them there at open and stores them at close.
 */
export interface BitmapStore {
  /** This image can have them (qcow2 version 2 cannot). */
  readonly supported: boolean;
  /** As in the image at present, in its order. */
  list(): BitmapInfo[];
  /** Refuses a new bitmap that could not be stored. */
  checkNew(name: string, granularity: number): void;
  /** Takes a bitmap out of the image at once; one that is not there is no error. */
  remove(name: string): Op<void>;
  /** The stored bitmap goes by another name from the next store on. */
  rename(name: string, to: string): void;
}

/** A node that takes requests itself (filters). Offsets are inside [0, size()). */
export interface InterceptImpl extends CommonImpl {
  readonly shape: "intercept";
  readonly size: number;
  read(into: Uint8Array, offset: number): Op<void>;
  write?(from: Uint8Array, offset: number, flags: WriteFlags): Op<void>;
  writeZeroes?(offset: number, length: number, flags: WriteFlags): Op<void>;
  discard?(offset: number, length: number): Op<void>;
  flush(): Op<void>;
  truncate?(size: number, options: TruncateOptions): Op<void>;
  /** Appends extents covering a prefix of the range, as `map` does; may wait. */
  status?(offset: number, length: number, out: ExtentList): Op<void>;
  /** Runs before the node's status is asked for; what it throws is the answer. */
  beforeStatus?(offset: number, length: number): Op<void>;
  /** Requests must be multiples of this many bytes. */
  readonly alignment?: number;
  /** Bytes it occupies on a medium; null: nobody can say. */
  allocatedSize?(): number | null;
  /** Its size was chosen by the user: what does not fit finds no space. */
  readonly fixedSize?: boolean;
  /** `write` takes ranges behind the end, too: the node grows. */
  readonly grows?: boolean;
  /** Takes a node for one more child, or lets one go (x-blockdev-change). The reference of a child that goes passes to the caller. */
  addChild?(node: Node): void;
  removeChild?(name: string): Node;
  /** The disk as it was at an earlier time, where the filter keeps it (copy-before-write). */
  readonly snapshot?: SnapshotAccess;
}

/** A point in time of a disk, kept while the disk goes on changing. What has been given up there fails with EACCES. */
export interface SnapshotAccess {
  /** Bytes. */
  readonly snapshotSize: number;
  readSnapshot(into: Uint8Array, offset: number): Op<void>;
  snapshotStatus(offset: number, length: number, out: ExtentList): Op<void>;
  /** The range is not needed any more. */
  discardSnapshot(offset: number, length: number): Op<void>;
}
