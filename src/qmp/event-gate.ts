/** Events that would come too often are held back: at most one a second for each thing they are about, the last one wins. */
import type { QmpEvent } from "./block-core.js";

const PERIOD_MS = 1000;
/** Limited events, with the member that says what they are about. */
const LIMITED: Readonly<Record<string, string>> = {
  QUORUM_REPORT_BAD: "node-name",
  QUORUM_FAILURE: "reference",
  BLOCK_WRITE_THRESHOLD: "node-name",
};

export class EventGate {
  readonly #send: (event: QmpEvent) => void;
  readonly #held = new Map<string, { next: QmpEvent | null }>();

  constructor(send: (event: QmpEvent) => void) {
    this.#send = send;
  }

  pass(event: QmpEvent): void {
    const about = Object.hasOwn(LIMITED, event.event) ? LIMITED[event.event] : undefined;
    if (about === undefined) {
      this.#send(event);
      return;
    }
    const key = `${event.event} ${String(event.data[about])}`;
    const held = this.#held.get(key);
    if (held !== undefined) {
      held.next = event;
      return;
    }
    this.#send(event);
    this.#hold(key);
  }

  #hold(key: string): void {
    const held: { next: QmpEvent | null } = { next: null };
    this.#held.set(key, held);
    const timer = setTimeout(() => {
      this.#held.delete(key);
      if (held.next === null) return;
      this.#send(held.next);
      this.#hold(key);
    }, PERIOD_MS);
    (timer as { unref?: () => void }).unref?.();
  }
}
