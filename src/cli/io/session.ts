/** What the commands of one qemu-io run share: the open node, the output, and the asynchronous requests under way. */
import type { Environment } from "../../block/context.js";
import type { Node } from "../../block/node.js";
import { runAsync, type Op } from "../../block/op.js";
import type { OpenRequest } from "./opening.js";

export interface IoOutput {
  /** Standard output, buffered as the platform likes. */
  write(text: string): void;
  /** Standard error, at once. */
  writeError(text: string): void;
  /** Everything written so far is out when this returns. */
  flush(): void;
}

export class IoSession {
  readonly environment: Environment;
  readonly programName: string;
  readonly output: IoOutput;
  node: Node | null = null;
  /** How `node` was opened. */
  opened: OpenRequest | null = null;
  /** Images are named by lists of options (`--image-opts`), also to the `open` command. */
  imageOptions = false;
  /** Every write is flushed before it is reported (the cache mode is not a write-back one). */
  writethrough = false;
  /** Buffers start 16 bytes off their natural alignment (-m). */
  misalign = false;
  /** Set by `quit`. */
  done = false;
  readonly #underWay = new Set<Promise<void>>();

  constructor(environment: Environment, programName: string, output: IoOutput) {
    this.environment = environment;
    this.programName = programName;
    this.output = output;
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
    for (const line of message.split("\n")) this.output.writeError(`${this.programName}: ${line}\n`);
  }

  run<T>(op: Op<T>): Promise<T> {
    return runAsync(op);
  }

  /** Starts work that goes on while other commands run; it handles its own failures. */
  start(work: Promise<void>): void {
    const tracked = work.finally(() => this.#underWay.delete(tracked));
    this.#underWay.add(tracked);
  }
  /** Waits for everything started. */
  async drain(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  /** Closes the open file after all requests on it are done. */
  async close(): Promise<void> {
    await this.drain();
    const node = this.node;
    this.node = null;
    if (node !== null) await runAsync(node.unref());
  }
}
