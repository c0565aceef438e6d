/** Reading and writing a device or a node as a guest does: beside exports and jobs, which see every change. */
import { Backend } from "../block/backend.js";
import { skipImplicit } from "../block/graph.js";
import type { Node } from "../block/node.js";
import { runAsync } from "../block/op.js";
import { checkBytes } from "../image/arguments.js";
import type { Device } from "./device.js";

/** Where requests go: a node's user, or the guest's side of a device with its error policies and statistics. */
type Requests = Pick<Backend, "size" | "read" | "write" | "writeZeroes" | "discard" | "flush">;

export class Disk {
  readonly #to: Requests;
  readonly #backend: Backend;
  /** Where it is registered, when the handle is its own. */
  readonly #handles: Set<Backend> | null;

  private constructor(to: Requests, backend: Backend, handles: Set<Backend> | null) {
    this.#to = to;
    this.#backend = backend;
    this.#handles = handles;
    handles?.add(backend);
  }
  /** On a node, followed when jobs and snapshots put another one in its place. */
  static ofNode(node: Node, handles: Set<Backend>): Disk {
    const backend = new Backend("", node);
    return new Disk(backend, backend, handles);
  }
  static ofDevice(device: Device): Disk {
    return new Disk(device.guest, device.backend, null);
  }

  /** Bytes. */
  get size(): number {
    return this.#to.size;
  }

  /** The node that requests go to at present. */
  get nodeName(): string {
    return skipImplicit(this.#backend.node).nodeName;
  }

  /** `length` bytes from `offset` on; the range must lie inside the disk. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    await runAsync(this.#to.read(bytes, offset));
    return bytes;
  }
  async readInto(into: Uint8Array, offset: number): Promise<void> {
    await runAsync(this.#to.read(into, offset));
  }
  /** `bytes` must not change until the write is done. */
  async write(bytes: Uint8Array, offset: number): Promise<void> {
    checkBytes(bytes);
    await runAsync(this.#to.write(bytes, offset));
  }
  async writeZeroes(offset: number, length: number, options: { unmap?: boolean } = {}): Promise<void> {
    await runAsync(this.#to.writeZeroes(offset, length, { mayUnmap: options.unmap ?? false }));
  }
  async discard(offset: number, length: number): Promise<void> {
    await runAsync(this.#to.discard(offset, length));
  }
  /** Everything written before is durable, as far as the medium can promise it. */
  async flush(): Promise<void> {
    await runAsync(this.#to.flush());
  }
  /** Ends the use of a node, which closes with its last user; a device stays as it is. */
  async close(): Promise<void> {
    if (this.#handles?.delete(this.#backend) === true) await runAsync(this.#backend.close());
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
