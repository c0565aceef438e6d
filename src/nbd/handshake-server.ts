/** The server's side of option haggling (fixed newstyle). */
import { encodeText, decodeText, viewOf, writeU64BE } from "../base/bytes.js";
import {
  HandshakeFlag,
  Info,
  MAX_NAME,
  MAX_OPTION,
  NBD_MAGIC,
  Option,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC_HI,
  OPTION_REPLY_MAGIC_LO,
  Reply,
  MAX_PAYLOAD,
} from "./constants.js";
import { ByteReader, type Duplex } from "./duplex.js";
import type { StartTls } from "./tls.js";
import { contextsFor, exportFlags, minimumBlock, type NbdExport } from "./export.js";

export interface HandshakeHost {
  /** The export of that name; "" is the default one. */
  find(name: string): NbdExport | null;
  list(): readonly NbdExport[];
  /** TLS must be started before anything else. */
  readonly tlsRequired: boolean;
  /** Starts TLS on the connection; null where there are no credentials. */
  readonly startTls: StartTls | null;
}

/** What was agreed on. */
export interface Agreement {
  duplex: Duplex;
  reader: ByteReader;
  export: NbdExport;
  structured: boolean;
  extended: boolean;
  /** Metadata contexts by the id that block status replies carry. */
  contexts: ReadonlyMap<number, string>;
}

/** The client has ended the negotiation, or broke its rules so that the connection ends. */
class HandshakeEnded extends Error {}
/** It took its leave. */
export class ClientLeft extends HandshakeEnded {}

class OptionError extends Error {
  readonly reply: number;
  constructor(reply: number, message: string) {
    super(message);
    this.reply = reply;
  }
}

/** Characters of a name that messages show. */
const MAX_SHOWN_NAME = 80;
const shortName = (name: string): string => (name.length < MAX_SHOWN_NAME ? name : `${name.slice(0, MAX_SHOWN_NAME)}...`);

/** Metadata contexts a client may select at most. */
const MAX_CONTEXTS = 64;

export async function serverHandshake(first: Duplex, host: HandshakeHost): Promise<Agreement> {
  return await new Handshake(first, host).run();
}

function optionReply(option: number, type: number, length: number): Uint8Array {
  const head = new Uint8Array(20);
  const view = viewOf(head);
  view.setUint32(0, OPTION_REPLY_MAGIC_HI);
  view.setUint32(4, OPTION_REPLY_MAGIC_LO);
  view.setUint32(8, option);
  view.setUint32(12, type);
  view.setUint32(16, length);
  return head;
}

class Handshake {
  #duplex: Duplex;
  #reader: ByteReader;
  readonly #host: HandshakeHost;
  #noZeroes = false;
  #structured = false;
  #extended = false;
  #tls = false;
  #contexts: Map<number, string> = new Map();
  #contextExport: string | null = null;

  constructor(duplex: Duplex, host: HandshakeHost) {
    this.#duplex = duplex;
    this.#reader = new ByteReader(duplex);
    this.#host = host;
  }

  async run(): Promise<Agreement> {
    const hello = new Uint8Array(18);
    hello.set(encodeText(NBD_MAGIC));
    hello.set(encodeText(OPTION_MAGIC), 8);
    viewOf(hello).setUint16(16, HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes);
    await this.#duplex.write([hello]);
    const flags = viewOf(await this.#reader.read(4)).getUint32(0);
    if ((flags & ~(HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes)) !== 0)
      throw new HandshakeEnded("The client set unknown handshake flags");
    const fixed = (flags & HandshakeFlag.fixedNewstyle) !== 0;
    this.#noZeroes = (flags & HandshakeFlag.noZeroes) !== 0;
    for (;;) {
      const chosen = await this.#option(fixed);
      if (chosen !== null) return this.#agree(chosen);
    }
  }

  #agree(chosen: NbdExport): Agreement {
    const contexts = this.#contextExport === chosen.name ? this.#contexts : new Map<number, string>();
    return {
      duplex: this.#duplex,
      reader: this.#reader,
      export: chosen,
      structured: this.#structured,
      extended: this.#extended,
      contexts,
    };
  }

  /** Handles one option; the export once one is entered. */
  async #option(fixed: boolean): Promise<NbdExport | null> {
    const head = await this.#reader.read(16);
    if (decodeText(head.subarray(0, 8)) !== OPTION_MAGIC) throw new HandshakeEnded("Bad option magic");
    const option = viewOf(head).getUint32(8);
    const length = viewOf(head).getUint32(12);
    try {
      if (length > MAX_OPTION) {
        // A promise to send gigabytes is not waited for.
        if (length > MAX_PAYLOAD) throw new HandshakeEnded("The option is too long");
        await this.#reader.skip(length);
        throw new OptionError(Reply.tooBig, "The option is too long");
      }
      const data = (await this.#reader.read(length)).slice();
      if (!fixed && option !== Option.exportName) throw new HandshakeEnded("The client speaks no fixed newstyle");
      return await this.#answer(option, data);
    } catch (error) {
      if (!(error instanceof OptionError)) throw error;
      await this.#reply(option, error.reply, encodeText(error.message));
      return null;
    }
  }

  async #answer(option: number, data: Uint8Array): Promise<NbdExport | null> {
    if (this.#host.tlsRequired && !this.#tls && option !== Option.startTls && option !== Option.abort) {
      if (option === Option.exportName) throw new HandshakeEnded("TLS is required");
      throw new OptionError(Reply.tlsRequired, `Option 0x${option.toString(16)} not permitted before TLS`);
    }
    switch (option) {
      case Option.exportName:
        return await this.#exportName(data);
      case Option.abort:
        await this.#reply(option, Reply.ack).catch(() => {});
        throw new ClientLeft("The client aborted the negotiation");
      case Option.list:
        return await this.#list(data);
      case Option.startTls:
        return await this.#startTls(data);
      case Option.info:
      case Option.go:
        return await this.#go(option, data);
      case Option.structuredReply:
        this.#empty(data);
        if (this.#extended) throw new OptionError(Reply.invalid, "Extended headers are in use already");
        this.#structured = true;
        await this.#reply(option, Reply.ack);
        return null;
      case Option.extendedHeaders:
        this.#empty(data);
        this.#structured = true;
        this.#extended = true;
        await this.#reply(option, Reply.ack);
        return null;
      case Option.listMetaContext:
      case Option.setMetaContext:
        return await this.#metaContext(option, data);
      default:
        throw new OptionError(Reply.unsupported, `Unsupported option ${option}`);
    }
  }

  #empty(data: Uint8Array): void {
    if (data.length > 0) throw new OptionError(Reply.invalid, "The option takes no data");
  }

  async #reply(option: number, type: number, data: Uint8Array = new Uint8Array(0)): Promise<void> {
    await this.#duplex.write([optionReply(option, type, data.length), data]);
  }

  async #exportName(data: Uint8Array): Promise<NbdExport> {
    const found = data.length > MAX_NAME ? null : this.#host.find(decodeText(data));
    if (found === null) throw new HandshakeEnded("There is no export of that name");
    const answer = new Uint8Array(this.#noZeroes ? 10 : 134);
    writeU64BE(viewOf(answer), 0, found.backend.size);
    viewOf(answer).setUint16(8, exportFlags(found, this.#structured));
    await this.#duplex.write([answer]);
    return found;
  }

  async #list(data: Uint8Array): Promise<null> {
    this.#empty(data);
    for (const item of this.#host.list()) {
      const name = encodeText(item.name);
      const text = encodeText(item.description);
      const answer = new Uint8Array(4 + name.length + text.length);
      viewOf(answer).setUint32(0, name.length);
      answer.set(name, 4);
      answer.set(text, 4 + name.length);
      await this.#reply(Option.list, Reply.server, answer);
    }
    await this.#reply(Option.list, Reply.ack);
    return null;
  }

  async #startTls(data: Uint8Array): Promise<null> {
    this.#empty(data);
    if (this.#host.startTls === null) throw new OptionError(Reply.policy, "TLS not configured");
    if (this.#tls) throw new OptionError(Reply.invalid, "TLS is in use already");
    // What follows in the clear must not be taken for something that came encrypted (CVE-2021-3716).
    if (this.#reader.buffered > 0) throw new HandshakeEnded("The client sent data ahead of the TLS handshake");
    this.#duplex = await this.#host.startTls(this.#duplex, [optionReply(Option.startTls, Reply.ack, 0)]);
    this.#reader = new ByteReader(this.#duplex);
    this.#tls = true;
    this.#structured = false;
    this.#extended = false;
    this.#contexts = new Map();
    this.#contextExport = null;
    return null;
  }

  async #go(option: number, data: Uint8Array): Promise<NbdExport | null> {
    const view = viewOf(data);
    const nameLength = data.length >= 4 ? view.getUint32(0) : Infinity;
    if (nameLength > data.length - 6) throw new OptionError(Reply.invalid, "The option is too short");
    if (nameLength > MAX_NAME) throw new OptionError(Reply.tooBig, "The export name is too long");
    const name = decodeText(data.subarray(4, 4 + nameLength));
    const count = view.getUint16(4 + nameLength);
    if (data.length !== 6 + nameLength + 2 * count) throw new OptionError(Reply.invalid, "The option has a wrong length");
    const wanted = new Set<number>();
    for (let i = 0; i < count; i++) wanted.add(view.getUint16(6 + nameLength + 2 * i));
    const found = this.#host.find(name);
    if (found === null) throw new OptionError(Reply.unknown, `export '${shortName(name)}' not present`);
    if (wanted.has(Info.name)) await this.#info(option, Info.name, encodeText(found.name));
    if (wanted.has(Info.description) && found.description !== "")
      await this.#info(option, Info.description, encodeText(found.description));
    const sizes = new Uint8Array(12);
    // Who has not heard of it may ask for any range.
    viewOf(sizes).setUint32(0, option === Option.info || wanted.has(Info.blockSize) ? minimumBlock(found) : 1);
    viewOf(sizes).setUint32(4, found.preferredBlock);
    viewOf(sizes).setUint32(8, MAX_PAYLOAD);
    await this.#info(option, Info.blockSize, sizes);
    const facts = new Uint8Array(10);
    writeU64BE(viewOf(facts), 0, found.backend.size);
    viewOf(facts).setUint16(8, exportFlags(found, this.#structured));
    await this.#info(option, Info.export, facts);
    await this.#reply(option, Reply.ack);
    return option === Option.go ? found : null;
  }

  async #info(option: number, type: number, data: Uint8Array): Promise<void> {
    const answer = new Uint8Array(2 + data.length);
    viewOf(answer).setUint16(0, type);
    answer.set(data, 2);
    await this.#reply(option, Reply.info, answer);
  }

  async #metaContext(option: number, data: Uint8Array): Promise<null> {
    if (!this.#structured) throw new OptionError(Reply.invalid, "Structured replies must be negotiated first");
    const view = viewOf(data);
    let at = 0;
    const text = (): string => {
      if (at + 4 > data.length) throw new OptionError(Reply.invalid, "The option is too short");
      const length = view.getUint32(at);
      at += 4;
      if (length > MAX_NAME) throw new OptionError(Reply.tooBig, "A name is too long");
      if (length > data.length - at) throw new OptionError(Reply.invalid, "The option is too short");
      at += length;
      return decodeText(data.subarray(at - length, at));
    };
    const name = text();
    if (at + 4 > data.length) throw new OptionError(Reply.invalid, "The option is too short");
    const count = view.getUint32(at);
    at += 4;
    const found = this.#host.find(name);
    if (found === null) throw new OptionError(Reply.unknown, `export '${shortName(name)}' not present`);
    const chosen = new Set<string>();
    if (count === 0 && option === Option.listMetaContext) {
      for (const query of ["base:", "qemu:"]) for (const context of contextsFor(found, query)) chosen.add(context);
    }
    for (let i = 0; i < count; i++) {
      for (const context of contextsFor(found, text())) {
        // "base:" asks for a list; only whole names can be set.
        chosen.add(context);
        if (chosen.size > MAX_CONTEXTS) throw new OptionError(Reply.tooBig, "Too many metadata contexts");
      }
    }
    const contexts = new Map<number, string>();
    let id = 0;
    for (const context of chosen) {
      const bytes = encodeText(context);
      const answer = new Uint8Array(4 + bytes.length);
      viewOf(answer).setUint32(0, option === Option.setMetaContext ? ++id : 0);
      answer.set(bytes, 4);
      if (option === Option.setMetaContext) contexts.set(id, context);
      await this.#reply(option, Reply.metaContext, answer);
    }
    if (option === Option.setMetaContext) {
      this.#contexts = contexts;
      this.#contextExport = found.name;
    }
    await this.#reply(option, Reply.ack);
    return null;
  }
}
