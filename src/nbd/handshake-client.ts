/** The client's side of option haggling (fixed newstyle); servers that speak the old style have one export and no options. */
import { BlockError } from "../base/error.js";
import { decodeText, encodeText, equalBytes, readU64BE, viewOf } from "../base/bytes.js";
import {
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
} from "./constants.js";
import { ByteReader, ConnectionEnded, type Duplex } from "./duplex.js";
import type { StartTls } from "./tls.js";

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

/** What the old style says in place of the option magic. */
const OLD_MAGIC: Uint8Array = Uint8Array.of(0, 0, 0x42, 2, 0x81, 0x86, 0x12, 0x53);
/** Names of exports a server may list. */
const MAX_LISTED = 10_000;

export function protocolError(message: string): BlockError {
  return new BlockError("ERR_IO", `NBD server: ${message}`, { errno: "EINVAL" });
}

/** Why a server would not do what an option asks, in QEMU's words. */
function refusal(option: number, code: number, told: string): BlockError {
  const name = OPTION_NAMES[option] ?? "unknown";
  const what = `option ${option} (${name})`;
  const words: Readonly<Record<number, string>> = {
    [Reply.unsupported]: `Server does not support ${what}`,
    [Reply.policy]: `Denied by server for ${what}`,
    [Reply.invalid]: `Invalid parameters for ${what}`,
    [Reply.platform]: `Server lacks support for ${what}`,
    [Reply.tlsRequired]: `TLS negotiation required before ${what}`,
    [Reply.unknown]: "Requested export not available",
    [Reply.shutdown]: `Server shutting down before ${what}`,
    [Reply.blockSizeRequired]: `Server requires INFO_BLOCK_SIZE for ${what}`,
  };
  const hints = [
    ...(code === Reply.tlsRequired ? ["Did you forget a valid tls-creds?"] : []),
    ...(told === "" ? [] : [`server reported: ${told}`]),
  ];
  return new BlockError("ERR_NOT_FOUND", words[code] ?? `Unknown error code when asking for ${what}`, {
    errno: "EINVAL",
    ...(hints.length === 0 ? {} : { hint: hints.join("\n") }),
  });
}

const OPTION_NAMES: Readonly<Record<number, string>> = {
  [Option.list]: "list",
  [Option.startTls]: "starttls",
  [Option.info]: "info",
  [Option.go]: "go",
};

/** The negotiation as the client sees it. */
export class Negotiation {
  duplex: Duplex;
  reader: ByteReader;
  structured = false;
  /** Options have replies. */
  #fixed = true;
  /** 124 zero bytes after entering an export by name are left out. */
  #noZeroes = false;
  /** 64-bit lengths in requests and replies. */
  extended = false;
  readonly contextIds: Map<number, string> = new Map();

  /** What an old server said of its only export. */
  #old: { size: number; flags: number } | null = null;

  constructor(duplex: Duplex) {
    this.duplex = duplex;
    this.reader = new ByteReader(duplex);
  }

  async begin(startTls: StartTls | undefined): Promise<void> {
    const hello = await this.#read(18, "initial magic");
    if (decodeText(hello.subarray(0, 8)) !== NBD_MAGIC) throw protocolError("it does not speak NBD");
    if (equalBytes(hello.subarray(8, 16), OLD_MAGIC)) {
      if (startTls !== undefined) throw protocolError("Server does not support STARTTLS");
      this.#old = await this.#readOld(hello);
      return;
    }
    if (decodeText(hello.subarray(8, 16)) !== OPTION_MAGIC) throw protocolError("the negotiation magic is wrong");
    const flags = viewOf(hello).getUint16(16);
    this.#fixed = (flags & HandshakeFlag.fixedNewstyle) !== 0;
    this.#noZeroes = (flags & HandshakeFlag.noZeroes) !== 0;
    const answer = new Uint8Array(4);
    viewOf(answer).setUint32(0, flags & (HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes));
    await this.duplex.write([answer]);
    if (!this.#fixed) {
      if (startTls !== undefined) throw protocolError("Server does not support STARTTLS");
      return;
    }
    if (startTls !== undefined) {
      await this.must(Option.startTls, new Uint8Array(0));
      if (this.reader.buffered > 0) throw protocolError("it sent data ahead of the TLS handshake");
      this.duplex = await startTls(this.duplex, []);
      this.reader = new ByteReader(this.duplex);
    }
    this.extended = (await this.ask(Option.extendedHeaders, new Uint8Array(0))).ok;
    this.structured = this.extended || (await this.ask(Option.structuredReply, new Uint8Array(0))).ok;
  }

  /** @param hello the first 18 bytes, of which the last two belong to the size */
  async #readOld(hello: Uint8Array): Promise<{ size: number; flags: number }> {
    const rest = await this.#read(6 + 4 + 124, "export flags");
    const bytes = new Uint8Array(12);
    bytes.set(hello.subarray(16));
    bytes.set(rest.subarray(0, 10), 2);
    const flags = viewOf(bytes).getUint32(8);
    if (flags > 0xffff) throw protocolError(`Unexpected export flags 0x${flags.toString(16)}`);
    return { size: readU64BE(viewOf(bytes), 0), flags };
  }

  /** As `ask`; a refusal is an error, after taking leave. */
  async must(option: number, data: Uint8Array, hear?: (type: number, data: Uint8Array) => void): Promise<void> {
    if (this.#old !== null || !this.#fixed) throw protocolError("Server does not support export lists");
    const { ok, code, message } = await this.ask(option, data, hear);
    if (ok) return;
    await this.abort();
    throw refusal(option, code, message);
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
      const reply = await this.#read(20, "option reply");
      const view = viewOf(reply);
      if (view.getUint32(0) !== OPTION_REPLY_MAGIC_HI || view.getUint32(4) !== OPTION_REPLY_MAGIC_LO)
        throw protocolError("bad reply magic");
      if (view.getUint32(8) !== option) throw protocolError("a reply to another option");
      const type = view.getUint32(12);
      const length = view.getUint32(16);
      if (length > MAX_OPTION) throw protocolError("a reply is too long");
      const body = await this.#read(length, "option reply");
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

  /** Bytes of the negotiation, for good. */
  async #read(length: number, what: string): Promise<Uint8Array> {
    try {
      return (await this.reader.read(length)).slice();
    } catch (error) {
      if (!(error instanceof ConnectionEnded)) throw error;
      throw new BlockError("ERR_IO", `Failed to read ${what}: Unexpected end-of-file before all data were read`, {
        errno: "EINVAL",
        cause: error,
      });
    }
  }

  /** Enters an export in the first way there was: a server that has none of that name hangs up. */
  async #enterByName(name: Uint8Array): Promise<{ size: number; flags: number }> {
    await this.#send(Option.exportName, name);
    const answer = viewOf(await this.#read(10, "export length"));
    if (!this.#noZeroes) await this.#read(124, "reserved block");
    return { size: readU64BE(answer, 0), flags: answer.getUint16(8) };
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
    if (this.#old !== null) {
      if (name !== "") throw protocolError("Server does not support non-empty export names");
      Object.assign(info, this.#old);
    } else if (!this.#fixed) Object.assign(info, await this.#enterByName(bytes));
    else {
      const { ok, code, message } = await this.ask(option, data, (type, body) => {
        if (type === Reply.info && body.length >= 2) hearInfo(info, body);
      });
      // Servers that know options but not this one.
      if (code === Reply.unsupported && option === Option.go) Object.assign(info, await this.#enterByName(bytes));
      else if (!ok) {
        await this.abort();
        throw refusal(option, code, message);
      }
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
export async function listExports(duplex: Duplex, startTls?: StartTls): Promise<ExportInfo[]> {
  const negotiation = new Negotiation(duplex);
  try {
    await negotiation.begin(startTls);
    const names: string[] = [];
    await negotiation.must(Option.list, new Uint8Array(0), (type, data) => {
      if (type !== Reply.server || data.length < 4) return;
      const length = viewOf(data).getUint32(0);
      if (length <= data.length - 4) names.push(decodeText(data.subarray(4, 4 + length)));
    });
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
