/**
 * The asynchronous face of media that only take bytes in order: each write must begin at the end of what was written, or
 * beyond it (then zeros are sent for the gap). Nothing can be read back.
 */
import { BlockError } from "../../base/error.js";
import { checkRange, checkSize, closedError, unsupportedError } from "./checks.js";
import type { AsyncStorageFace } from "../storage.js";

export interface AppendTarget {
  /** Takes the bytes over (they are the target's from then on); resolves when it wants more. */
  append(bytes: Uint8Array): Promise<void>;
  flush?(): Promise<void>;
  /** All bytes were sent. */
  finish(): Promise<void>;
  /** No more will come; what was sent is not wanted. */
  abort(reason: unknown): Promise<void>;
}

const ZEROS = 1 << 20;

export class AppendFace implements AsyncStorageFace {
  private state: "open" | "finished" | "closed" = "open";
  /** Bytes accepted so far, including those on their way. */
  private end = 0;
  /** The size asked for by truncate; the rest is sent as zeros by finish. */
  private planned = 0;
  private queue: Promise<void> = Promise.resolve();
  private failure: BlockError | null = null;
  private readonly checked: { name: string; readOnly: false; alignment: 1 };

  constructor(
    readonly name: string,
    private readonly target: AppendTarget,
  ) {
    this.checked = { name, readOnly: false, alignment: 1 };
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    this.checkOpen("read");
    checkRange(this.checked, "read", offset, into.length);
    throw unsupportedError(this.name, "read", "what was written to a stream can not be read back");
  }

  write(from: Uint8Array, offset: number): Promise<void> {
    return this.enter("write", async () => {
      checkRange(this.checked, "write", offset, from.length);
      if (from.length === 0) return;
      if (offset < this.end) {
        throw new BlockError("ERR_UNSUPPORTED", `'${this.name}' can only be written in order (at ${this.end}, not ${offset})`, {
          node: this.name,
          operation: "write",
          offset,
        });
      }
      const gap = offset - this.end;
      this.end = offset + from.length;
      const bytes = from.slice();
      await this.after(async () => {
        await this.zeros(gap);
        await this.target.append(bytes);
      });
    });
  }

  /** Everything written has been taken by the target; durable it is after finish. */
  flush(): Promise<void> {
    return this.enter("flush", () => this.after(async () => this.target.flush?.()));
  }

  async size(): Promise<number> {
    if (this.state === "closed") throw closedError(this.name, "size");
    return Math.max(this.end, this.planned);
  }

  truncate(size: number): Promise<void> {
    return this.enter("truncate", async () => {
      checkSize(size, "size");
      if (size < this.end) throw unsupportedError(this.name, "truncate", "what was written to a stream can not be taken back");
      this.planned = size;
    });
  }

  /** Sends what is missing up to the size and completes the target. Afterwards only `size` and `close` work. */
  finish(): Promise<void> {
    return this.enter("finish", async () => {
      this.state = "finished";
      const rest = Math.max(0, this.planned - this.end);
      this.end += rest;
      await this.after(async () => {
        await this.zeros(rest);
        await this.target.finish();
      });
    });
  }

  /** Without a successful `finish` before, everything sent is given up. */
  async close(): Promise<void> {
    if (this.state === "closed") return;
    const complete = this.state === "finished" && this.failure === null;
    this.state = "closed";
    await this.queue;
    if (!complete || this.failure !== null)
      await this.target.abort(this.failure ?? closedError(this.name, "close")).catch(() => {});
  }

  private checkOpen(operation: string): void {
    if (this.state !== "open") throw closedError(this.name, operation);
    if (this.failure !== null) throw this.failure;
  }

  private async enter(operation: string, work: () => Promise<void>): Promise<void> {
    this.checkOpen(operation);
    await work();
  }

  /** One after the other; after a failure nothing more is sent, as bytes would be missing in between. */
  private after(work: () => Promise<void>): Promise<void> {
    const result = this.queue.then(async () => {
      if (this.failure !== null) throw this.failure;
      try {
        await work();
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        this.failure =
          error instanceof BlockError
            ? error
            : new BlockError("ERR_IO", `Could not write '${this.name}': ${message}`, {
                node: this.name,
                operation: "write",
                cause: error,
              });
        throw this.failure;
      }
    });
    this.queue = result.catch(() => {});
    return result;
  }

  private async zeros(length: number): Promise<void> {
    for (let left = length; left > 0; left -= ZEROS) await this.target.append(new Uint8Array(Math.min(left, ZEROS)));
  }
}
