/**
 * The machine that guest devices belong to: it runs or it is stopped. A stopped machine makes no requests; those it was about to
 * make wait until it runs again.
 */
import { WaitQueue, WaitRequest, type Op } from "./op.js";

/** Those of QEMU's run states that a machine of block devices can be in. */
export type RunState =
  | "prelaunch"
  | "running"
  | "paused"
  | "inmigrate"
  | "finish-migrate"
  | "postmigrate"
  | "io-error"
  | "save-vm"
  | "restore-vm"
  | "shutdown";

export class Machine {
  #state: RunState;
  readonly #resumed = new WaitQueue();
  readonly #changed: (running: boolean) => void;

  /** @param changed told when the machine stops or goes on (STOP, RESUME) */
  constructor(state: RunState, changed: (running: boolean) => void) {
    this.#state = state;
    this.#changed = changed;
  }

  get state(): RunState {
    return this.#state;
  }
  get isRunning(): boolean {
    return this.#state === "running";
  }

  /** No effect on a machine that is stopped already, but the state says why it is stopped now. */
  stop(state: Exclude<RunState, "running">): void {
    if (!this.isRunning) return;
    this.#state = state;
    this.#changed(false);
  }
  /** Stopped for another reason. */
  become(state: Exclude<RunState, "running">): void {
    if (!this.isRunning) this.#state = state;
  }
  resume(): void {
    if (this.isRunning) return;
    this.#state = "running";
    this.#changed(true);
    this.#resumed.wakeAll();
  }
  *untilRunning(): Op<void> {
    while (!this.isRunning) yield new WaitRequest(this.#resumed);
  }
}
