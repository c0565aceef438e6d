/**
 * A user's handle on a node: where requests from outside the graph come in (guest device, export, job, API). It can be
 * quiesced, so that the graph below can change while nothing is in flight, and it follows its node when that is replaced.
 */
import { BlockError } from "../base/error.js";
import type { TruncateOptions, WriteFlags } from "./driver.js";
import * as io from "./io.js";
import type { Node, NodeUser } from "./node.js";
import { WaitQueue, WaitRequest, type Op } from "./op.js";

export interface BackendStatistics {
  readBytes: number;
  readOperations: number;
  writeBytes: number;
  writeOperations: number;
  flushOperations: number;
  unmapBytes: number;
  unmapOperations: number;
  failedReads: number;
  failedWrites: number;
  readNs: number;
  writeNs: number;
  flushNs: number;
  /** Offset behind the highest byte written. */
  highestWrite: number;
}

export class Backend implements NodeUser {
  /** Device name; "" for anonymous users. */
  readonly name: string;
  readonly statistics: BackendStatistics = {
    readBytes: 0,
    readOperations: 0,
    writeBytes: 0,
    writeOperations: 0,
    flushOperations: 0,
    unmapBytes: 0,
    unmapOperations: 0,
    failedReads: 0,
    failedWrites: 0,
    readNs: 0,
    writeNs: 0,
    flushNs: 0,
    highestWrite: 0,
  };
  /** Runs before a request may start: throttling. */
  gatekeeper: ((direction: "read" | "write", bytes: number) => Op<void>) | null = null;
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
    if (this.#node === null) throw new BlockError("ERR_NOT_FOUND", `Device '${this.name}' has no medium`, { errno: "ENOMEDIUM" });
    return this.#node;
  }
  get root(): Node | null {
    return this.#node;
  }
  get size(): number {
    return this.node.size;
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
  }
  resume(): void {
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

  *read(into: Uint8Array, offset: number): Op<void> {
    if (this.gatekeeper !== null) yield* this.gatekeeper("read", into.length);
    yield* this.#enter();
    const start = performance.now();
    try {
      yield* io.read(this.node, into, offset);
      this.statistics.readBytes += into.length;
      this.statistics.readOperations++;
    } catch (error) {
      this.statistics.failedReads++;
      throw error;
    } finally {
      this.statistics.readNs += (performance.now() - start) * 1e6;
      this.#leave();
    }
  }

  *#change(length: number, end: number, work: () => Op<void>): Op<void> {
    if (this.gatekeeper !== null) yield* this.gatekeeper("write", length);
    yield* this.#enter();
    const start = performance.now();
    try {
      yield* work();
      this.statistics.writeBytes += length;
      this.statistics.writeOperations++;
      if (end > this.statistics.highestWrite) this.statistics.highestWrite = end;
    } catch (error) {
      this.statistics.failedWrites++;
      throw error;
    } finally {
      this.statistics.writeNs += (performance.now() - start) * 1e6;
      this.#leave();
    }
  }

  write(from: Uint8Array, offset: number, flags?: WriteFlags): Op<void> {
    return this.#change(from.length, offset + from.length, () => io.write(this.node, from, offset, flags));
  }
  writeZeroes(offset: number, length: number, flags?: WriteFlags): Op<void> {
    return this.#change(length, offset + length, () => io.writeZeroes(this.node, offset, length, flags));
  }

  *discard(offset: number, length: number): Op<void> {
    yield* this.#enter();
    try {
      yield* io.discard(this.node, offset, length);
      this.statistics.unmapBytes += length;
      this.statistics.unmapOperations++;
    } finally {
      this.#leave();
    }
  }

  *flush(): Op<void> {
    yield* this.#enter();
    const start = performance.now();
    try {
      yield* io.flush(this.node);
      this.statistics.flushOperations++;
    } finally {
      this.statistics.flushNs += (performance.now() - start) * 1e6;
      this.#leave();
    }
  }

  *truncate(size: number, options: TruncateOptions): Op<void> {
    yield* this.#enter();
    try {
      yield* io.truncate(this.node, size, options);
    } finally {
      this.#leave();
    }
  }
}
