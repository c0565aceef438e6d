/** What a monitor has to say to its client: in order, several messages in one write, and not without end. */
import { encodeText } from "../base/bytes.js";
import type { Duplex } from "../nbd/duplex.js";

/** Bytes of output that may wait while requests are still read: clients may write all they want to ask before they read. */
const PATIENCE: number = 1024 * 1024;
/** Bytes that may wait for one client; whoever has more coming (events) is disconnected. */
const MAX_WAITING: number = 16 * 1024 * 1024;
/** Bytes that are held for all clients before those with more than little are not waited for. */
const MAX_SHARED: number = 16 * 1024 * 1024;
const LITTLE: number = 64 * 1024;

/** What the monitors of one server hold for their clients: output that waits and messages that have not come to their end, in bytes. */
export class MonitorMemory {
  #used = 0;

  /** One that held `before` bytes holds `now`. */
  change(before: number, now: number): void {
    this.#used += now - before;
  }

  /** All hold too much, and one with `bytes` has its part in that. */
  isFull(bytes: number): boolean {
    return this.#used > MAX_SHARED && bytes > LITTLE;
  }
}

export class MonitorOutput {
  readonly #duplex: Duplex;
  readonly #memory: MonitorMemory;
  readonly #fail: () => void;
  #messages: string[] = [];
  /** All messages are ASCII: one byte a character. */
  #waiting = 0;
  #sending: Promise<void> | null = null;
  #ended = false;

  /** `fail` is called when the client does not listen any more. */
  constructor(duplex: Duplex, memory: MonitorMemory, fail: () => void) {
    this.#duplex = duplex;
    this.#memory = memory;
    this.#fail = fail;
  }

  send(message: string): void {
    if (this.#ended) return;
    this.#messages.push(message);
    this.#wait(message.length);
    if (this.#waiting > MAX_WAITING || (this.#waiting > PATIENCE && this.#memory.isFull(this.#waiting))) this.#fail();
    else this.#sending ??= this.#flush();
  }

  /** Resolves when the client has so much of its output that it may ask for more. */
  async room(): Promise<void> {
    while (!this.#ended && (this.#waiting > PATIENCE || this.#memory.isFull(this.#waiting))) await this.#sending;
  }

  /** Resolves when all output is out, or will never be. */
  async done(): Promise<void> {
    await this.#sending;
  }

  /** Nothing more is said. */
  end(): void {
    this.#ended = true;
    this.#messages = [];
    this.#wait(-this.#waiting);
  }

  #wait(more: number): void {
    this.#memory.change(this.#waiting, this.#waiting + more);
    this.#waiting += more;
  }

  /** Never rejects. */
  async #flush(): Promise<void> {
    try {
      while (this.#messages.length > 0) {
        const text = this.#messages.join("");
        this.#messages = [];
        await this.#duplex.write([encodeText(text)]);
        if (!this.#ended) this.#wait(-text.length);
      }
    } catch {
      this.#fail();
    }
    this.#sending = null;
  }
}
