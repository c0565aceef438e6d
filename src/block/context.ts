/** What `Driver.open` and `Driver.create` are given: options, children, and the services of the environment. */
import type { Codecs } from "../codec/codec.js";
import type { Crypto } from "../codec/crypto/crypto.js";
import type { Node, Child } from "./node.js";
import type { Op } from "./op.js";
import type { Driver } from "./driver.js";
import type { ThrottleGroup } from "./throttle-group.js";

/** Everything a platform provides; entries build one, everything else receives it. */
export interface Environment {
  readonly drivers: ReadonlyMap<string, Driver>;
  readonly codecs: Codecs;
  /** Ciphers and hashes for encrypted images; absent where a build does without. */
  readonly crypto?: Crypto;
  /** Whether what an image names may be opened. */
  readonly gate: Gate;
  /** Passphrases by id (`key-secret`), asked for when needed. */
  readonly secrets: (id: string, purpose: string) => Op<Uint8Array | null>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Memory for table caches per image, in bytes (DESIGN: bounded memory). */
  readonly memoryBudget: number;
  /** Nodes by name, where there is a graph with names (QMP); null: there is none of that name. */
  readonly findNode?: (name: string) => Node | null;
  /** Messages that are not errors ("Image is not in qcow2 …"); the CLI prints them on stderr. */
  readonly warn: (message: string) => void;
  /** What is told as it is, without "warning:" before it ("qcow2: Marking image as corrupt …", repairs at opening); `warn` gets it where this is absent. */
  readonly notice?: (message: string) => void;
  /** Errors of what nobody waits for, in full, where the event names but the kind (a job that may not end as it should). */
  readonly report?: (message: string) => void;
  /** What debugging filters tell whoever drives them ("blkdebug: Suspended request 'A'"); qemu-io prints it. */
  readonly debugMessage?: (message: string) => void;
  /** What filters report while they work: the name of a QMP event (QUORUM_REPORT_BAD) and its data. */
  readonly onEvent?: (name: string, data: Readonly<Record<string, unknown>>) => void;
  /** User-creatable objects that the platform made (TLS credentials), by id; undefined: there is none. */
  readonly findObject?: (id: string) => unknown;
  /** Throttle groups by name, for the throttle filter. */
  readonly findThrottleGroup?: (name: string) => ThrottleGroup | null;
  /** Descriptors that the process has inherited, in sets ("/dev/fdset/1"); absent where there is no such thing. */
  readonly descriptors?: DescriptorList;
  /** An image contradicts itself (BLOCK_IMAGE_CORRUPTED); told once per opening. */
  readonly imageCorrupted?: (event: ImageCorrupted) => void;
  /** blkverify has found a difference; the request fails after this returns. Programs end here, as QEMU does. */
  readonly imagesDiffer?: (message: string) => void;
}

export interface DescriptorList {
  list(): { id: number; members: { fd: number; opaque?: string }[] }[];
  /** One descriptor of a set, or all of them; false: there is none such. */
  remove(set: number, fd?: number): boolean;
}

export interface ImageCorrupted {
  node: Node;
  message: string;
  /** Where in the image file, in bytes. */
  offset: number;
  /** The image is writable: it is marked corrupt, and no more writes are made. */
  fatal: boolean;
}

export interface Reference {
  kind: "backing" | "data-file" | "extent" | "parent";
  /** As the image names it. */
  filename: string;
  /** Resolved against the image that names it. */
  resolved: string;
  format: string | null;
  /** File name of the naming image. */
  image: string;
}

/** false: refuse; true: open as named; options: open this instead. */
export type GateDecision = boolean | BlockdevOptions | Node;
export type Gate = (reference: Reference) => Op<GateDecision>;

/** `BlockdevOptions` of QAPI: driver options by name, children nested or by node name. */
export type BlockdevOptions = { [name: string]: unknown };

export interface OpenFlags {
  /** Read-write. */
  write: boolean;
  /** Read-only where read-write cannot be (auto-read-only). */
  autoReadOnly?: boolean;
  /** Do not open the backing chain. */
  noBacking: boolean;
  /** Only metadata will be looked at: encrypted images open without a secret. */
  noIO: boolean;
  /** Opened for `check`: do not repair or refuse what check is to report. */
  check: boolean;
  /** Accept concurrent writers (`-U`). */
  forceShare: boolean;
  /** Another process owns the image for now: nothing is written and nothing is locked before `activate` (`block/activation.ts`). */
  inactive?: boolean;
  /** Pass guest discards on. */
  unmap: boolean;
  /** Ignore flushes (cache=unsafe). */
  noFlush: boolean;
  /** Flush after each write (cache=writethrough). */
  writethrough: boolean;
  /** Use O_DIRECT where the platform can (cache=none, directsync). */
  direct: boolean;
}

export interface OpenContext {
  readonly environment: Environment;
  readonly node: Node;
  /** Driver-specific options that have not been taken yet. Take them with the helpers of `block/take.ts`; what is left is refused. */
  readonly options: Record<string, unknown>;
  readonly flags: OpenFlags;
  /** Opens (or adopts) the child `name` from the options of the same name; "file" is the common case. */
  openChild(
    name: string,
    role: ChildRole,
    extra?: { optional?: boolean; flags?: Partial<OpenFlags>; format?: boolean },
  ): Op<Child>;
  /** Opens a file that the image itself names (data file, extent, parent) through the gate. */
  openReference(
    name: string,
    role: ChildRole,
    reference: { kind: Reference["kind"]; filename: string; format: string | null },
    flags?: Partial<OpenFlags>,
  ): Op<Child>;
}

export type ChildRole = "data" | "metadata" | "image" | "backing" | "filtered";

export interface CreateOption {
  name: string;
  type: "string" | "bool" | "number" | "size";
  help: string;
  /** As `-o help` shows it. */
  default?: string;
}

export interface CreateContext {
  readonly environment: Environment;
  /** The empty, writable node that becomes the image. */
  readonly file: Node;
  /** What the user calls the new image. */
  readonly filename: string;
  /** Virtual size in bytes; -1 when not given. */
  readonly size: number;
  /** Parsed options: strings, booleans, numbers as declared. */
  readonly options: Readonly<Record<string, unknown>>;
  /** The size where it is beyond `Number`, for messages. */
  readonly exactSize?: bigint;
  /** Values are taken as they are: what must be a multiple of something and is not is refused (QMP); qemu-img rounds up. */
  readonly strict?: boolean;
  /** Nodes to be used for further files of the image (extents of a VMDK), in order, instead of files of its own. */
  readonly extents?: readonly Node[];
  /** Creates another file beside the image (extents of a split VMDK, data files). Path relative to the image. */
  createSibling(filename: string): Op<Node>;
  /** Creates another file under the name given (an external data file). */
  createFile(filename: string): Op<Node>;
  /** Opens an image that the new one refers to (backing file) read-only, to learn its size. */
  openImage(filename: string, format: string | null): Op<Node>;
}
