/**
 * A file on an FTP server (RFC 959, REST of RFC 3659; FTPS with TLS from the first byte) as a read-only storage for Node.js, by
 * means of the package basic-ftp, which is loaded with the first use. One control connection; a part of the file is a transfer
 * that starts there and is cut off when enough has come.
 */
import type { Client, FTPResponse } from "basic-ftp";
import type { Socket } from "node:net";
import { BlockError, type ErrorCode } from "../base/error.js";
import { BlockCache } from "./shared/block-cache.js";
import { CachedSource } from "./shared/cached-source.js";
import { optionalPackage } from "./shared/node-package.js";
import { PartsWriter } from "./shared/parts.js";
import type { Storage } from "./storage.js";

export interface FtpStorageOptions {
  /** User and password where the URL has none; "anonymous" otherwise. */
  credentials?: { username: string; password: string } | null;
  /** Bytes to read ahead at most. */
  readAhead?: number;
  /** How long the server may be silent, in ms; 5000 when absent. */
  timeout?: number;
  /** `ftps`: whether the server's certificate is checked; true when absent. */
  verify?: boolean;
}

const BLOCK = 65536;
const CACHE = 16 * 1024 * 1024;
const MAX_REQUEST = 4 * 1024 * 1024;
/** Times a part is asked for, the first included. */
const ATTEMPTS = 3;

const load = (): typeof import("basic-ftp") => optionalPackage("basic-ftp", "FTP") as typeof import("basic-ftp");

export async function ftpStorage(url: string, options: FtpStorageOptions = {}): Promise<Storage> {
  const parsed = new URL(url);
  if (parsed.protocol !== "ftp:" && parsed.protocol !== "ftps:")
    throw new BlockError("ERR_INVALID_ARGUMENT", `'${url}' is not an ftp or ftps URL`);
  const file = new FtpFile(load(), parsed, options);
  const size = await file.open();
  const cache = new BlockCache({
    size,
    blockSize: BLOCK,
    budget: CACHE,
    readAhead: options.readAhead ?? 256 * 1024,
    maxRequest: MAX_REQUEST,
    parallel: 1,
    fetch: (parts, offset) => file.read(parts, offset),
  });
  return new CachedSource({ kind: "ftp", name: file.name, size, cache, onClose: () => file.close() });
}

class FtpFile {
  readonly name: string;
  readonly #client: Client;
  readonly #path: string;
  readonly #url: URL;
  readonly #options: FtpStorageOptions;
  /** Transfers take turns on the one control connection. */
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor({ Client: FtpClient }: typeof import("basic-ftp"), url: URL, options: FtpStorageOptions) {
    this.#client = new FtpClient(options.timeout ?? 5000);
    this.#options = options;
    this.#url = url;
    // "/%2Fetc/x" is absolute, "/x" is relative to where the user comes in (RFC 1738).
    this.#path = decodeURIComponent(url.pathname.slice(1));
    if (/[\r\n\0]/.test(this.#path))
      throw new BlockError("ERR_INVALID_ARGUMENT", "The path of an FTP URL has control characters");
    const shown = new URL(url);
    shown.username = shown.password = "";
    this.name = shown.href;
  }

  async #connect(): Promise<void> {
    const { hostname, port, username, password, protocol } = this.#url;
    const { credentials, verify } = this.#options;
    const isSecure = protocol === "ftps:";
    await this.#client.access({
      host: hostname.replace(/^\[|\]$/g, ""),
      port: port === "" ? (isSecure ? 990 : 21) : Number(port),
      user: credentials?.username ?? (username === "" ? "anonymous" : decodeURIComponent(username)),
      password: credentials?.password ?? (username === "" ? "guest" : decodeURIComponent(password)),
      secure: isSecure ? "implicit" : false,
      ...(isSecure ? { secureOptions: { rejectUnauthorized: verify ?? true } } : {}),
    });
    await this.#client.send("TYPE I");
  }

  /** The size of the file. */
  async open(): Promise<number> {
    try {
      await this.#connect();
      const { message } = await this.#client.send(`SIZE ${this.#path}`);
      const size = Number(/^213[ -]\s*([0-9]+)\s*$/.exec(message)?.[1] ?? NaN);
      if (!Number.isSafeInteger(size)) throw new BlockError("ERR_IO", "The FTP server does not tell the size of the file");
      return size;
    } catch (error) {
      this.close();
      throw this.#failure("Could not open", error);
    }
  }

  read(parts: readonly Uint8Array[], offset: number): Promise<void> {
    const turn = this.#last.then(() => this.#readNow(parts, offset));
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #readNow(parts: readonly Uint8Array[], offset: number): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        if (this.#client.closed) await this.#connect();
        await this.#transfer(new PartsWriter(parts), offset);
        return;
      } catch (error) {
        // A transfer that went wrong leaves the control connection in an unknown state.
        this.#client.close();
        const refused = (error as { code?: unknown }).code;
        const isFinal = typeof refused === "number" && refused >= 500;
        if (this.#closed || isFinal || attempt === ATTEMPTS) throw this.#failure("Could not read", error);
      }
    }
  }

  async #transfer(into: PartsWriter, offset: number): Promise<void> {
    const client = this.#client;
    await client.prepareTransfer(client.ftp);
    const data = client.ftp.dataSocket as Socket;
    const transfer = new Promise<void>((resolve, reject) => {
      data.on("data", (chunk: Uint8Array) => {
        into.push(chunk);
        if (into.done < into.total) return;
        data.destroy();
        resolve();
      });
      data.once("error", reject);
      data.once("close", () =>
        into.done < into.total ? reject(new BlockError("ERR_IO", "The FTP server sent less than it promised")) : resolve(),
      );
    });
    const command = offset === 0 ? `RETR ${this.#path}` : `REST ${offset}`;
    // The reply to a transfer that was cut off (426, 451, 226 …) is waited for, whatever it says, so that the next one is not mistaken.
    const control = client.ftp.handle(command, (response: Error | FTPResponse, task) => {
      if (response instanceof Error) {
        if (into.done >= into.total && "code" in response) task.resolve(undefined);
        else task.reject(response);
      } else if (response.code === 350) client.ftp.send(`RETR ${this.#path}`);
      else if (response.code >= 200) task.resolve(undefined);
    });
    try {
      await Promise.all([transfer, control]);
    } finally {
      client.ftp.dataSocket = undefined;
    }
  }

  #failure(what: string, error: unknown): BlockError {
    const { code, message } = error as { code?: unknown; message: string };
    const kind: ErrorCode = code === 550 ? "ERR_NOT_FOUND" : code === 530 ? "ERR_PERMISSION" : "ERR_IO";
    return new BlockError(kind, `${what} '${this.name}': ${message}`, { errno: "EIO", cause: error });
  }

  close(): void {
    this.#closed = true;
    this.#client.close();
  }
}
