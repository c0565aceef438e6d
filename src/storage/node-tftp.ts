/**
 * A file on a TFTP server (RFC 1350, options of RFC 2347, block and transfer size of RFC 2348 and 2349) as a read-only storage for
 * Node.js. TFTP only knows how to send a file from its beginning to its end: reading backwards starts it again. What was read lately
 * stays in a cache, so that small images come over once.
 */
import type { Socket } from "node:dgram";
import { BlockError, type ErrorCode } from "../base/error.js";
import { decodeText, encodeText, viewOf } from "../base/bytes.js";
import { BlockCache } from "./shared/block-cache.js";
import { CachedSource } from "./shared/cached-source.js";
import { PartsWriter } from "./shared/parts.js";
import type { Storage } from "./storage.js";

export interface TftpStorageOptions {
  /** Bytes to read ahead at most. */
  readAhead?: number;
  /** How long the server may be silent, in ms; 5000 when absent. */
  timeout?: number;
}

const Opcode = { read: 1, data: 3, acknowledge: 4, error: 5, options: 6 } as const;
const DEFAULT_PORT = 69;
/** Bytes of a packet's data that we ask for: what fits an Ethernet frame. */
const BLOCK_SIZE = 1428;
/** Bytes that a packet may have if the server does not know options. */
const PLAIN_BLOCK = 512;
/** Packets are repeated at these intervals, in ms, until the server has been silent for too long. */
const REPEAT = 500;
const CACHE = 64 * 1024 * 1024;
/** A file larger than this is not read through only to learn its size. */
const MAX_COUNTED = 1024 * 1024 * 1024;

export async function tftpStorage(url: string, options: TftpStorageOptions = {}): Promise<Storage> {
  const parsed = new URL(url);
  const path = decodeURIComponent(parsed.pathname.slice(1)).replace(/;mode=octet$/, "");
  if (parsed.protocol !== "tftp:" || parsed.hostname === "" || path === "" || path.includes("\0"))
    throw new BlockError("ERR_INVALID_ARGUMENT", `'${url}' is not a tftp URL`);
  const file = new TftpFile(
    parsed.href,
    parsed.hostname.replace(/^\[|\]$/g, ""),
    Number(parsed.port || DEFAULT_PORT),
    path,
    options,
  );
  const size = await file.size();
  const cache = new BlockCache({
    size,
    blockSize: 65536,
    budget: CACHE,
    readAhead: options.readAhead ?? 256 * 1024,
    maxRequest: 4 * 1024 * 1024,
    parallel: 1,
    fetch: (parts, offset) => file.read(parts, offset),
  });
  return new CachedSource({ kind: "tftp", name: url, size, cache, onClose: () => file.close() });
}

class TftpFile {
  readonly #url: string;
  readonly #host: string;
  readonly #port: number;
  readonly #path: string;
  readonly #timeout: number;
  #transfer: Transfer | null = null;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(url: string, host: string, port: number, path: string, options: TftpStorageOptions) {
    this.#url = url;
    this.#host = host;
    this.#port = port;
    this.#path = path;
    this.#timeout = options.timeout ?? 5000;
  }

  async #start(): Promise<Transfer> {
    this.#transfer?.close();
    this.#transfer = null;
    return (this.#transfer = await Transfer.start(this.#url, this.#host, this.#port, this.#path, this.#timeout));
  }

  async size(): Promise<number> {
    const transfer = await this.#start();
    try {
      if (transfer.size !== null) return transfer.size;
      // A server without options: the file's end tells.
      for (let block = await transfer.next(); block !== null; block = await transfer.next()) {
        if (transfer.position > MAX_COUNTED)
          throw new BlockError("ERR_TOO_LARGE", `'${this.#url}': the TFTP server does not tell the size of so large a file`);
      }
      return transfer.position;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  read(parts: readonly Uint8Array[], offset: number): Promise<void> {
    const turn = this.#last.then(() => this.#readNow(parts, offset));
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #readNow(parts: readonly Uint8Array[], offset: number): Promise<void> {
    if (this.#closed) throw new BlockError("ERR_CLOSED", `'${this.#url}' is closed`);
    let transfer = this.#transfer;
    if (transfer === null || transfer.position > offset || transfer.isBroken) transfer = await this.#start();
    const into = new PartsWriter(parts);
    while (into.done < into.total) {
      const wanted = offset + into.done;
      const block = await transfer.next(wanted);
      if (block === null) throw new BlockError("ERR_CHANGED", `'${this.#url}' is shorter than before`);
      into.push(block.subarray(0, into.total - into.done));
      // What the packet has beyond this request is given to the next one.
      transfer.giveBack(Math.max(0, block.length - (offset + into.total - wanted)));
    }
  }

  close(): void {
    this.#closed = true;
    this.#transfer?.close();
  }
}

/** One transfer from the beginning of the file, packet by packet, at the pace of whoever takes them. */
class Transfer {
  readonly #url: string;
  readonly #socket: Socket;
  readonly #host: string;
  readonly #timeout: number;
  /** The port the server answers from; 0 until it has. */
  #peer = 0;
  #blockSize = PLAIN_BLOCK;
  /** Number of the last packet that was taken, and what is left of its bytes. */
  #number = 0;
  #rest: Uint8Array = new Uint8Array(0);
  /** Where `#rest` begins in the file. */
  position = 0;
  #ended = false;
  isBroken = false;
  /** As the server told it; null when it did not. */
  size: number | null = null;
  #packets: Uint8Array[] = [];
  #wake: (() => void) | null = null;
  /** What is repeated when the server is silent. */
  #sent: Uint8Array = new Uint8Array(0);
  #sentTo: number;

  private constructor(url: string, socket: Socket, host: string, port: number, timeout: number) {
    this.#url = url;
    this.#socket = socket;
    this.#host = host;
    this.#sentTo = port;
    this.#timeout = timeout;
    socket.on("message", (packet, from) => {
      // Who answers first is the server from then on (RFC 1350, section 4).
      if (this.#peer === 0) this.#peer = from.port;
      if (from.port !== this.#peer || this.#packets.length > 8) return;
      this.#packets.push(packet);
      this.#wake?.();
    });
    socket.on("error", () => this.#wake?.());
  }

  static async start(url: string, host: string, port: number, path: string, timeout: number): Promise<Transfer> {
    const { lookup } = process.getBuiltinModule("node:dns").promises;
    const found = await lookup(host).catch((cause: unknown) => {
      throw new BlockError("ERR_IO", `address resolution failed for ${host}: Name or service not known`, { cause });
    });
    const socket = process.getBuiltinModule("node:dgram").createSocket(found.family === 6 ? "udp6" : "udp4");
    const transfer = new Transfer(url, socket, found.address, port, timeout);
    try {
      const words = [path, "octet", "tsize", "0", "blksize", String(BLOCK_SIZE)];
      const body = encodeText(words.map((word) => `${word}\0`).join(""));
      const request = new Uint8Array(2 + body.length);
      viewOf(request).setUint16(0, Opcode.read);
      request.set(body, 2);
      transfer.#send(request);
      const first = await transfer.#receive();
      if (viewOf(first).getUint16(0) === Opcode.options) {
        transfer.#agree(first);
        transfer.#acknowledge(0);
      } else transfer.#packets.unshift(first);
      return transfer;
    } catch (error) {
      transfer.close();
      throw error;
    }
  }

  #agree(packet: Uint8Array): void {
    const words = decodeText(packet.subarray(2)).split("\0");
    for (let i = 0; i + 1 < words.length; i += 2) {
      const value = Number(words[i + 1]);
      const isSane = Number.isSafeInteger(value) && value >= 0;
      if (words[i]!.toLowerCase() === "tsize" && isSane) this.size = value;
      if (words[i]!.toLowerCase() === "blksize") {
        if (!isSane || value < 8 || value > BLOCK_SIZE) throw this.#problem("the server wants packets of a wrong size");
        this.#blockSize = value;
      }
    }
  }

  /** The next bytes of the file, those before `from` left out; null at its end. */
  async next(from = 0): Promise<Uint8Array | null> {
    for (;;) {
      if (this.#rest.length === 0) {
        if (this.#ended) return null;
        await this.#advance();
        continue;
      }
      const skip = Math.min(this.#rest.length, Math.max(0, from - this.position));
      const bytes = this.#rest.subarray(skip);
      this.position += this.#rest.length;
      this.#rest = new Uint8Array(0);
      this.#taken = bytes;
      if (bytes.length > 0) return bytes;
    }
  }
  #taken: Uint8Array = new Uint8Array(0);

  /** Of what `next` returned last, the final `length` bytes were not needed. */
  giveBack(length: number): void {
    this.#rest = this.#taken.subarray(this.#taken.length - length);
    this.position -= length;
  }

  async #advance(): Promise<void> {
    if (this.#number > 0) this.#acknowledge(this.#number);
    for (;;) {
      const packet = await this.#receive();
      const view = viewOf(packet);
      if (view.getUint16(0) !== Opcode.data || packet.length - 4 > this.#blockSize) throw this.#problem("a strange packet came");
      // Numbers have 16 bits and go round; what was there before is a repetition.
      if (view.getUint16(2) !== ((this.#number + 1) & 0xffff)) continue;
      this.#number = (this.#number + 1) & 0xffff;
      this.#rest = packet.slice(4);
      if (packet.length - 4 < this.#blockSize) {
        this.#ended = true;
        this.#acknowledge(this.#number);
      } else if (this.#number === 0) this.#acknowledge(0);
      return;
    }
  }

  #acknowledge(number: number): void {
    const packet = new Uint8Array(4);
    viewOf(packet).setUint16(0, Opcode.acknowledge);
    viewOf(packet).setUint16(2, number);
    this.#sentTo = this.#peer;
    this.#send(packet);
  }

  #send(packet: Uint8Array): void {
    this.#sent = packet;
    this.#socket.send(packet, this.#sentTo, this.#host, () => {});
  }

  /** The next packet from the server; ours is repeated until it comes. */
  async #receive(): Promise<Uint8Array> {
    const until = performance.now() + this.#timeout;
    for (;;) {
      const packet = this.#packets.shift();
      if (packet !== undefined) {
        if (packet.length < 4) continue;
        if (viewOf(packet).getUint16(0) === Opcode.error) throw this.#refusal(packet);
        return packet;
      }
      const left = until - performance.now();
      if (left <= 0 || this.isBroken) throw this.#problem("the server does not answer");
      let timer: ReturnType<typeof setTimeout> | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, Math.min(left, REPEAT));
      });
      clearTimeout(timer);
      this.#wake = null;
      if (this.#packets.length === 0 && !this.isBroken) this.#send(this.#sent);
    }
  }

  #refusal(packet: Uint8Array): BlockError {
    const code = viewOf(packet).getUint16(2);
    const words = decodeText(packet.subarray(4)).replace(/\0.*$/s, "");
    const kind: ErrorCode = code === 1 ? "ERR_NOT_FOUND" : code === 2 ? "ERR_PERMISSION" : "ERR_IO";
    this.isBroken = true;
    return new BlockError(kind, `'${this.#url}': the TFTP server says: ${words === "" ? `error ${code}` : words}`, {
      errno: "EIO",
    });
  }

  #problem(what: string): BlockError {
    this.isBroken = true;
    return new BlockError("ERR_IO", `'${this.#url}': ${what}`, { errno: "EIO" });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.isBroken = true;
    this.#wake?.();
    this.#socket.close();
  }
  #closed = false;
}
