/** An NBD client: negotiation and many requests in flight over one connection. */
import { BlockError, type Errno } from "../base/error.js";
import { decodeText, encodeText, readU64BE, viewOf, writeU64BE } from "../base/bytes.js";
import {
  CHUNK_DONE,
  CHUNK_MAGIC,
  ChunkType,
  Command,
  CommandFlag,
  ExportFlag,
  HandshakeFlag,
  Info,
  MAX_OPTION,
  MAX_PAYLOAD,
  NBD_MAGIC,
  Option,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC_HI,
  OPTION_REPLY_MAGIC_LO,
  Reply,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
} from "./constants.js";
import { ByteReader, MessageWriter, type Duplex } from "./duplex.js";
import type { Extent } from "./export.js";

export interface NbdClientOptions {
  exportName?: string;
  /** Metadata contexts to ask for. */
  contexts?: readonly string[];
  /** TLS before anything else; the duplex must be able to. */
  tls?: boolean;
}

export interface ExportInfo {
  name: string;
  description: string;
  size: number;
  flags: number;
  minBlock: number;
  preferredBlock: number;
  maxBlock: number;
  contexts: string[];
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
/** Names of exports a server may list. */
const MAX_LISTED = 10_000;

function protocolError(message: string): BlockError {
  return new BlockError("ERR_IO", `NBD server: ${message}`, { errno: "EINVAL" });
}

/** The negotiation as the client sees it. */
class Negotiation {
  duplex: Duplex;
  reader: ByteReader;
  structured = false;
  readonly contextIds: Map<number, string> = new Map();

  constructor(duplex: Duplex) {
    this.duplex = duplex;
    this.reader = new ByteReader(duplex);
  }

  async begin(tls: boolean): Promise<void> {
    const hello = (await this.reader.read(18)).slice();
    if (decodeText(hello.subarray(0, 8)) !== NBD_MAGIC) throw protocolError("it does not speak NBD");
    if (decodeText(hello.subarray(8, 16)) !== OPTION_MAGIC) throw protocolError("the old style of negotiation is not supported");
    const flags = viewOf(hello).getUint16(16);
    if ((flags & HandshakeFlag.fixedNewstyle) === 0) throw protocolError("fixed newstyle negotiation is not offered");
    const answer = new Uint8Array(4);
    viewOf(answer).setUint32(0, HandshakeFlag.fixedNewstyle | (flags & HandshakeFlag.noZeroes));
    await this.duplex.write([answer]);
    if (tls) await this.#startTls();
    this.structured = (await this.ask(Option.structuredReply, new Uint8Array(0))).ok;
  }

  async #startTls(): Promise<void> {
    if (this.duplex.startTls === undefined)
      throw new BlockError("ERR_UNSUPPORTED", "TLS is not possible on this kind of connection");
    const { ok, message } = await this.ask(Option.startTls, new Uint8Array(0));
    if (!ok) throw protocolError(`TLS was refused: ${message}`);
    this.duplex = await this.duplex.startTls();
    this.reader = new ByteReader(this.duplex);
  }

  async #send(option: number, data: Uint8Array): Promise<void> {
    const head = new Uint8Array(16);
    head.set(encodeText(OPTION_MAGIC));
    viewOf(head).setUint32(8, option);
    viewOf(head).setUint32(12, data.length);
    await this.duplex.write([head, data]);
  }

  /** Takes leave of the server, so that it does not complain of a lost connection. Its answer is not waited for. */
  async abort(): Promise<void> {
    await this.#send(Option.abort, new Uint8Array(0)).catch(() => {});
  }

  /** Sends an option and collects its replies up to the last one. */
  async ask(
    option: number,
    data: Uint8Array,
    hear: (type: number, data: Uint8Array) => void = () => {},
  ): Promise<{ ok: boolean; code: number; message: string }> {
    await this.#send(option, data);
    for (let replies = 0; replies < MAX_LISTED; replies++) {
      const reply = (await this.reader.read(20)).slice();
      const view = viewOf(reply);
      if (view.getUint32(0) !== OPTION_REPLY_MAGIC_HI || view.getUint32(4) !== OPTION_REPLY_MAGIC_LO)
        throw protocolError("bad reply magic");
      if (view.getUint32(8) !== option) throw protocolError("a reply to another option");
      const type = view.getUint32(12);
      const length = view.getUint32(16);
      if (length > MAX_OPTION) throw protocolError("a reply is too long");
      const body = (await this.reader.read(length)).slice();
      if (type === Reply.ack) return { ok: true, code: type, message: "" };
      if (type >= 0x80000000) return { ok: false, code: type, message: decodeText(body) };
      hear(type, body);
    }
    throw protocolError("too many replies");
  }

  async setContexts(exportName: string, contexts: readonly string[]): Promise<void> {
    if (!this.structured || contexts.length === 0) return;
    await this.ask(Option.setMetaContext, contextData(exportName, contexts), (type, data) => {
      if (type === Reply.metaContext && data.length >= 4)
        this.contextIds.set(viewOf(data).getUint32(0), decodeText(data.subarray(4)));
    });
  }

  async listContexts(exportName: string): Promise<string[]> {
    const found: string[] = [];
    if (!this.structured) return found;
    await this.ask(Option.listMetaContext, contextData(exportName, []), (type, data) => {
      if (type === Reply.metaContext && data.length >= 4) found.push(decodeText(data.subarray(4)));
    });
    return found;
  }

  /** Asks about an export (`info`), or enters it (`go`). */
  async choose(option: number, name: string): Promise<ExportInfo> {
    const bytes = encodeText(name);
    const wanted = [Info.description, Info.blockSize];
    const data = new Uint8Array(6 + bytes.length + 2 * wanted.length);
    const view = viewOf(data);
    view.setUint32(0, bytes.length);
    data.set(bytes, 4);
    view.setUint16(4 + bytes.length, wanted.length);
    wanted.forEach((type, i) => view.setUint16(6 + bytes.length + 2 * i, type));
    const info: ExportInfo = {
      name,
      description: "",
      size: -1,
      flags: 0,
      minBlock: 1,
      preferredBlock: 4096,
      maxBlock: MAX_PAYLOAD,
      contexts: [],
    };
    const { ok, code, message } = await this.ask(option, data, (type, body) => {
      if (type === Reply.info && body.length >= 2) hearInfo(info, body);
    });
    if (!ok) {
      await this.abort();
      throw new BlockError(
        "ERR_NOT_FOUND",
        code === Reply.unknown ? `Requested export not available` : `NBD server refused the export '${name}': ${message}`,
        {
          errno: "EINVAL",
          ...(message === "" ? {} : { hint: `server reported: ${message}` }),
        },
      );
    }
    if (info.size < 0 || !Number.isSafeInteger(info.size)) throw protocolError("the export has no valid size");
    return info;
  }
}

function contextData(exportName: string, contexts: readonly string[]): Uint8Array {
  const name = encodeText(exportName);
  const queries = contexts.map(encodeText);
  const data = new Uint8Array(8 + name.length + queries.reduce((sum, query) => sum + 4 + query.length, 0));
  const view = viewOf(data);
  view.setUint32(0, name.length);
  data.set(name, 4);
  let at = 4 + name.length;
  view.setUint32(at, queries.length);
  at += 4;
  for (const query of queries) {
    view.setUint32(at, query.length);
    data.set(query, at + 4);
    at += 4 + query.length;
  }
  return data;
}

function hearInfo(info: ExportInfo, body: Uint8Array): void {
  const view = viewOf(body);
  switch (view.getUint16(0)) {
    case Info.export:
      if (body.length !== 12) throw protocolError("a wrong length of export information");
      info.size = readU64BE(view, 2);
      info.flags = view.getUint16(10);
      return;
    case Info.description:
      info.description = decodeText(body.subarray(2));
      return;
    case Info.blockSize:
      if (body.length !== 14) throw protocolError("a wrong length of block sizes");
      info.minBlock = view.getUint32(2);
      info.preferredBlock = view.getUint32(6);
      info.maxBlock = Math.min(view.getUint32(10), MAX_PAYLOAD);
  }
}

/** All exports of a server. The connection is closed afterwards. */
export async function listExports(duplex: Duplex, tls = false): Promise<ExportInfo[]> {
  const negotiation = new Negotiation(duplex);
  try {
    await negotiation.begin(tls);
    const names: string[] = [];
    const { ok, message } = await negotiation.ask(Option.list, new Uint8Array(0), (type, data) => {
      if (type !== Reply.server || data.length < 4) return;
      const length = viewOf(data).getUint32(0);
      if (length <= data.length - 4) names.push(decodeText(data.subarray(4, 4 + length)));
    });
    if (!ok) throw protocolError(`listing exports was refused: ${message}`);
    const found: ExportInfo[] = [];
    for (const name of names) {
      const info = await negotiation.choose(Option.info, name);
      info.contexts = await negotiation.listContexts(name);
      found.push(info);
    }
    await negotiation.ask(Option.abort, new Uint8Array(0)).catch(() => {});
    return found;
  } finally {
    negotiation.duplex.close();
  }
}

export class NbdClient {
  readonly info: ExportInfo;
  readonly #duplex: Duplex;
  readonly #reader: ByteReader;
  readonly #writer: MessageWriter;
  readonly #structured: boolean;
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
    this.#contextIds = negotiation.contextIds;
    this.ended = this.#listen();
  }

  static async connect(duplex: Duplex, options: NbdClientOptions = {}): Promise<NbdClient> {
    const negotiation = new Negotiation(duplex);
    const name = options.exportName ?? "";
    try {
      await negotiation.begin(options.tls === true);
      await negotiation.setContexts(name, options.contexts ?? ["base:allocation"]);
      const info = await negotiation.choose(Option.go, name);
      info.contexts = [...negotiation.contextIds.values()];
      return new NbdClient(negotiation, info);
    } catch (error) {
      negotiation.duplex.close();
      throw error;
    }
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
  /** Extents of the first agreed context (or of `context`) from `offset` on. */
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
    if (length <= most) {
      await work(0, length);
      return;
    }
    const parts: Promise<unknown>[] = [];
    for (let at = 0; at < length; at += most) parts.push(work(at, Math.min(most, length - at)));
    await Promise.all(parts);
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
    const head = new Uint8Array(28);
    const view = viewOf(head);
    view.setUint32(0, REQUEST_MAGIC);
    view.setUint16(4, flags);
    view.setUint16(6, command);
    view.setUint32(12, cookie);
    writeU64BE(view, 16, offset);
    view.setUint32(24, length);
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

  async close(): Promise<void> {
    if (this.#closed !== null) return;
    const head = new Uint8Array(28);
    viewOf(head).setUint32(0, REQUEST_MAGIC);
    viewOf(head).setUint16(6, Command.disconnect);
    await this.#writer.send([head]).catch(() => {});
    this.#end(new Error("The connection was closed"));
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
    const head = (await this.#reader.read(16)).slice();
    const view = viewOf(head);
    const magic = view.getUint32(0);
    const pending = view.getUint32(8) === 0 ? this.#pending.get(view.getUint32(12)) : undefined;
    if (pending === undefined) throw protocolError("a reply to a request that was not made");
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
      case ChunkType.blockStatus: {
        if (length < 12 || (length - 4) % 8 !== 0 || length > MAX_PAYLOAD)
          throw protocolError("a block status chunk has a wrong length");
        const bytes = (await this.#reader.read(length)).slice();
        const view = viewOf(bytes);
        const extents: Extent[] = [];
        for (let at = 4; at < length; at += 8) {
          if (view.getUint32(at) > 0) extents.push({ length: view.getUint32(at), flags: view.getUint32(at + 4) });
        }
        pending.extents.set(view.getUint32(0), extents);
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
