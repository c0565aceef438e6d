/** Node's sockets as connections: TCP and Unix sockets, listening and connecting. */
import type { ListenOptions, Server, Socket } from "node:net";
import type { Duplex } from "./duplex.js";

/** Loaded with the first connection: programs that know NBD but do not use it start faster. */
const net = (): typeof import("node:net") => process.getBuiltinModule("node:net");

/** Bytes that have come and that nobody has taken before the socket is not read any more. */
const MAX_WAITING = 1024 * 1024;
/** How long a peer has to take what was written when a connection is closed, in ms. */
const LINGER = 200;

export class SocketDuplex implements Duplex {
  readonly incoming: AsyncIterable<Uint8Array>;
  readonly #socket: Socket;
  readonly #chunks: Uint8Array[] = [];
  #waiting = 0;
  #ended = false;
  #wake: (() => void) | null = null;

  readonly #hear = (chunk: Uint8Array): void => {
    this.#chunks.push(chunk);
    this.#waiting += chunk.length;
    if (this.#waiting > MAX_WAITING) this.#socket.pause();
    this.#wake?.();
  };
  readonly #end = (): void => {
    this.#ended = true;
    this.#wake?.();
  };

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay?.(true);
    socket.on("error", () => socket.destroy());
    socket.on("data", this.#hear).once("end", this.#end).once("close", this.#end);
    this.incoming = { [Symbol.asyncIterator]: () => ({ next: () => this.#next() }) };
  }

  async #next(): Promise<IteratorResult<Uint8Array, undefined>> {
    for (;;) {
      const value = this.#chunks.shift();
      if (value !== undefined) {
        this.#waiting -= value.length;
        if (this.#socket.isPaused() && this.#waiting <= MAX_WAITING) this.#socket.resume();
        return { done: false, value };
      }
      if (this.#ended) return { done: true, value: undefined };
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = null;
    }
  }

  write(parts: readonly Uint8Array[]): Promise<void> {
    const socket = this.#socket;
    if (socket.destroyed || socket.writableEnded) return Promise.reject(new Error("The connection is closed"));
    socket.cork();
    for (const part of parts) if (part.length > 0) socket.write(part);
    socket.uncork();
    // Most of the time the system has taken all of it by now.
    return socket.writableLength === 0 ? DONE : emptied(socket);
  }

  close(): void {
    // What was written goes out; a peer that does not read is not waited for.
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), LINGER).unref();
  }

  /** The socket, for a protocol that takes over; null when the peer has already said more than it should have. */
  release(): Socket | null {
    if (this.#chunks.length > 0 || this.#socket.readableLength > 0) return null;
    this.#socket.pause();
    this.#socket.off("data", this.#hear).off("end", this.#end).off("close", this.#end);
    this.#end();
    return this.#socket;
  }
}

export function socketDuplex(socket: Socket): SocketDuplex {
  return new SocketDuplex(socket);
}

const DONE: Promise<void> = Promise.resolve();

/** Until all that was written has left this process. */
function emptied(socket: Socket): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const onClose = (): void => reject(new Error("The connection is closed"));
    socket.once("close", onClose);
    socket.write("", (error) => {
      socket.off("close", onClose);
      if (error) reject(error);
      else resolve();
    });
  });
}

export type SocketAddress = { path: string } | { host: string; port: number; family?: 4 | 6 };

/** Listens and hands every connection to `accept`. Resolves when listening. */
export function listen(address: SocketAddress | { fd: number }, accept: (socket: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = net().createServer({ allowHalfOpen: false, noDelay: true }, accept);
    server.once("error", reject);
    server.listen(address as ListenOptions, () => {
      server.off("error", reject);
      resolve(server);
    });
  });
}

export function connectSocket(address: SocketAddress, timeout?: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = net().connect(address);
    if (timeout !== undefined) socket.setTimeout(timeout, () => socket.destroy(new Error("Connection timed out")));
    socket.once("connect", () => {
      socket.setTimeout(0);
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", reject);
  });
}
