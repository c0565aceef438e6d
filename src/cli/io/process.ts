/** Standard input and output of the qemu-io process. */
import { fstatSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import type { IoOutput } from "../../image/io/session.js";

/** As stdio has it: what is not a terminal gets whole blocks, the rest at a flush; standard error is never held back. */
const BLOCK = 4096;

class ProcessOutput implements IoOutput {
  readonly #terminal: boolean = process.stdout.isTTY;
  #parts: string[] = [];
  #held = 0;

  write(text: string): void {
    this.#parts.push(text);
    this.#held += text.length;
    if (this.#terminal) this.flush();
    else if (this.#held > BLOCK) this.#writeBlocks();
  }

  writeError(text: string): void {
    writeAll(2, Buffer.from(text));
  }

  flush(): void {
    if (this.#held === 0) return;
    const bytes = Buffer.from(this.#parts.join(""));
    this.#parts = [];
    this.#held = 0;
    writeAll(1, bytes);
  }

  #writeBlocks(): void {
    const bytes = Buffer.from(this.#parts.join(""));
    const whole = bytes.length - (bytes.length % BLOCK);
    writeAll(1, bytes.subarray(0, whole));
    const rest = bytes.subarray(whole).toString();
    this.#parts = [rest];
    this.#held = rest.length;
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(fd, bytes, at, bytes.length - at);
    } catch (error) {
      const code = (error as { code?: string }).code;
      // A full pipe that does not block: the reader is slow; wait a moment without losing bytes.
      if (code === "EAGAIN") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
      // Nobody listens any more: the commands still count.
      else if (code === "EPIPE") return;
      else throw error;
    }
  }
}

export function processOutput(): IoOutput {
  return new ProcessOutput();
}

/** Lines of standard input, read ahead of need only as far as the stream hands them over. */
export function stdinLines(): () => Promise<string | null> {
  let lines: AsyncIterator<string> | null = null;
  return async () => {
    if (lines === null) {
      try {
        fstatSync(0);
      } catch {
        return null;
      }
      lines = createInterface({ input: process.stdin, crlfDelay: Infinity, terminal: false })[Symbol.asyncIterator]();
    }
    const next = await lines.next();
    return next.done === true ? null : next.value;
  };
}
