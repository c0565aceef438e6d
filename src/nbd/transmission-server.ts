/** The server's side after the negotiation: requests in, replies out, many in flight. */
import { BlockError } from "../base/error.js";
import { alignDown } from "../base/int.js";
import { encodeText, readU64BE, viewOf, writeU64BE } from "../base/bytes.js";
import { nextTurn, runAsync, runQuickly, type Op } from "../block/op.js";
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
import { BufferPool } from "./buffer-pool.js";
import { MessageWriter } from "./duplex.js";
import { contextExtents, diskStatus } from "./export.js";
import type { Agreement } from "./handshake-server.js";

/** Requests of one connection that may be under way. */
const MAX_IN_FLIGHT = 16;
/** Bytes of requests of one connection that may be held. */
const MAX_HELD = 8 * 1024 * 1024;
/** Longer requests are done in pieces of this many bytes. */
const PIECE = 2 * 1024 * 1024;
/** Payload of a refused write that is read and thrown away; whoever promises more is not listened to any longer. */
const MAX_DRAINED: number = 4 * MAX_PAYLOAD;
/** Requests up to this many bytes are done on the spot where the data is in memory: waiting for a thread would cost more. */
const QUICK = 256 * 1024;
/** Bytes of requests that are held while they are done on the spot: one after the other they stay in the processor's cache. */
const QUICK_HELD = 256 * 1024;
/** What was not quick after all, in ms, and how many requests go to the threads after one of that kind. */
const SLOW_MS = 2;
const SLOW_REQUESTS = 64;
/** Reads of at least this many bytes leave out what reads as zeros, where the client understands that. */
const SPARSE = 32 * 1024;
/** Bytes that are served before other connections have their turn. */
const TURN_BYTES = 4 * 1024 * 1024;
/** Bytes of a range that is zeroed or given up before others have their turn. */
const TURN_RANGE = 16 * 1024 * 1024;
/** What a request costs that moves no bytes. */
const REQUEST_COST = 16 * 1024;

interface RequestHead {
  flags: number;
  command: number;
  /** The client's name for the request, in halves. */
  cookieHi: number;
  cookieLo: number;
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
  readonly #pool = new BufferPool();
  #inFlight = 0;
  #held = 0;
  #wake: (() => void) | null = null;
  #stopping = false;
  /** The connection is gone: what the client still wanted does not matter. */
  #broken = false;
  /** Requests to come that are not tried on the spot. */
  #slow = 0;
  /** The last request was done on the spot. */
  #onTheSpot = false;

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
    let served = 0;
    try {
      while (!this.#broken) {
        const head = await this.#head();
        if (head === null || head.command === Command.disconnect) return;
        const moves = head.command === Command.read || head.command === Command.write;
        // Long ones have the connection for themselves.
        if (moves && head.length > PIECE) {
          await this.#room(0, 0);
          await this.#serveLong(head);
          served += head.length;
        } else {
          const cost = moves ? head.length : 0;
          const payload = head.command === Command.write ? await this.#payload(head.length) : null;
          const most = Math.max(cost, this.#onTheSpot ? QUICK_HELD : MAX_HELD);
          if (this.#inFlight >= MAX_IN_FLIGHT || this.#held + cost > most) await this.#room(MAX_IN_FLIGHT - 1, most - cost);
          this.#inFlight++;
          this.#held += cost;
          void this.#serve(head, payload, cost);
          served += cost + REQUEST_COST;
        }
        if (served >= TURN_BYTES) {
          await nextTurn();
          served = 0;
        }
      }
    } finally {
      await this.#room(0, 0);
    }
  }

  /** Until at most so many requests are under way and hold so many bytes. */
  async #room(requests: number, held: number): Promise<void> {
    while (this.#inFlight > requests || this.#held > held) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  async #head(): Promise<RequestHead | null> {
    const { extended, reader } = this.#with;
    const size = extended ? 32 : 28;
    const view = viewOf(reader.readNow(size) ?? (await reader.read(size)));
    const magic = view.getUint32(0);
    if (magic !== (extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC)) return null;
    return {
      flags: view.getUint16(4),
      command: view.getUint16(6),
      cookieHi: view.getUint32(8),
      cookieLo: view.getUint32(12),
      offset: readU64BE(view, 16),
      length: extended ? readU64BE(view, 24) : view.getUint32(24),
    };
  }

  async #payload(length: number): Promise<Uint8Array> {
    const bytes = this.#pool.take(length);
    await this.#with.reader.readInto(bytes);
    return bytes;
  }

  async #serve(head: RequestHead, payload: Uint8Array | null, cost: number): Promise<void> {
    await this.#answer(head, () => this.#perform(head, payload));
    if (payload !== null) this.#pool.give(payload);
    this.#inFlight--;
    this.#held -= cost;
    this.#wake?.();
  }

  /** Never throws: an error of the request is its answer, an error of the connection ends it. */
  async #answer(head: RequestHead, work: () => Promise<void>): Promise<void> {
    try {
      try {
        if (this.#stopping) throw new RequestError(NbdError.ESHUTDOWN, "The server is shutting down");
        this.#check(head);
        await work();
      } catch (error) {
        if (this.#broken) return;
        await this.#fail(head, error);
      }
    } catch {
      // The reader notices too.
      this.#broken = true;
      this.#with.duplex.close();
    }
  }

  /** Performs an operation of `bytes` bytes, on the spot if it is likely to be quick. */
  #do<T>(op: Op<T>, bytes: number): T | Promise<T> {
    this.#onTheSpot = false;
    if (bytes > QUICK) return runAsync(op);
    if (this.#slow > 0) {
      this.#slow--;
      return runAsync(op);
    }
    const start = performance.now();
    const result = runQuickly(op, QUICK);
    this.#onTheSpot = !(result instanceof Promise);
    if (performance.now() - start > SLOW_MS) this.#slow = SLOW_REQUESTS;
    return result;
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
        await this.#do(backend.write(payload!, offset, { fua }), length);
        break;
      case Command.flush:
        await runAsync(backend.flush());
        break;
      case Command.trim:
        await this.#inTurns(head, (at, part) => backend.discard(at, part));
        if (fua) await runAsync(backend.flush());
        break;
      case Command.cache:
        await this.#cache(head);
        break;
      case Command.writeZeroes: {
        const mayUnmap = (head.flags & CommandFlag.noHole) === 0;
        const noFallback = (head.flags & CommandFlag.fastZero) !== 0;
        await this.#inTurns(head, (at, part) => backend.writeZeroes(at, part, { mayUnmap, noFallback }));
        if (fua) await runAsync(backend.flush());
        break;
      }
      case Command.blockStatus:
        await this.#status(head);
        return;
    }
    await this.#done(head);
  }

  /** Works through the range of a request in large pieces; other connections have their turn in between. */
  async #inTurns({ offset, length }: RequestHead, work: (at: number, part: number) => Op<void>): Promise<void> {
    const end = offset + length;
    for (let at = offset; at < end && !this.#broken;) {
      if (at > offset) await nextTurn();
      // Cut at round places: no cluster is cut in two.
      const stop = Math.min(end, alignDown(at, TURN_RANGE) + TURN_RANGE);
      await runAsync(work(at, stop - at));
      at = stop;
    }
  }

  /** Reads through what is stored of a range once, so that what is slow to get is near from now on. */
  async #cache({ offset, length }: RequestHead): Promise<void> {
    const { backend } = this.#with.export;
    const bytes = this.#pool.take(Math.min(length, PIECE));
    for (let at = offset; at < offset + length && !this.#broken;) {
      const left = offset + length - at;
      const status = await runAsync(diskStatus(backend, at, left));
      const run = Math.min(left, status.zero ? status.length : Math.min(status.length, bytes.length));
      if (!status.zero) await runAsync(backend.read(bytes.subarray(0, run), at));
      at += run;
      await nextTurn();
    }
    this.#pool.give(bytes);
  }

  // ---- replies ----------------------------------------------------------------------------------------------------

  async #read(head: RequestHead): Promise<void> {
    const { offset, length } = head;
    if (length === 0) await this.#done(head);
    else if (!this.#with.structured) await this.#data(head, offset, length, () => [this.#simple(head, 0)]);
    else await this.#chunks(head, offset, length, true);
  }

  /** Reads a range and sends it, after what `before` makes. */
  async #data(head: RequestHead, at: number, length: number, before: () => Uint8Array[]): Promise<void> {
    const bytes = this.#pool.take(length);
    try {
      const reading = this.#do(this.#with.export.backend.read(bytes, at), length);
      if (reading instanceof Promise) await reading;
      await this.#writer.send([...before(), bytes]);
    } finally {
      this.#pool.give(bytes);
    }
  }

  /** A range of a read as structured replies, holes left out. */
  async #chunks(head: RequestHead, offset: number, length: number, isLast: boolean): Promise<void> {
    const { backend } = this.#with.export;
    const whole = (head.flags & CommandFlag.df) !== 0 || length < SPARSE;
    const end = offset + length;
    for (let at = offset; at < end;) {
      const status = whole ? null : await this.#do(diskStatus(backend, at, end - at), 0);
      const run = status === null ? end - at : Math.min(status.length, end - at);
      const last = isLast && at + run === end;
      const start = new Uint8Array(status?.zero === true ? 12 : 8);
      writeU64BE(viewOf(start), 0, at);
      if (status?.zero === true) {
        viewOf(start).setUint32(8, run);
        await this.#writer.send([this.#chunk(head, ChunkType.hole, 12, last), start]);
      } else await this.#data(head, at, run, () => [this.#chunk(head, ChunkType.data, 8 + run, last), start]);
      at += run;
    }
  }

  // ---- long requests ----------------------------------------------------------------------------------------------

  /** A request whose bytes are more than are held at a time: in pieces, one after the other. */
  async #serveLong(head: RequestHead): Promise<void> {
    if (head.command === Command.write) await this.#writeLong(head);
    else await this.#answer(head, () => this.#readLong(head));
  }

  async #readLong(head: RequestHead): Promise<void> {
    const { structured } = this.#with;
    const { offset, length } = head;
    if (structured && (head.flags & CommandFlag.df) !== 0)
      throw new RequestError(NbdError.EOVERFLOW, `a read of more than ${PIECE} bytes is not answered in one piece`);
    if ((head.flags & CommandFlag.fua) !== 0) await runAsync(this.#with.export.backend.flush());
    for (let at = 0; at < length; at += PIECE) {
      const part = Math.min(PIECE, length - at);
      if (structured) await this.#chunks(head, offset + at, part, at + part === length);
      else await this.#simplePiece(head, at, part);
      await nextTurn();
    }
  }

  /** A simple reply promises all bytes ahead: an error after the first piece can only end the connection. */
  async #simplePiece(head: RequestHead, at: number, length: number): Promise<void> {
    try {
      await this.#data(head, head.offset + at, length, () => (at === 0 ? [this.#simple(head, 0)] : []));
    } catch (error) {
      if (at > 0) {
        this.#broken = true;
        this.#with.duplex.close();
      }
      throw error;
    }
  }

  /** The bytes are read in any case, so that the next request is found behind them. */
  async #writeLong(head: RequestHead): Promise<void> {
    const { reader, export: to } = this.#with;
    if (!(head.length <= MAX_DRAINED)) {
      this.#broken = true;
      return;
    }
    let failure: unknown = null;
    try {
      if (this.#stopping) throw new RequestError(NbdError.ESHUTDOWN, "The server is shutting down");
      this.#check(head);
    } catch (error) {
      failure = error;
    }
    for (let at = 0; at < head.length; at += PIECE) {
      const part = Math.min(PIECE, head.length - at);
      if (failure !== null) {
        await reader.skip(part);
        continue;
      }
      const bytes = await this.#payload(part);
      try {
        await runAsync(to.backend.write(bytes, head.offset + at, { fua: (head.flags & CommandFlag.fua) !== 0 }));
      } catch (error) {
        failure = error;
      }
      this.#pool.give(bytes);
    }
    await this.#answer(head, () => (failure === null ? this.#done(head) : Promise.reject(failure as Error)));
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
    const view = viewOf(bytes);
    view.setUint32(0, SIMPLE_REPLY_MAGIC);
    view.setUint32(4, error);
    view.setUint32(8, head.cookieHi);
    view.setUint32(12, head.cookieLo);
    return bytes;
  }

  #chunk(head: RequestHead, type: number, length: number, last: boolean): Uint8Array {
    const { extended } = this.#with;
    const bytes = new Uint8Array(extended ? 32 : 20);
    const view = viewOf(bytes);
    view.setUint32(0, extended ? EXTENDED_CHUNK_MAGIC : CHUNK_MAGIC);
    view.setUint16(4, last ? CHUNK_DONE : 0);
    view.setUint16(6, type);
    view.setUint32(8, head.cookieHi);
    view.setUint32(12, head.cookieLo);
    if (extended) {
      writeU64BE(view, 16, head.offset);
      writeU64BE(view, 24, length);
    } else view.setUint32(16, length);
    return bytes;
  }
}

/** What an error is called on the wire. */
function wireError(error: unknown): number {
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
