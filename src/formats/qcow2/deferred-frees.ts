/**
 * Frees are deferred: `note` only notes a range; `release` takes the references away after a barrier behind the tables that let go of
 * it, and when no reader that began before may still look there. So space is never reused, and no refcount drops on disk, while
 * anything durable still points at it. A crash in between leaks, it never corrupts.
 */
import { MiB } from "../../base/int.js";
import type { Op } from "../../block/op.js";
import type { ReadEpoch } from "../../block/requests.js";
import type { Qcow2 } from "./image.js";

/** Why space is given back: decides whether the discard is passed to the file. */
export type FreeReason = "request" | "snapshot" | "other";

/** Host clusters that lose one reference each. */
export interface Freed {
  cluster: number;
  count: number;
  reason: FreeReason;
}
interface Batch {
  epoch: ReadEpoch;
  freed: Freed[];
}

/** Bytes of freed space that wait for a barrier of their own at most. */
const MAX_WAITING = 16 * MiB;

export class DeferredFrees {
  readonly #image: Qcow2;
  readonly #take: (freed: Freed) => Op<void>;
  #pending: Freed[] = [];
  /** Bytes of host clusters in `#pending`. */
  #waiting = 0;
  /** Behind a barrier, waiting for readers. */
  readonly #batches: Batch[] = [];

  /** @param take takes the references away */
  constructor(image: Qcow2, take: (freed: Freed) => Op<void>) {
    this.#image = image;
    this.#take = take;
  }

  /** Space waits for a barrier in an amount that is worth one: else an image that nobody flushes would grow and grow. */
  get wantsBarrier(): boolean {
    return this.#waiting >= MAX_WAITING;
  }
  get isEmpty(): boolean {
    return this.#pending.length === 0 && this.#batches.length === 0;
  }

  /** One reference to every host cluster touched by [offset, offset+length) is gone. */
  note(offset: number, length: number, reason: FreeReason): void {
    const size = this.#image.clusterSize;
    const cluster = Math.floor(offset / size);
    const count = Math.floor((offset + length - 1) / size) - cluster + 1;
    this.#waiting += count * size;
    const last = this.#pending[this.#pending.length - 1];
    if (last !== undefined && last.reason === reason && last.cluster + last.count === cluster && length % size === 0)
      last.count += count;
    else this.#pending.push({ cluster, count, reason });
  }

  /** After a barrier: what was noted so far takes effect where no earlier reader is left. The lock is held. */
  *release(): Op<void> {
    if (this.#pending.length > 0) {
      this.#batches.push({ epoch: this.#image.node.requests.closeEpoch(), freed: this.#pending });
      this.#pending = [];
      this.#waiting = 0;
    }
    while (this.#batches.length > 0 && this.#batches[0]!.epoch.readers === 0) {
      for (const freed of this.#batches.shift()!.freed) yield* this.#take(freed);
    }
  }
}
