/** Nodes and children: the graph. A node is one opened layer (a file, a format, a filter); children are its named edges. */
import { BlockError } from "../base/error.js";
import { nodeFilename } from "./node-filename.js";
import type { BlockdevOptions, ChildRole, Environment, OpenFlags } from "./context.js";
import type { Driver, NodeImpl } from "./driver.js";
import type { WorkBitmap } from "./work-bitmap.js";
import type { NamedBitmap } from "./named-bitmap.js";
import type { Claim, Permissions } from "./permissions.js";
import { Requests } from "./requests.js";
import type { Op } from "./op.js";

export interface Child {
  readonly name: string;
  readonly role: ChildRole;
  /** The node this is a child of. */
  readonly parent: Node;
  node: Node;
}

/** Someone outside the graph who uses a node: a guest device, an export, a job (`block/backend.ts`). */
export interface NodeUser {
  /** The node was replaced by another one, which took its place everywhere. */
  nodeReplaced(to: Node): void;
  /** No new requests until `resume`; may be called several times. */
  quiesce(): void;
  resume(): void;
  readonly requestsInFlight: number;
  /** What it does with the node and lets others do; undefined: whatever they like. */
  readonly permissions?: Permissions | undefined;
  /** For messages: "block device 'x'". */
  readonly description?: string;
  /** Waits until the last request in flight has ended. */
  idle(): Op<void>;
}

let anonymous = 0;

export class Node {
  readonly environment: Environment;
  readonly driver: Driver;
  nodeName: string;
  /** The name that a driver or the maker of the node gave it; formats and filters go without (`filename` tells theirs). */
  givenName = "";
  /** What the image named as its backing file when that was opened, and the name of the node that this came to. */
  ownBacking: { readonly named: string; readonly opened: string } | null = null;
  /** Options as given, to describe or reopen the node. */
  options: BlockdevOptions;
  flags: OpenFlags;
  readonly children: Child[] = [];
  readonly requests: Requests = new Requests();
  detectZeroes: "off" | "on" | "unmap" = "off";
  /** The driver was found by probing, not stated (restricts writes to raw images). */
  probed = false;
  /** A filter that the user did not ask for (of a job): what is said of a device is said of the node below. */
  implicit = false;
  /** Everyone who holds the node: parents and users. It closes with the last one. */
  references = 1;
  /** The node that described this one among its own options: a reopen of that one can give this one others, too. */
  describedBy: Node | null = null;
  /** Edges that lead here. */
  readonly parents: Child[] = [];
  readonly users: Set<NodeUser> = new Set();
  /** What jobs do with it and let others do. */
  readonly claims: Set<Claim> = new Set();
  /** What must not be done with the node at present, and why ("block device is in use by block job: commit"). */
  readonly blockers: Map<symbol, string> = new Map();
  /** Named dirty bitmaps, the newest first (`block/named-bitmap.ts`). */
  readonly bitmaps: NamedBitmap[] = [];
  /** Those of jobs and filters. */
  readonly workBitmaps: Set<WorkBitmap> = new Set();
  /** Hear of every change of guest data when it has been made (or tried): offset and length in bytes. */
  readonly writeListeners: Set<(offset: number, length: number) => void> = new Set();
  /** Run before a change of guest data is made; what they throw fails the request (copy-before-write). */
  readonly beforeWrite: Set<(offset: number, length: number) => Op<void>> = new Set();
  /** The offset behind the last byte ever written here (`wr_highest_offset`). */
  highestWrite = 0;
  /** The first write that reaches behind this offset is reported (`block-set-write-threshold`), once; 0: none. */
  writeThreshold = 0;
  /** Another process owns the image: how the node will be open when it is its turn (`block/activation.ts`). null: it is. */
  inactive: Pick<OpenFlags, "write" | "forceShare" | "unmap"> | null = null;
  /** Open to be read only because nobody above writes at present; for users it is as writable as they made it. */
  resting = false;
  #impl: NodeImpl | null = null;
  #closed = false;

  constructor(environment: Environment, driver: Driver, options: BlockdevOptions, flags: OpenFlags) {
    this.environment = environment;
    this.driver = driver;
    this.options = options;
    this.flags = flags;
    const name = options["node-name"];
    this.nodeName = typeof name === "string" ? name : `#block${String(anonymous++).padStart(3, "0")}`;
  }

  get impl(): NodeImpl {
    if (this.#impl === null) {
      throw new BlockError("ERR_CLOSED", `'${this.filename}' is ${this.#closed ? "closed" : "not open yet"}`, {
        node: this.nodeName,
      });
    }
    return this.#impl;
  }
  set impl(impl: NodeImpl) {
    this.#impl = impl;
  }
  /** What people call it: path, URL or a `json:` description (`block/node-filename.ts`). */
  get filename(): string {
    return this.#impl === null ? this.givenName : nodeFilename(this);
  }
  get isOpen(): boolean {
    return this.#impl !== null;
  }

  /** Bytes a reader sees. */
  get size(): number {
    return this.impl.size;
  }
  get readOnly(): boolean {
    return !this.flags.write;
  }
  /** Read-only as users know it: not just until the image is this process's own, or somebody writes. */
  get staysReadOnly(): boolean {
    return !this.resting && !(this.inactive ?? this.flags).write;
  }

  child(name: string): Node | null {
    for (const child of this.children) if (child.name === name) return child.node;
    return null;
  }
  /** The image file itself. Throws when there is none. */
  get file(): Node {
    const node = this.child("file");
    if (node === null) throw new BlockError("ERR_INVALID_ARGUMENT", `Node '${this.nodeName}' has no file child`);
    return node;
  }
  get backing(): Node | null {
    for (const child of this.children) if (child.role === "backing") return child.node;
    return null;
  }

  attach(name: string, role: ChildRole, node: Node): Child {
    const child: Child = { name, role, parent: this, node };
    this.children.push(child);
    node.parents.push(child);
    adopt(this, child);
    return child;
  }
  /** Takes a child off; its reference passes to the caller. */
  detach(name: string): Node | null {
    const index = this.children.findIndex((child) => child.name === name);
    if (index < 0) return null;
    const [child] = this.children.splice(index, 1);
    leaveParent(child!);
    return child!.node;
  }
  /** Points an edge at another node. References are the caller's business. */
  redirect(child: Child, to: Node): void {
    leaveParent(child);
    child.node = to;
    to.parents.push(child);
    adopt(this, child);
  }

  ref(): this {
    this.references++;
    return this;
  }

  /** Gives up one reference; the last one closes the node (flushing it) and lets go of its children. */
  *unref(): Op<void> {
    if (--this.references > 0) return;
    const impl = this.#impl;
    this.givenName = this.filename;
    let failure: unknown;
    if (impl !== null) {
      try {
        yield* impl.close();
      } catch (error) {
        failure = error;
      }
      this.#impl = null;
    }
    this.#closed = true;
    for (const child of this.children.splice(0)) {
      leaveParent(child);
      try {
        yield* child.node.unref();
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
  }

  /** Gives up the node without writing anything more: after a failed open. */
  *abandon(): Op<void> {
    const opened = this.#impl;
    this.#impl = null;
    this.#closed = true;
    this.references = 0;
    // A file or a connection: formats would write.
    if (opened?.shape === "storage") {
      try {
        yield* opened.close();
      } catch {
        // as below
      }
    }
    for (const child of this.children.splice(0)) {
      leaveParent(child);
      try {
        yield* child.node.unref();
      } catch {
        // the first failure is what the user needs to see
      }
    }
  }
}

/** A layer further down that a node described by way of others is its own when it comes to lie right below. */
function adopt(parent: Node, { role, node }: Child): void {
  if (role !== "backing") return;
  for (let by = node.describedBy; by !== null; by = by.describedBy) if (by === parent) node.describedBy = parent;
}

function leaveParent(child: Child): void {
  const index = child.node.parents.indexOf(child);
  if (index >= 0) child.node.parents.splice(index, 1);
}
