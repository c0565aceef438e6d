/** A connection: bytes in, bytes out. Sockets, pairs of web streams, MessagePorts and WebSockets (message-duplex.ts) all become one. */

export interface Duplex {
  /** Chunks as they arrive; ends when the other side has closed. */
  readonly incoming: AsyncIterable<Uint8Array>;
  /** Writes all parts in order; resolves when the medium is done with them and takes more. They must not change until then. */
  write(parts: readonly Uint8Array[]): Promise<void>;
  /** Closes both directions; pending reads end. */
  close(): void;
}

/** The connection ended where more bytes were needed. */
export class ConnectionEnded extends Error {
  constructor() {
    super("The connection was closed by the other side");
  }
}

/** Reads exact numbers of bytes from a connection. */
export class ByteReader {
  readonly #iterator: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);

  constructor(duplex: Duplex) {
    this.#iterator = duplex.incoming[Symbol.asyncIterator]();
  }

  /** Bytes that have come and were not read yet. */
  get buffered(): number {
    return this.#chunk.length;
  }

  /** The next `length` bytes where they have come already, as a view that is good until the next call; null: they have not. */
  readNow(length: number): Uint8Array | null {
    return this.#chunk.length >= length ? this.#take(length) : null;
  }

  /** The next `length` bytes; a view where one chunk holds them, good until the next call. */
  async read(length: number): Promise<Uint8Array> {
    if (this.#chunk.length >= length) return this.#take(length);
    const bytes = new Uint8Array(length);
    await this.readInto(bytes);
    return bytes;
  }

  async readInto(into: Uint8Array): Promise<void> {
    let at = 0;
    while (at < into.length) {
      if (this.#chunk.length === 0) await this.#next();
      const part = this.#take(Math.min(this.#chunk.length, into.length - at));
      into.set(part, at);
      at += part.length;
    }
  }

  /** Reads and forgets. */
  async skip(length: number): Promise<void> {
    let left = length;
    while (left > 0) {
      if (this.#chunk.length === 0) await this.#next();
      left -= this.#take(Math.min(this.#chunk.length, left)).length;
    }
  }

  #take(length: number): Uint8Array {
    const part = this.#chunk.subarray(0, length);
    this.#chunk = this.#chunk.subarray(length);
    return part;
  }

  async #next(): Promise<void> {
    const next = await this.#iterator.next();
    if (next.done === true) throw new ConnectionEnded();
    this.#chunk = next.value;
  }
}

/** One writer at a time: replies of concurrent requests must not mix. What is sent in one go of the event loop goes out in one. */
export class MessageWriter {
  readonly #duplex: Duplex;
  #parts: Uint8Array[] = [];
  #next: Promise<void> | null = null;
  #last: Promise<void> = Promise.resolve();

  constructor(duplex: Duplex) {
    this.#duplex = duplex;
  }

  /** Resolves when the medium is done with the parts; rejects for good when one write has failed. */
  send(parts: readonly Uint8Array[]): Promise<void> {
    for (const part of parts) this.#parts.push(part);
    return (this.#next ??= this.#last = this.#flush());
  }

  async #flush(): Promise<void> {
    await this.#last;
    const parts = this.#parts;
    this.#parts = [];
    this.#next = null;
    await this.#duplex.write(parts);
  }
}

/** A connection over a pair of web streams (WebSocketStream, fetch, TransformStreams in tests). */
export function webDuplex(pair: { readable: ReadableStream<Uint8Array>; writable: WritableStream<Uint8Array> }): Duplex {
  const reader = pair.readable.getReader();
  const writer = pair.writable.getWriter();
  let closed = false;
  return {
    incoming: {
      async *[Symbol.asyncIterator]() {
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return;
          if (value.length > 0) yield value;
        }
      },
    },
    async write(parts) {
      for (const part of parts) {
        if (part.length === 0) continue;
        await writer.ready;
        await writer.write(part.slice());
      }
    },
    close() {
      if (closed) return;
      closed = true;
      reader.cancel().catch(() => {});
      writer.close().catch(() => {});
    },
  };
}
