/** What commands share that are run one after the other: the open node, the output, and the asynchronous requests under way. */
import type { Accounting } from "../../block/accounting.js";
import type { Backend } from "../../block/backend.js";
import type { Node } from "../../block/node.js";
import { suspendLimits } from "../../block/graph.js";
import { runAsync, type Op } from "../../block/op.js";
import type { ReopenRequest } from "./reopen.js";

export interface IoOutput {
  /** Standard output, buffered as the platform likes. */
  write(text: string): void;
  /** Standard error, at once. */
  writeError(text: string): void;
  /** Everything written so far is out when this returns. */
  flush(): void;
}

export class IoSession {
  /** Stands before what `report` says; "": nothing does. */
  readonly programName: string;
  readonly output: IoOutput;
  /** Where requests go; null: nothing is open. */
  backend: Backend | null = null;
  /** Where `aio_read` and `aio_write` are counted. */
  accounting: Accounting | null = null;
  /** The first `limit` bytes of a file of the host (`write -s`); null where there are none. Throws BlockError. */
  readFile: ((path: string, limit: number) => Uint8Array) | null = null;
  /** Changes options of the open node; failures have been reported when it says false. Null: cannot be done. */
  reopen: ((change: ReopenRequest) => Promise<boolean>) | null = null;
  /** Every write is flushed before it is reported (the cache mode is not a write-back one). */
  writethrough = false;
  /** Buffers start 16 bytes off their natural alignment (-m). */
  misalign = false;
  /** Requests started and not done; sessions may share them. */
  underWay: Set<Promise<void>> = new Set();

  constructor(programName: string, output: IoOutput) {
    this.programName = programName;
    this.output = output;
  }

  get node(): Node | null {
    return this.backend?.root ?? null;
  }

  print(text: string): void {
    this.output.write(text);
  }
  /** A line on stderr as it is. */
  complain(line: string): void {
    this.output.writeError(`${line}\n`);
  }
  /** A line on stderr (or several) with the program's name before it. */
  report(message: string): void {
    const prefix = this.programName === "" ? "" : `${this.programName}: `;
    for (const line of message.split("\n")) this.output.writeError(`${prefix}${line}\n`);
  }

  run<T>(op: Op<T>): Promise<T> {
    return runAsync(op);
  }
  /** Work on the open node that is no read or write of the backend's own. */
  request<T>(op: Op<T>): Promise<T> {
    return runAsync(this.backend!.request(() => op));
  }

  /** Starts work that goes on while other commands run; it handles its own failures. */
  start(work: Promise<void>): void {
    const tracked = work.finally(() => this.underWay.delete(tracked));
    this.underWay.add(tracked);
  }
  /** Waits for everything started; limits hold nothing back meanwhile. */
  async drain(): Promise<void> {
    const root = this.backend?.root ?? null;
    const restore = root === null ? (): void => {} : suspendLimits(root);
    this.backend?.throttle?.suspend();
    try {
      while (this.underWay.size > 0) await Promise.all(this.underWay);
    } finally {
      restore();
      this.backend?.throttle?.restore();
    }
  }
}
