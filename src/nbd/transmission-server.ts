/** The server's side after the negotiation: requests in, replies out, many in flight. */
import { BlockError } from "../base/error.js";
import { encodeText, readU64BE, viewOf, writeU64BE } from "../base/bytes.js";
import { runAsync, type Op } from "../block/op.js";
import { blockStatus } from "../block/status.js";
import {
  CHUNK_DONE,
  CHUNK_MAGIC,
  ChunkType,
  Command,
  CommandFlag,
  EXTENDED_CHUNK_MAGIC,
  EXTENDED_REQUEST_MAGIC,
  MAX_PAYLOAD,
  NbdError,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
} from "./constants.js";
import { MessageWriter } from "./duplex.js";
import { contextExtents } from "./export.js";
import type { Agreement } from "./handshake-server.js";

/** Requests of one connection that may be under way. */
const MAX_IN_FLIGHT = 16;
/** Payload bytes of one connection that may be held. */
const MAX_HELD = 64 * 1024 * 1024;

interface RequestHead {
  flags: number;
  command: number;
  cookie: Uint8Array;
  offset: number;
  length: number;
}

/** A request that breaks the rules in a way that leaves the stream readable. */
class RequestError extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export class Transmission {
  readonly #with: Agreement;
  readonly #writer: MessageWriter;
  #inFlight = 0;
  #held = 0;
  #wake: (() => void) | null = null;
  #stopping = false;

  constructor(agreement: Agreement) {
    this.#with = agreement;
    this.#writer = new MessageWriter(agreement.duplex);
  }

  /** No new requests; those under way are answered. */
  stop(): void {
    this.#stopping = true;
  }

  /** Serves until the client disconnects or breaks the protocol. */
  async run(): Promise<void> {
    try {
      for (;;) {
        const head = await this.#head();
        if (head === null || head.command === Command.disconnect) return;
        const payload = head.command === Command.write ? await this.#payload(head) : null;
        while (this.#inFlight >= MAX_IN_FLIGHT || this.#held > MAX_HELD)
          await new Promise<void>((resolve) => (this.#wake = resolve));
        const cost = head.command === Command.read || head.command === Command.write ? Math.min(head.length, MAX_PAYLOAD) : 0;
        this.#inFlight++;
        this.#held += cost;
        void this.#serve(head, payload).finally(() => {
          this.#inFlight--;
          this.#held -= cost;
          this.#wake?.();
        });
      }
    } finally {
      while (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async #head(): Promise<RequestHead | null> {
    const { extended, reader } = this.#with;
    const bytes = await reader.read(extended ? 32 : 28);
    const view = viewOf(bytes);
    const magic = view.getUint32(0);
    if (magic !== (extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC)) return null;
    return {
      flags: view.getUint16(4),
      command: view.getUint16(6),
      cookie: bytes.slice(8, 16),
      offset: readU64BE(view, 16),
      length: extended ? readU64BE(view, 24) : view.getUint32(24),
    };
  }

  /** The bytes of a write; null when they are too many to hold (they are read and thrown away). */
  async #payload(head: RequestHead): Promise<Uint8Array | null> {
    if (head.length > MAX_PAYLOAD) {
      if (!Number.isFinite(head.length) || head.length > 4 * MAX_PAYLOAD)
        throw new Error("A write of that size is not waited for");
      await this.#with.reader.skip(head.length);
      return null;
    }
    const bytes = new Uint8Array(head.length);
    await this.#with.reader.readInto(bytes);
    return bytes;
  }

  async #serve(head: RequestHead, payload: Uint8Array | null): Promise<void> {
    try {
      try {
        if (this.#stopping) throw new RequestError(NbdError.ESHUTDOWN, "The server is shutting down");
        this.#check(head);
        await this.#perform(head, payload);
      } catch (error) {
        await this.#fail(head, error);
      }
    } catch {
      // The connection is gone; the reader notices too.
      this.#with.duplex.close();
    }
  }

  #check(head: RequestHead): void {
    const { backend, writable } = this.#with.export;
    const { command, flags, offset, length } = head;
    const allowed: Partial<Record<number, number>> = {
      [Command.read]: CommandFlag.df | CommandFlag.fua,
      [Command.write]: CommandFlag.fua | CommandFlag.payloadLength,
      [Command.flush]: CommandFlag.fua,
      [Command.trim]: CommandFlag.fua,
      [Command.cache]: CommandFlag.fua,
      [Command.writeZeroes]: CommandFlag.fua | CommandFlag.noHole | CommandFlag.fastZero,
      [Command.blockStatus]: CommandFlag.requestOne | CommandFlag.fua,
    };
    const known = allowed[command];
    if (known === undefined) throw new RequestError(NbdError.EINVAL, `unknown command ${command}`);
    if ((flags & ~known) !== 0)
      throw new RequestError(NbdError.EINVAL, `unsupported flags for command ${command} (got 0x${flags.toString(16)})`);
    const changes = command === Command.write || command === Command.trim || command === Command.writeZeroes;
    if (changes && !writable) throw new RequestError(NbdError.EPERM, "Export is read-only");
    if (command === Command.flush) return;
    if (!Number.isFinite(offset) || !Number.isFinite(length) || offset > backend.size - length) {
      throw new RequestError(
        changes ? NbdError.ENOSPC : NbdError.EINVAL,
        `operation past EOF; From: ${offset}, Len: ${length}, Size: ${backend.size}`,
      );
    }
    if ((command === Command.read || command === Command.write) && length > MAX_PAYLOAD) {
      throw new RequestError(
        command === Command.read ? NbdError.EINVAL : NbdError.ENOMEM,
        `len (${length}) is larger than max len (${MAX_PAYLOAD})`,
      );
    }
    if (command === Command.blockStatus && (length === 0 || this.#with.contexts.size === 0)) {
      throw new RequestError(NbdError.EINVAL, length === 0 ? "need non-zero length" : "CMD_BLOCK_STATUS not negotiated");
    }
  }

  async #perform(head: RequestHead, payload: Uint8Array | null): Promise<void> {
    const { backend } = this.#with.export;
    const { offset, length } = head;
    const fua = (head.flags & CommandFlag.fua) !== 0;
    switch (head.command) {
      case Command.read:
        if (fua) await runAsync(backend.flush());
        await this.#read(head);
        return;
      case Command.write:
        if (payload === null) throw new RequestError(NbdError.EINVAL, "too much payload");
        await runAsync(backend.write(payload, offset, { fua }));
        break;
      case Command.flush:
        await runAsync(backend.flush());
        break;
      case Command.trim:
        await runAsync(this.#trim(offset, length, fua));
        break;
      case Command.cache:
        await runAsync(this.#cache(offset, length));
        break;
      case Command.writeZeroes:
        await runAsync(
          backend.writeZeroes(offset, length, {
            fua,
            mayUnmap: (head.flags & CommandFlag.noHole) === 0,
            noFallback: (head.flags & CommandFlag.fastZero) !== 0,
          }),
        );
        break;
      case Command.blockStatus:
        await this.#status(head);
        return;
    }
    await this.#done(head);
  }

  *#trim(offset: number, length: number, fua: boolean): Op<void> {
    const { backend } = this.#with.export;
    yield* backend.discard(offset, length);
    if (fua) yield* backend.flush();
  }

  /** Reads through the range once, so that what is slow to get is near from now on. */
  *#cache(offset: number, length: number): Op<void> {
    const bytes = new Uint8Array(Math.min(length, 1024 * 1024));
    for (let at = offset; at < offset + length; at += bytes.length) {
      const part = Math.min(bytes.length, offset + length - at);
      yield* this.#with.export.backend.read(bytes.subarray(0, part), at);
    }
  }

  // ---- replies ----------------------------------------------------------------------------------------------------

  async #read(head: RequestHead): Promise<void> {
    const { structured, export: from } = this.#with;
    if (!structured) {
      const bytes = new Uint8Array(head.length);
      await runAsync(from.backend.read(bytes, head.offset));
      await this.#writer.send([this.#simple(head, 0), bytes]);
      return;
    }
    if (head.length === 0) {
      await this.#done(head);
      return;
    }
    const whole = (head.flags & CommandFlag.df) !== 0;
    let at = head.offset;
    const end = head.offset + head.length;
    while (at < end) {
      const status = whole ? { zero: false, length: end - at } : await runAsync(blockStatus(from.backend.node, at, end - at));
      const length = Math.min(status.length, end - at);
      const last = at + length === end;
      const start = new Uint8Array(status.zero ? 12 : 8);
      writeU64BE(viewOf(start), 0, at);
      if (status.zero) {
        viewOf(start).setUint32(8, length);
        await this.#writer.send([this.#chunk(head, ChunkType.hole, 12, last), start]);
      } else {
        const bytes = new Uint8Array(length);
        await runAsync(from.backend.read(bytes, at));
        await this.#writer.send([this.#chunk(head, ChunkType.data, 8 + length, last), start, bytes]);
      }
      at += length;
    }
  }

  async #status(head: RequestHead): Promise<void> {
    const { contexts, export: of, extended } = this.#with;
    const one = (head.flags & CommandFlag.requestOne) !== 0;
    let left = contexts.size;
    for (const [id, context] of contexts) {
      const extents = await runAsync(contextExtents(of, context, head.offset, head.length, one));
      const stride = extended ? 16 : 8;
      const bytes = new Uint8Array((extended ? 8 : 4) + extents.length * stride);
      const view = viewOf(bytes);
      view.setUint32(0, id);
      if (extended) view.setUint32(4, extents.length);
      extents.forEach((extent, i) => {
        if (extended) {
          writeU64BE(view, 8 + i * 16, extent.length);
          writeU64BE(view, 16 + i * 16, extent.flags);
        } else {
          view.setUint32(4 + i * 8, extent.length);
          view.setUint32(8 + i * 8, extent.flags);
        }
      });
      await this.#writer.send([
        this.#chunk(head, extended ? ChunkType.blockStatusExtended : ChunkType.blockStatus, bytes.length, --left === 0),
        bytes,
      ]);
    }
  }

  async #done(head: RequestHead): Promise<void> {
    await this.#writer.send([this.#with.structured ? this.#chunk(head, ChunkType.none, 0, true) : this.#simple(head, 0)]);
  }

  async #fail(head: RequestHead, error: unknown): Promise<void> {
    const code = error instanceof RequestError ? error.code : wireError(error);
    if (!this.#with.structured) {
      await this.#writer.send([this.#simple(head, code)]);
      return;
    }
    const text = encodeText((error as Error).message).subarray(0, 4096);
    const bytes = new Uint8Array(6 + text.length);
    viewOf(bytes).setUint32(0, code);
    viewOf(bytes).setUint16(4, text.length);
    bytes.set(text, 6);
    await this.#writer.send([this.#chunk(head, ChunkType.error, bytes.length, true), bytes]);
  }

  #simple(head: RequestHead, error: number): Uint8Array {
    const bytes = new Uint8Array(16);
    viewOf(bytes).setUint32(0, SIMPLE_REPLY_MAGIC);
    viewOf(bytes).setUint32(4, error);
    bytes.set(head.cookie, 8);
    return bytes;
  }

  #chunk(head: RequestHead, type: number, length: number, last: boolean): Uint8Array {
    const { extended } = this.#with;
    const bytes = new Uint8Array(extended ? 32 : 20);
    const view = viewOf(bytes);
    view.setUint32(0, extended ? EXTENDED_CHUNK_MAGIC : CHUNK_MAGIC);
    view.setUint16(4, last ? CHUNK_DONE : 0);
    view.setUint16(6, type);
    bytes.set(head.cookie, 8);
    if (extended) {
      writeU64BE(view, 16, head.offset);
      writeU64BE(view, 24, length);
    } else view.setUint32(16, length);
    return bytes;
  }
}

/** What an error is called on the wire. */
export function wireError(error: unknown): number {
  if (!(error instanceof BlockError)) return NbdError.EIO;
  switch (error.errno) {
    case "EPERM":
    case "EROFS":
    case "EACCES":
      return NbdError.EPERM;
    case "ENOMEM":
      return NbdError.ENOMEM;
    case "EINVAL":
      return NbdError.EINVAL;
    case "ENOSPC":
    case "EFBIG":
      return NbdError.ENOSPC;
    case "EOVERFLOW":
      return NbdError.EOVERFLOW;
    case "ENOTSUP":
      return NbdError.ENOTSUP;
    case "ESHUTDOWN":
      return NbdError.ESHUTDOWN;
    default:
      return NbdError.EIO;
  }
}
