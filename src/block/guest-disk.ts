/**
 * The disk as a guest device uses it: requests are counted, wait while the machine is stopped, and their errors go through the
 * device's policies (rerror, werror): the guest hears of the error, or it is ignored, or the machine stops and the request is made
 * again when it goes on.
 */
import { toBlockError, type BlockError } from "../base/error.js";
import type { Accounted, Accounting } from "./accounting.js";
import type { Backend } from "./backend.js";
import type { WriteFlags } from "./driver.js";
import { actionFor, type ErrorAction, type ErrorPolicy } from "./error-policy.js";
import type { Machine } from "./machine.js";
import type { Op } from "./op.js";

export interface ErrorPolicies {
  read: ErrorPolicy;
  write: ErrorPolicy;
}

export class GuestDisk {
  readonly backend: Backend;
  readonly machine: Machine;
  readonly accounting: Accounting;
  readonly policies: ErrorPolicies;
  readonly #onError: (operation: "read" | "write", action: ErrorAction, error: BlockError) => void;

  /** @param onError told of every error before anything comes of it: io-status, BLOCK_IO_ERROR */
  constructor(
    backend: Backend,
    machine: Machine,
    accounting: Accounting,
    policies: ErrorPolicies,
    onError: (operation: "read" | "write", action: ErrorAction, error: BlockError) => void,
  ) {
    this.backend = backend;
    this.machine = machine;
    this.accounting = accounting;
    this.policies = policies;
    this.#onError = onError;
  }

  /** Bytes of the medium. @throws BlockError ENOMEDIUM */
  get size(): number {
    return this.backend.size;
  }
  read(into: Uint8Array, offset: number): Op<void> {
    return this.#request("read", into.length, () => this.backend.read(into, offset));
  }
  write(from: Uint8Array, offset: number, flags?: WriteFlags): Op<void> {
    return this.#request("write", from.length, () => this.backend.write(from, offset, flags));
  }
  writeZeroes(offset: number, length: number, flags?: WriteFlags): Op<void> {
    return this.#request("write", length, () => this.backend.writeZeroes(offset, length, flags));
  }
  discard(offset: number, length: number): Op<void> {
    return this.#request("unmap", length, () => this.backend.discard(offset, length));
  }
  flush(): Op<void> {
    return this.#request("flush", 0, () => this.backend.flush());
  }

  *#request(kind: Accounted, bytes: number, work: () => Op<void>): Op<void> {
    for (;;) {
      yield* this.machine.untilRunning();
      const ticket = this.accounting.start(kind, bytes);
      try {
        yield* work();
        ticket.done();
        return;
      } catch (thrown) {
        const error = toBlockError(thrown);
        // Mistakes of the one who asks (a range behind the end, no medium) are not errors of the medium.
        if (error.code === "ERR_OUT_OF_RANGE" || error.errno === "ENOMEDIUM" || error.code === "ERR_READ_ONLY") {
          this.accounting.invalid(kind);
          throw error;
        }
        ticket.failed();
        const operation = kind === "read" ? "read" : "write";
        const action = actionFor(this.policies[operation], error);
        this.#onError(operation, action, error);
        if (action === "report") throw error;
        if (action === "ignore") return;
        this.machine.stop("io-error");
      }
    }
  }
}
