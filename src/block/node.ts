/** Nodes and children: the graph. A node is one opened layer (a file, a format, a filter); children are its named edges. */
import { BlockError } from "../base/error.js";
import type { BlockdevOptions, ChildRole, Environment, OpenFlags } from "./context.js";
import type { Driver, NodeImpl } from "./driver.js";
import { Requests } from "./requests.js";
import type { Op } from "./op.js";

export interface Child {
  readonly name: string;
  readonly role: ChildRole;
  node: Node;
}

let anonymous = 0;

export class Node {
  readonly environment: Environment;
  readonly driver: Driver;
  nodeName: string;
  /** What the user calls it: path, URL or a `json:` description. */
  filename = "";
  /** Options as given, to describe or reopen the node. */
  options: BlockdevOptions;
  flags: OpenFlags;
  readonly children: Child[] = [];
  readonly requests: Requests = new Requests();
  detectZeroes: "off" | "on" | "unmap" = "off";
  /** The driver was found by probing, not stated (restricts writes to raw images). */
  probed = false;
  /** Everyone who holds the node: parents and users. It closes with the last one. */
  references = 1;
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
      throw new BlockError("ERR_CLOSED", `'${this.filename}' is ${this.#closed ? "closed" : "not open yet"}`, { node: this.nodeName });
    }
    return this.#impl;
  }
  set impl(impl: NodeImpl) {
    this.#impl = impl;
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
    const child: Child = { name, role, node };
    this.children.push(child);
    return child;
  }
  detach(name: string): Node | null {
    const index = this.children.findIndex((child) => child.name === name);
    return index < 0 ? null : this.children.splice(index, 1)[0]!.node;
  }

  ref(): this {
    this.references++;
    return this;
  }

  /** Gives up one reference; the last one closes the node (flushing it) and lets go of its children. */
  *unref(): Op<void> {
    if (--this.references > 0) return;
    const impl = this.#impl;
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
    this.#impl = null;
    this.#closed = true;
    this.references = 0;
    for (const child of this.children.splice(0)) {
      try {
        yield* child.node.unref();
      } catch {
        // the first failure is what the user needs to see
      }
    }
  }
}
