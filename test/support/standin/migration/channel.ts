/** The way between two stand-ins: a URI names it, lines of JSON go over it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { BlockError } from "../../../../src/base/error.js";

export interface Uri {
  readonly kind: "exec" | "unix" | "tcp";
  readonly rest: string;
}

export function parseUri(uri: string): Uri {
  const found = /^(exec|unix|tcp):(.*)$/s.exec(uri);
  if (found === null)
    throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'uri' expects a valid migration protocol", {
      qmpClass: "GenericError",
    });
  return { kind: found[1] as Uri["kind"], rest: found[2]! };
}

function socketOptions({ kind, rest }: Uri): { path: string } | { host: string; port: number } {
  if (kind === "unix") return { path: rest };
  const colon = rest.lastIndexOf(":");
  return { host: rest.slice(0, colon).replace(/^\[|\]$/g, "") || "localhost", port: Number(rest.slice(colon + 1)) };
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "No such file or directory",
  ECONNREFUSED: "Connection refused",
  EACCES: "Permission denied",
};

/** Ends of what is written to; the promise of `end` is kept when the other side has everything. */
export class Outgoing {
  readonly #stream: Writable;
  readonly #closed: Promise<unknown>;
  #error: Error | null = null;

  private constructor(stream: Writable, closed: Promise<unknown>) {
    this.#stream = stream;
    this.#closed = closed;
    stream.on("error", (error) => (this.#error ??= error));
  }

  static async open(uri: Uri): Promise<Outgoing> {
    if (uri.kind === "exec") {
      const child = spawn("/bin/sh", ["-c", uri.rest], { stdio: ["pipe", "inherit", "inherit"] });
      return new Outgoing(child.stdin, once(child, "exit"));
    }
    const socket = connect(socketOptions(uri));
    try {
      await once(socket, "connect");
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? "";
      throw new BlockError("ERR_IO", `Failed to connect to '${uri.rest}': ${REASONS[code] ?? code}`);
    }
    return new Outgoing(socket, once(socket, "close"));
  }

  async send(message: unknown): Promise<void> {
    if (this.#error !== null) throw this.#error;
    if (!this.#stream.write(`${JSON.stringify(message)}\n`)) {
      await Promise.race([once(this.#stream, "drain"), this.#closed]);
    }
    if (this.#error !== null) throw this.#error;
  }
  async end(): Promise<void> {
    this.#stream.end();
    await this.#closed;
    if (this.#error !== null) throw this.#error;
  }
  destroy(): void {
    this.#stream.destroy();
  }
}

/** Waits for the other side; `started` is told when it is there, then come its messages. Ends when it has gone. */
export async function* listenFor(uri: Uri, started: () => void): AsyncGenerator<unknown, void, undefined> {
  let stream: Readable;
  if (uri.kind === "exec") {
    const child = spawn("/bin/sh", ["-c", uri.rest], { stdio: ["ignore", "pipe", "inherit"] });
    process.once("exit", () => child.kill());
    stream = child.stdout;
    // A command that says nothing is as if it had not been started.
    if (!(await hasBytes(stream))) return await new Promise<never>(() => {});
    started();
  } else {
    const server = createServer().unref();
    server.listen(socketOptions(uri));
    process.once("exit", () => server.close());
    [stream] = (await once(server, "connection")) as [Socket];
    server.close();
    started();
  }
  for await (const line of createInterface({ input: stream })) yield JSON.parse(line);
}

async function hasBytes(stream: Readable): Promise<boolean> {
  for (;;) {
    if (stream.readableLength > 0) return true;
    if (stream.readableEnded) return false;
    await Promise.race([once(stream, "readable"), once(stream, "end")]);
  }
}
