/** A file on an SSH server as a storage for Node.js, through SFTP; many requests are under way at a time. */
import type { Socket } from "node:net";
import { BlockError, errnoError, toBlockError } from "../../base/error.js";
import { checkRange, checkWritable, closedError } from "../shared/checks.js";
import type { AsyncStorageFace, Storage } from "../storage.js";
import { SftpSession, sftpError, type SshServer } from "./node-session.js";

export interface SshStorageOptions {
  /** What a user calls it: the URL. */
  name: string;
  server: SshServer;
  /** On the server. */
  path: string;
  readOnly: boolean;
  /** Made if it is not there, and emptied. */
  create?: boolean;
  /** Connects to the server. */
  connect(): Promise<Socket>;
  /** Told once, when something is to be made durable and the server cannot. */
  onNoFlush?(): void;
}

/** Bytes of one request: what every server takes (packets of 34000 bytes). */
const PIECE = 31 * 1024;
/** Requests under way at most. */
const UNDER_WAY = 64;
/** How long the server may take to close the file, in ms. */
const CLOSING = 2000;

export async function sshStorage(options: SshStorageOptions): Promise<Storage> {
  const session = await SftpSession.open(await options.connect(), options.server);
  try {
    const mode = options.create === true ? "w+" : options.readOnly ? "r" : "r+";
    const attributes = options.create === true ? { mode: 0o644 } : {};
    const handle = await session
      .call<Buffer>((sftp, done) => sftp.open(options.path, mode, attributes, done))
      .catch((error) => Promise.reject(sftpError(`failed to open remote file '${options.path}'`, error)));
    const file = new SshFile(session, handle, options);
    await file.size();
    return {
      kind: "ssh",
      name: options.name,
      readOnly: options.readOnly,
      alignment: 1,
      fixedSize: false,
      sync: null,
      async: file,
    };
  } catch (error) {
    session.close();
    throw toBlockError(error);
  }
}

class SshFile implements AsyncStorageFace {
  readonly #session: SftpSession;
  readonly #handle: Buffer;
  readonly #options: SshStorageOptions;
  readonly #checked: { name: string; readOnly: boolean; alignment: 1 };
  #closed = false;
  /** The server has said that it cannot. */
  #noFlush = false;
  #free: number = UNDER_WAY;
  readonly #queue: (() => void)[] = [];

  constructor(session: SftpSession, handle: Buffer, options: SshStorageOptions) {
    this.#session = session;
    this.#handle = handle;
    this.#options = options;
    this.#checked = { name: options.name, readOnly: options.readOnly, alignment: 1 };
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    this.#check("read", offset, into.length);
    const bytes = Buffer.from(into.buffer, into.byteOffset, into.length);
    const counts = await this.#inPieces("read", bytes, (piece, at) => this.#readPiece(piece, offset + at));
    // What comes behind the first piece that is short is behind the end.
    const short = counts.findIndex((count, index) => count < Math.min(PIECE, bytes.length - index * PIECE));
    return short < 0 ? bytes.length : short * PIECE + counts[short]!;
  }

  async #readPiece(into: Buffer, offset: number): Promise<number> {
    let count = 0;
    while (count < into.length) {
      const more = await this.#session.call<number>((sftp, done) =>
        sftp.read(this.#handle, into, count, into.length - count, offset + count, done),
      );
      if (more === 0) break;
      count += more;
    }
    return count;
  }

  async write(from: Uint8Array, offset: number): Promise<void> {
    this.#check("write", offset, from.length);
    checkWritable(this.#checked, "write");
    const bytes = Buffer.from(from.buffer, from.byteOffset, from.length);
    await this.#inPieces("write", bytes, (piece, at) => this.#writePiece(piece, offset + at));
  }

  #writePiece(from: Buffer, offset: number): Promise<void> {
    return this.#session.call((sftp, done) => sftp.write(this.#handle, from, 0, from.length, offset, done));
  }

  async flush(): Promise<void> {
    this.#check("flush", 0, 0);
    if (this.#options.readOnly || this.#noFlush) return;
    await this.#named(
      "fsync",
      this.#session.call<void>((sftp, done) => {
        try {
          sftp.ext_openssh_fsync(this.#handle, done);
        } catch {
          // The server has not offered it.
          this.#noFlush = true;
          this.#options.onNoFlush?.();
          done(null);
        }
      }),
    );
  }

  async size(): Promise<number> {
    this.#check("size", 0, 0);
    const { size } = await this.#named(
      "failed to read file attributes",
      this.#session.call<{ size?: number }>((sftp, done) => sftp.fstat(this.#handle, done)),
    );
    if (Number.isSafeInteger(size)) return size!;
    throw new BlockError("ERR_IO", `The server does not tell the size of '${this.#options.path}'`, { errno: "EIO" });
  }

  async truncate(size: number): Promise<void> {
    this.#check("truncate", size, 0);
    checkWritable(this.#checked, "truncate");
    await this.#named(
      "Failed to resize file",
      this.#session.call<void>((sftp, done) => sftp.fsetstat(this.#handle, { size } as { size: number; mode: number }, done)),
    );
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, CLOSING)));
    // What was written and not flushed has no promise to be there; a server that has gone needs no close.
    const closed = this.#session.call<void>((sftp, done) => sftp.close(this.#handle, done)).catch(() => {});
    await Promise.race([closed, late]);
    clearTimeout(timer);
    this.#session.close();
  }

  #check(operation: string, offset: number, length: number): void {
    if (this.#closed) throw closedError(this.#options.name, operation);
    checkRange(this.#checked, operation, offset, length);
  }

  async #named<T>(what: string, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      throw sftpError(what, error);
    }
  }

  /** Does all of it, some pieces at a time, and returns when nothing is under way any more: the bytes are the caller's again. */
  async #inPieces<T>(what: string, bytes: Buffer, work: (piece: Buffer, at: number) => Promise<T>): Promise<T[]> {
    const running: Promise<T>[] = [];
    for (let at = 0; at < bytes.length; at += PIECE) running.push(this.#inTurn(() => work(bytes.subarray(at, at + PIECE), at)));
    const results = await Promise.allSettled(running);
    return results.map((result) => {
      if (result.status === "fulfilled") return result.value;
      // The session is over, and says why.
      if (result.reason instanceof BlockError) throw result.reason;
      throw errnoError("EIO", undefined, { node: this.#options.name, operation: what, cause: sftpError(what, result.reason) });
    });
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#queue.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#queue.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}
