/**
 * Requests in flight on a node.
 *
 * Writers that touch the same allocation unit take turns (a lease on the unit-aligned range), so a format never sees two
 * allocations of one cluster at once. Readers take no lease; they are counted in epochs, so that a freed cluster is only
 * reused once every reader that may still look at it is done (`ReadEpoch`).
 */
import { alignDown, alignUp } from "../base/int.js";
import { WaitQueue, WaitRequest, type Op } from "./op.js";

export interface Lease {
  readonly start: number;
  readonly end: number;
}

/** Readers that began in one period. */
export class ReadEpoch {
  readers = 0;
}

export class Requests {
  readonly #leases: Lease[] = [];
  readonly #queue = new WaitQueue();
  #epoch = new ReadEpoch();

  get writesInFlight(): number {
    return this.#leases.length;
  }

  /** Waits until no writer holds any part of the range, then holds it. */
  *acquire(offset: number, length: number, unit: number): Op<Lease> {
    const lease: Lease = { start: alignDown(offset, unit), end: alignUp(offset + length, unit) };
    while (this.#overlaps(lease)) yield new WaitRequest(this.#queue);
    this.#leases.push(lease);
    return lease;
  }

  release(lease: Lease): void {
    this.#leases.splice(this.#leases.indexOf(lease), 1);
    if (this.#queue.length > 0) this.#queue.wakeAll();
  }

  #overlaps(lease: Lease): boolean {
    for (const other of this.#leases) if (other.start < lease.end && lease.start < other.end) return true;
    return false;
  }

  beginRead(): ReadEpoch {
    this.#epoch.readers++;
    return this.#epoch;
  }
  endRead(epoch: ReadEpoch): void {
    epoch.readers--;
  }

  /** Ends the current epoch: space freed so far may be reused when the returned epoch (and all before it) has no readers. */
  closeEpoch(): ReadEpoch {
    const epoch = this.#epoch;
    this.#epoch = new ReadEpoch();
    return epoch;
  }
}
