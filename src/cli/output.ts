/**
 * The only printer of the command line tools.
 *
 * Standard output and error as byte sinks with back-pressure; a closed pipe (`qemu-img info x | head -1`) ends output quietly,
 * other failures to write are errors. Knows QEMU's forms: "program: message", its hint below, and progress.
 */
import { BlockError, toBlockError } from "../base/error.js";
import { fixed } from "../base/format.js";
import { UsageError } from "./options.js";

/** The part of a Node.js writable stream that is used here. */
export interface OutputStream {
  write(chunk: string | Uint8Array, done?: (error?: Error | null) => void): boolean;
  once(event: "drain" | "close", listener: () => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** The streams are looked at when they are needed for the first time: they may be getters. */
export interface OutputOptions {
  /** Stands before messages: "qemu-img". */
  readonly program: string;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** Variables that matter: NO_COLOR, FORCE_COLOR, TERM. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

const EXIT_FAILURE = 1 as const;

class Sink {
  readonly #open: () => OutputStream;
  #stream: OutputStream | null = null;
  #failure: Error | null = null;
  /** The reader has gone: nothing more to say. */
  closed = false;
  #pending = 0;
  #idle: (() => void)[] = [];

  constructor(open: () => OutputStream) {
    this.#open = open;
  }

  get #target(): OutputStream {
    if (this.#stream === null) {
      this.#stream = this.#open();
      this.#stream.on("error", (error) => this.#fail(error));
    }
    return this.#stream;
  }

  #fail(error: Error): void {
    const code = (error as { code?: unknown }).code;
    if (code === "EPIPE" || code === "ERR_STREAM_DESTROYED") this.closed = true;
    else this.#failure ??= error;
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#idle;
    this.#idle = [];
    for (const wake of waiting) wake();
  }

  /** Starts a write; true if the stream wants more. */
  write(chunk: string | Uint8Array): boolean {
    if (this.closed || this.#failure !== null) return true;
    this.#pending++;
    return this.#target.write(chunk, (error) => {
      this.#pending--;
      if (error) this.#fail(error);
      else if (this.#pending === 0) this.#wake();
    });
  }

  /** Until all that was written has left the process. */
  async settle(): Promise<void> {
    while (this.#pending > 0 && !this.closed && this.#failure === null) await new Promise<void>((wake) => this.#idle.push(wake));
    if (this.#failure !== null) throw toBlockError(this.#failure);
  }
}

export class Output {
  readonly program: string;
  readonly #out: Sink;
  readonly #err: Sink;
  readonly #options: OutputOptions;
  readonly #env: Readonly<Record<string, string | undefined>>;

  constructor(options: OutputOptions) {
    this.program = options.program;
    this.#out = new Sink(() => options.stdout);
    this.#err = new Sink(() => options.stderr);
    this.#options = options;
    this.#env = options.env ?? {};
  }

  /** The reader of standard output has gone; long listings may stop. */
  get closed(): boolean {
    return this.#out.closed;
  }

  /** May colours be used on standard error? NO_COLOR (no-color.org) says no, FORCE_COLOR says yes. */
  get color(): boolean {
    if ((this.#env["NO_COLOR"] ?? "") !== "") return false;
    if ((this.#env["FORCE_COLOR"] ?? "") !== "" && this.#env["FORCE_COLOR"] !== "0") return true;
    return this.#options.stderr.isTTY === true && this.#env["TERM"] !== "dumb";
  }

  /** Text to standard output as it is. */
  print(text: string): void {
    this.#out.write(text);
  }

  line(text = ""): void {
    this.#out.write(`${text}\n`);
  }

  /** Text or bytes to standard output; resolves when there is room for more. For output of unbounded length. */
  async stream(chunk: string | Uint8Array): Promise<void> {
    if (!this.#out.write(chunk)) await this.#out.settle();
  }

  /** "program: message" for every line of the message, then the hint as it is. */
  error(message: string, hint?: string): void {
    const lines = message.split("\n").map((line) => `${this.program}: ${line}\n`);
    this.#err.write(lines.join("") + (hint === undefined ? "" : `${hint.replace(/\n$/, "")}\n`));
  }

  /** "program: warning: first line"; further lines are hints. */
  warning(message: string): void {
    const [first = "", ...rest] = message.split("\n");
    this.#err.write([`${this.program}: warning: ${first}`, ...rest].map((line) => `${line}\n`).join(""));
  }

  /** Anything else for standard error. */
  note(text: string): void {
    this.#err.write(text);
  }

  /** A message of the block layer that is no error: as it is where it says itself what it is, else as a warning. */
  advise(message: string): void {
    if (message.startsWith("WARNING:") || message.startsWith(`${this.program}:`)) this.note(`${message}\n`);
    else this.warning(message);
  }

  /** Says what went wrong and how to get help, and gives the exit code. */
  failure(error: unknown): number {
    if (this.closed && isClosedPipe(error)) return EXIT_FAILURE;
    const failure = toBlockError(error);
    this.error(
      failure.message,
      failure instanceof UsageError ? `Try '${this.program} --help' for more information` : failure.hint,
    );
    return EXIT_FAILURE;
  }

  /** Waits until everything is written. Throws if standard output failed for another reason than a closed pipe. */
  async finish(): Promise<void> {
    await this.#out.settle();
    await this.#err.settle().catch(() => undefined);
  }

  /** qemu-img's `-p`: "    (12.34/100%)" and a carriage return, on standard output. */
  progress(enabled: boolean, minStep = 1): Progress {
    return new Progress(enabled ? (text) => this.print(text) : null, minStep);
  }

  /** A bar with rate and remaining time on standard error; nothing unless that is a terminal. */
  bar(label: string, now: () => number): Bar {
    return new Bar(
      this.#options.stderr.isTTY === true ? (text) => this.note(text) : null,
      () => this.#options.stderr.columns ?? 80,
      this.color,
      label,
      now,
    );
  }
}

function isClosedPipe(error: unknown): boolean {
  return (error instanceof BlockError ? error.errno : (error as { code?: unknown } | null)?.code) === "EPIPE";
}

/** What qemu-img prints with `-p`: at 0 and 100 percent and whenever `minStep` percent have been made since the last time. */
export class Progress {
  readonly #print: ((text: string) => void) | null;
  readonly #minStep: number;
  #last = 0;

  constructor(print: ((text: string) => void) | null, minStep: number) {
    this.#print = print;
    this.#minStep = minStep;
  }

  /** `percent` of the whole; values outside 0..100 are cut. */
  report(percent: number): void {
    if (this.#print === null || Number.isNaN(percent)) return;
    const current = Math.min(100, Math.max(0, percent));
    if (Math.abs(current - this.#last) > this.#minStep || current === 100 || current === 0) {
      this.#last = current;
      this.#print(`    (${fixed(current, 2)}/100%)\r`);
    }
  }

  /** Part of a whole in any unit. */
  update(done: number, total: number): void {
    this.report(total > 0 ? (done * 100) / total : 100);
  }

  /** Leaves the line. */
  end(): void {
    this.#print?.("\n");
  }
}

const REDRAW_MS = 100;

/** The bar of `blockcore` itself. */
export class Bar {
  readonly #print: ((text: string) => void) | null;
  readonly #columns: () => number;
  readonly #color: boolean;
  readonly #label: string;
  readonly #now: () => number;
  readonly #start: number;
  #drawn = -Infinity;

  constructor(print: ((text: string) => void) | null, columns: () => number, color: boolean, label: string, now: () => number) {
    this.#print = print;
    this.#columns = columns;
    this.#color = color;
    this.#label = label;
    this.#now = now;
    this.#start = now();
  }

  /** Bytes done of all; redraws at most ten times a second, and at the end. */
  update(done: number, total: number): void {
    const now = this.#now();
    if (this.#print === null || (now - this.#drawn < REDRAW_MS && done < total)) return;
    this.#drawn = now;
    const part = total > 0 ? Math.min(1, done / total) : 1;
    const seconds = (now - this.#start) / 1000;
    const rate = seconds > 0 ? done / seconds : 0;
    const left = part < 1 && rate > 0 ? ` ${Math.ceil((total - done) / rate)}s left` : "";
    const tail = ` ${fixed(part * 100, 1).padStart(5)}% ${fixed(rate / 1048576, 1)} MiB/s${left}`;
    const room = this.#columns() - this.#label.length - tail.length - 4;
    if (room < 5) {
      this.#print(`\r${tail.trim()}\x1b[K`);
      return;
    }
    const width = Math.min(room, 40);
    const full = Math.round(part * width);
    const bar = "#".repeat(full) + "-".repeat(width - full);
    this.#print(`\r${this.#label} [${this.#color ? `\x1b[32m${bar}\x1b[0m` : bar}]${tail}\x1b[K`);
  }

  end(): void {
    this.#print?.("\n");
  }
}
