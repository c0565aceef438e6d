/**
 * A user's handle on a node: where requests from outside the graph come in (guest device, export, job, API). It can be
 * quiesced, so that the graph below can change while nothing is in flight, and it follows its node when that is replaced.
 */
import { BlockError } from "../base/error.js";
import type { TruncateOptions, WriteFlags } from "./driver.js";
import * as io from "./io.js";
import type { Node, NodeUser } from "./node.js";
import { WaitQueue, WaitRequest, type Op } from "./op.js";
import type { Permissions } from "./permissions.js";
import { diskSize } from "./sector.js";
import type { Direction, ThrottleMember } from "./throttle-group.js";

export class Backend implements NodeUser {
  /** Device name; "" for anonymous users. */
  readonly name: string;
  /** Limits the rate of requests, where there is one. */
  throttle: ThrottleMember | null = null;
  permissions: Permissions | undefined;
  /** The guest device whose disk this is; "" without one. */
  deviceId = "";
  #node: Node | null = null;
  #inFlight = 0;
  #quiesced = 0;
  readonly #resumed = new WaitQueue();
  readonly #idle = new WaitQueue();

  constructor(name: string, node: Node | null) {
    this.name = name;
    if (node !== null) this.insert(node);
  }

  get node(): Node {
    if (this.#node !== null) return this.#node;
    if (this.name === "") throw new BlockError("ERR_CLOSED", "The block device is closed", { errno: "ENOMEDIUM" });
    throw new BlockError("ERR_NOT_FOUND", `Device '${this.name}' has no medium`, { errno: "ENOMEDIUM" });
  }
  get root(): Node | null {
    return this.#node;
  }
  get description(): string {
    const name = this.name === "" ? this.deviceId : this.name;
    return name === "" ? "an unnamed block device" : `block device '${name}'`;
  }
  /** In bytes, whole sectors. */
  get size(): number {
    return diskSize(this.node);
  }

  /** Takes a reference to the node. */
  insert(node: Node): void {
    if (this.#node !== null) throw new BlockError("ERR_BUSY", `Device '${this.name}' has a medium already`);
    this.#node = node.ref();
    node.users.add(this);
  }
  /** Lets go of the node; the caller drops the reference. */
  take(): Node | null {
    const node = this.#node;
    node?.users.delete(this);
    this.#node = null;
    return node;
  }
  *close(): Op<void> {
    const node = this.take();
    if (node !== null) yield* node.unref();
  }

  nodeReplaced(to: Node): void {
    this.#node?.users.delete(this);
    this.#node = to;
    to.users.add(this);
  }

  // ---- quiescing --------------------------------------------------------------------------------------------------

  get requestsInFlight(): number {
    return this.#inFlight;
  }
  quiesce(): void {
    this.#quiesced++;
    this.throttle?.suspend();
  }
  resume(): void {
    this.throttle?.restore();
    if (--this.#quiesced === 0) this.#resumed.wakeAll();
  }
  *idle(): Op<void> {
    while (this.#inFlight > 0) yield new WaitRequest(this.#idle);
  }

  *#enter(): Op<void> {
    while (this.#quiesced > 0) yield new WaitRequest(this.#resumed);
    this.#inFlight++;
  }
  #leave(): void {
    if (--this.#inFlight === 0) this.#idle.wakeAll();
  }

  // ---- requests ---------------------------------------------------------------------------------------------------

  /** Does any work on the node as one request: not while the graph below changes. */
  *request<T>(work: () => Op<T>): Op<T> {
    yield* this.#enter();
    try {
      return yield* work();
    } finally {
      this.#leave();
    }
  }
  *#limited(direction: Direction, bytes: number, work: () => Op<void>): Op<void> {
    if (this.throttle !== null) yield* this.throttle.admit(direction, bytes);
    yield* this.request(work);
  }

  /** Whether a range ends in the part of the last sector that the node does not have. */
  #endsBehind(end: number): boolean {
    return end > this.node.size && end <= this.size;
  }
  /** Makes the last sector whole before something is written there. */
  *#completed(change: Op<void>): Op<void> {
    yield* io.truncate(this.node, this.size, { preallocation: "off" });
    yield* change;
  }

  read(into: Uint8Array, offset: number): Op<void> {
    const read = this.#endsBehind(offset + into.length) ? io.readPadded : io.read;
    return this.#limited("read", into.length, () => read(this.node, into, offset));
  }
  write(from: Uint8Array, offset: number, flags?: WriteFlags): Op<void> {
    return this.#change(offset, from.length, () => io.write(this.node, from, offset, flags));
  }
  writeZeroes(offset: number, length: number, flags?: WriteFlags): Op<void> {
    return this.#change(offset, length, () => io.writeZeroes(this.node, offset, length, flags));
  }
  #change(offset: number, length: number, change: () => Op<void>): Op<void> {
    return this.#limited("write", length, () => (this.#endsBehind(offset + length) ? this.#completed(change()) : change()));
  }
  discard(offset: number, length: number): Op<void> {
    return this.request(() => {
      const { node } = this;
      if (!this.#endsBehind(offset + length)) return io.discard(node, offset, length);
      // There is nothing behind the end that could be given back.
      const from = Math.min(offset, node.size);
      return io.discard(node, from, node.size - from);
    });
  }
  flush(): Op<void> {
    return this.request(() => io.flush(this.node));
  }
  truncate(size: number, options: TruncateOptions): Op<void> {
    return this.request(() => io.truncate(this.node, size, options));
  }
}
