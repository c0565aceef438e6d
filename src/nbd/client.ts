/// <reference lib="esnext.disposable" preserve="true" />
/** An NBD client: many requests in flight over one connection. */
import { BlockError, type Errno } from "../base/error.js";
import { decodeText, readU64BE, viewOf, writeU64BE } from "../base/bytes.js";
import {
  CHUNK_DONE,
  CHUNK_MAGIC,
  ChunkType,
  Command,
  CommandFlag,
  ExportFlag,
  EXTENDED_CHUNK_MAGIC,
  EXTENDED_REQUEST_MAGIC,
  MAX_OPTION,
  MAX_PAYLOAD,
  Option,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
} from "./constants.js";
import { MessageWriter, type ByteReader, type Duplex } from "./duplex.js";
import type { Extent } from "./export.js";
import { Negotiation, protocolError, type ExportInfo } from "./handshake-client.js";
import type { StartTls } from "./tls.js";

export interface NbdClientOptions {
  exportName?: string;
  /** Metadata contexts to ask for. */
  contexts?: readonly string[];
  /** TLS before anything else. */
  startTls?: StartTls | undefined;
}

interface Pending {
  command: number;
  offset: number;
  /** Where a read's bytes go. */
  into: Uint8Array | null;
  received: number;
  extents: Map<number, Extent[]>;
  failure: BlockError | null;
  resolve(): void;
  reject(error: unknown): void;
}

const ERRNO: Record<number, Errno> = {
  1: "EPERM",
  5: "EIO",
  12: "ENOMEM",
  22: "EINVAL",
  28: "ENOSPC",
  75: "EOVERFLOW",
  95: "ENOTSUP",
  108: "ESHUTDOWN",
};
/** A connection to an export of an NBD server. Offsets and lengths are bytes, and may be of any size: long requests are split. */
export class NbdClient {
  /** What the server said about the export. */
  readonly info: ExportInfo;
  readonly #duplex: Duplex;
  readonly #reader: ByteReader;
  readonly #writer: MessageWriter;
  readonly #structured: boolean;
  readonly #extended: boolean;
  readonly #contextIds: ReadonlyMap<number, string>;
  readonly #pending = new Map<number, Pending>();
  #cookie = 0;
  #closed: Error | null = null;
  /** Resolves when the connection has ended, with why. */
  readonly ended: Promise<unknown>;

  private constructor(negotiation: Negotiation, info: ExportInfo) {
    this.info = info;
    this.#duplex = negotiation.duplex;
    this.#reader = negotiation.reader;
    this.#writer = new MessageWriter(negotiation.duplex);
    this.#structured = negotiation.structured;
    this.#extended = negotiation.extended;
    this.#contextIds = negotiation.contextIds;
    this.ended = this.#listen();
  }

  static async connect(duplex: Duplex, options: NbdClientOptions = {}): Promise<NbdClient> {
    const negotiation = new Negotiation(duplex);
    const name = options.exportName ?? "";
    try {
      await negotiation.begin(options.startTls);
      await negotiation.setContexts(name, options.contexts ?? ["base:allocation"]);
      const info = await negotiation.choose(Option.go, name);
      info.contexts = [...negotiation.contextIds.values()];
      return new NbdClient(negotiation, info);
    } catch (error) {
      negotiation.duplex.close();
      throw error;
    }
  }

  /** Bytes. */
  get size(): number {
    return this.info.size;
  }
  get canBlockStatus(): boolean {
    return this.#contextIds.size > 0;
  }
  has(flag: number): boolean {
    return (this.info.flags & flag) !== 0;
  }
  get readOnly(): boolean {
    return this.has(ExportFlag.readOnly);
  }
  get isClosed(): boolean {
    return this.#closed !== null;
  }

  // ---- requests ---------------------------------------------------------------------------------------------------

  async read(into: Uint8Array, offset: number): Promise<void> {
    await this.#split(into.length, (at, length) =>
      this.#request(Command.read, 0, offset + at, length, null, into.subarray(at, at + length)),
    );
  }
  async write(from: Uint8Array, offset: number, fua = false): Promise<void> {
    await this.#split(from.length, (at, length) =>
      this.#request(Command.write, fua ? CommandFlag.fua : 0, offset + at, length, from.subarray(at, at + length), null),
    );
  }
  async flush(): Promise<void> {
    if (this.has(ExportFlag.flush)) await this.#request(Command.flush, 0, 0, 0, null, null);
  }
  async trim(offset: number, length: number): Promise<void> {
    await this.#splitLong(offset, length, (at, part) => this.#request(Command.trim, 0, at, part, null, null));
  }
  async writeZeroes(offset: number, length: number, flags: { mayUnmap?: boolean; fast?: boolean } = {}): Promise<void> {
    const bits = (flags.mayUnmap === true ? 0 : CommandFlag.noHole) | (flags.fast === true ? CommandFlag.fastZero : 0);
    await this.#splitLong(offset, length, (at, part) => this.#request(Command.writeZeroes, bits, at, part, null, null));
  }
  /**
   * Extents of the first agreed context (or of `context`) from `offset` on, at least one; perhaps fewer than the range has.
   * Flags of `base:allocation`: 1 hole, 2 reads as zeros. Of `qemu:dirty-bitmap:NAME`: 1 dirty.
   */
  async blockStatus(offset: number, length: number, context?: string): Promise<Extent[]> {
    const id = [...this.#contextIds].find(([, name]) => context === undefined || name === context)?.[0];
    if (id === undefined)
      throw new BlockError(
        "ERR_UNSUPPORTED",
        `The NBD server does not offer the metadata context '${context ?? "base:allocation"}'`,
      );
    const pending = await this.#request(Command.blockStatus, 0, offset, Math.min(length, 0x7fffffff), null, null);
    const extents = pending.extents.get(id);
    if (extents === undefined || extents.length === 0) throw protocolError("no block status came");
    return extents;
  }

  async #split(length: number, work: (at: number, length: number) => Promise<unknown>): Promise<void> {
    const most = Math.max(this.info.minBlock, this.info.maxBlock);
    // One after the other: not every medium makes who sends too much wait.
    for (let at = 0; at < length; at += most) await work(at, Math.min(most, length - at));
  }
  async #splitLong(offset: number, length: number, work: (at: number, length: number) => Promise<unknown>): Promise<void> {
    const most = 0x7fffffff - (0x7fffffff % 65536);
    for (let at = 0; at < length; at += most) await work(offset + at, Math.min(most, length - at));
  }

  #request(
    command: number,
    flags: number,
    offset: number,
    length: number,
    payload: Uint8Array | null,
    into: Uint8Array | null,
  ): Promise<Pending> {
    if (this.#closed !== null) return Promise.reject(this.#lost());
    const cookie = (this.#cookie = (this.#cookie + 1) % 0xffffffff);
    const head = this.#head(command, flags, cookie, offset, length);
    return new Promise((resolve, reject) => {
      const pending: Pending = {
        command,
        offset,
        into,
        received: 0,
        extents: new Map(),
        failure: null,
        resolve: () => resolve(pending),
        reject,
      };
      this.#pending.set(cookie, pending);
      this.#writer.send(payload === null ? [head] : [head, payload]).catch((error: unknown) => this.#end(error));
    });
  }

  #head(command: number, flags: number, cookie: number, offset: number, length: number): Uint8Array {
    const head = new Uint8Array(this.#extended ? 32 : 28);
    const view = viewOf(head);
    view.setUint32(0, this.#extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC);
    view.setUint16(4, this.#extended && command === Command.write ? flags | CommandFlag.payloadLength : flags);
    view.setUint16(6, command);
    view.setUint32(12, cookie);
    writeU64BE(view, 16, offset);
    if (this.#extended) writeU64BE(view, 24, length);
    else view.setUint32(24, length);
    return head;
  }

  async close(): Promise<void> {
    if (this.#closed !== null) return;
    await this.#writer.send([this.#head(Command.disconnect, 0, 0, 0, 0)]).catch(() => {});
    this.#end(new Error("The connection was closed"));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // ---- replies ----------------------------------------------------------------------------------------------------

  async #listen(): Promise<unknown> {
    try {
      for (;;) await this.#reply();
    } catch (error) {
      this.#end(error);
      return error;
    }
  }

  #end(error: unknown): void {
    if (this.#closed !== null) return;
    this.#closed = error instanceof Error ? error : new Error("the connection was closed");
    this.#duplex.close();
    const lost = this.#lost();
    for (const pending of this.#pending.values()) pending.reject(lost);
    this.#pending.clear();
  }
  #lost(): BlockError {
    return new BlockError("ERR_IO", `The NBD connection is lost: ${this.#closed!.message}`, {
      errno: "EIO",
      cause: this.#closed,
    });
  }

  async #reply(): Promise<void> {
    const head = (await this.#reader.read(this.#extended ? 32 : 16)).slice();
    const view = viewOf(head);
    const magic = view.getUint32(0);
    const pending = view.getUint32(8) === 0 ? this.#pending.get(view.getUint32(12)) : undefined;
    if (pending === undefined) throw protocolError("a reply to a request that was not made");
    if (this.#extended) {
      if (magic !== EXTENDED_CHUNK_MAGIC) throw protocolError("bad reply magic");
      await this.#chunk(pending, view.getUint16(6), readU64BE(view, 24));
      if ((view.getUint16(4) & CHUNK_DONE) !== 0) this.#settle(view.getUint32(12), pending, false);
      return;
    }
    if (magic === SIMPLE_REPLY_MAGIC) {
      const code = view.getUint32(4);
      if (code !== 0) pending.failure = remoteError(code, "");
      else if (pending.into !== null) {
        if (this.#structured) throw protocolError("a simple reply to a read after structured replies were agreed on");
        await this.#reader.readInto(pending.into);
      }
      this.#settle(view.getUint32(12), pending, true);
      return;
    }
    if (magic !== CHUNK_MAGIC || !this.#structured) throw protocolError("bad reply magic");
    const length = viewOf(await this.#reader.read(4)).getUint32(0);
    await this.#chunk(pending, view.getUint16(6), length);
    if ((view.getUint16(4) & CHUNK_DONE) !== 0) this.#settle(view.getUint32(12), pending, false);
  }

  async #chunk(pending: Pending, type: number, length: number): Promise<void> {
    switch (type) {
      case ChunkType.none:
        if (length !== 0) throw protocolError("an empty chunk has a length");
        return;
      case ChunkType.data: {
        if (length < 8) throw protocolError("a data chunk is too short");
        const at = readU64BE(viewOf(await this.#reader.read(8)), 0) - pending.offset;
        await this.#reader.readInto(this.#part(pending, at, length - 8));
        return;
      }
      case ChunkType.hole: {
        if (length !== 12) throw protocolError("a hole chunk has a wrong length");
        const view = viewOf(await this.#reader.read(12));
        this.#part(pending, readU64BE(view, 0) - pending.offset, view.getUint32(8)).fill(0);
        return;
      }
      case ChunkType.blockStatus:
      case ChunkType.blockStatusExtended: {
        const wide = type === ChunkType.blockStatusExtended;
        const [start, stride] = wide ? [8, 16] : [4, 8];
        if (wide !== this.#extended || length < start + stride || (length - start) % stride !== 0 || length > MAX_PAYLOAD)
          throw protocolError("a block status chunk has a wrong length");
        const bytes = (await this.#reader.read(length)).slice();
        pending.extents.set(viewOf(bytes).getUint32(0), readExtents(bytes, start, wide));
        return;
      }
      default: {
        if (length > MAX_OPTION) throw protocolError("an error chunk is too long");
        const bytes = (await this.#reader.read(length)).slice();
        if (type < 0x8000) throw protocolError(`an unknown chunk type ${type}`);
        if (length < 6) throw protocolError("an error chunk is too short");
        const text = decodeText(bytes.subarray(6, 6 + viewOf(bytes).getUint16(4)));
        pending.failure ??= remoteError(viewOf(bytes).getUint32(0), text);
      }
    }
  }

  /** The place for a part of a read; what lies outside of it breaks the protocol. */
  #part(pending: Pending, at: number, length: number): Uint8Array {
    if (pending.into === null || at < 0 || !Number.isFinite(at) || length === 0 || at + length > pending.into.length) {
      throw protocolError("data that was not asked for");
    }
    pending.received += length;
    return pending.into.subarray(at, at + length);
  }

  #settle(cookie: number, pending: Pending, simple: boolean): void {
    this.#pending.delete(cookie);
    if (pending.failure === null && pending.into !== null && !simple && pending.received !== pending.into.length) {
      pending.failure = protocolError("a read came back incomplete");
    }
    if (pending.failure !== null) pending.reject(pending.failure);
    else pending.resolve();
  }
}

function readExtents(bytes: Uint8Array, start: number, wide: boolean): Extent[] {
  const view = viewOf(bytes);
  const extents: Extent[] = [];
  for (let at = start; at < bytes.length; at += wide ? 16 : 8) {
    const length = wide ? readU64BE(view, at) : view.getUint32(at);
    const flags = wide ? readU64BE(view, at + 8) : view.getUint32(at + 4);
    if (!Number.isSafeInteger(length)) throw protocolError("an extent is too long");
    if (length > 0) extents.push({ length, flags });
  }
  return extents;
}

function remoteError(code: number, text: string): BlockError {
  const errno = ERRNO[code] ?? "EINVAL";
  return new BlockError(
    errno === "ENOSPC"
      ? "ERR_NO_SPACE"
      : errno === "EPERM"
        ? "ERR_PERMISSION"
        : errno === "ENOTSUP"
          ? "ERR_UNSUPPORTED"
          : "ERR_IO",
    text === "" ? `The NBD server reports an error (${errno})` : text,
    {
      errno,
    },
  );
}
