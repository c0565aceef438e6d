/** A connection to an SSH server with its SFTP channel (draft-ietf-secsh-filexfer-02), by means of the package ssh2. */
import type { Socket } from "node:net";
import type { Client, ConnectConfig, ServerHostKeyAlgorithm, SFTPWrapper } from "ssh2";
import { BlockError } from "../../base/error.js";
import { optionalPackage } from "../shared/node-package.js";
import { identities } from "./node-identities.js";
import { fingerprint, keyType, knownKeys, type KnownKeys } from "./node-known-hosts.js";

/** How the server is recognised: not at all, by known_hosts, by the fingerprint of its key in hexadecimal (colons are skipped). */
export type HostKeyCheck =
  | { mode: "none" }
  | { mode: "known_hosts" }
  | { mode: "hash"; type: "md5" | "sha1" | "sha256"; hash: string };

export interface SshServer {
  host: string;
  port: number;
  user: string;
  hostKeyCheck: HostKeyCheck;
}

/** From the greeting to the SFTP channel, in ms. */
const OPENING = 30_000;
/** A server that is silent is asked whether it is there; after three questions without an answer it is not. In ms. */
const ASK_EVERY = 10_000;
/** How long a server may take over the end of a connection, in ms. */
const LINGER = 1000;

const denied = (message: string): BlockError => new BlockError("ERR_PERMISSION", message, { errno: "EPERM" });

const load = (): typeof import("ssh2") => optionalPackage("ssh2", "SSH") as typeof import("ssh2");

/** What an answer other than success says, in the words of QEMU. */
export function sftpError(what: string, error: unknown): BlockError {
  if (error instanceof BlockError) return error;
  const { code, message } = error as { code?: unknown; message: string };
  if (typeof code !== "number") return new BlockError("ERR_IO", `${what}: ${message}`, { errno: "EIO", cause: error });
  const text = `${what}: SFTP server: ${message} (libssh error code: 1, sftp error code: ${code})`;
  if (code === 2) return new BlockError("ERR_NOT_FOUND", text, { errno: "ENOENT", cause: error });
  if (code === 3) return new BlockError("ERR_PERMISSION", text, { errno: "EACCES", cause: error });
  return new BlockError("ERR_IO", text, { errno: "EIO", cause: error });
}

type Callback<T> = (error: Error | null | undefined, value?: T) => void;

export class SftpSession {
  readonly #client: Client;
  readonly #socket: Socket;
  #sftp: SFTPWrapper | null = null;
  /** Why there will be no more answers. */
  #lost: BlockError | null = null;
  /** What waits for an answer. */
  readonly #waiting: Set<(error: BlockError) => void> = new Set();

  private constructor(client: Client, socket: Socket) {
    this.#client = client;
    this.#socket = socket;
    socket.setNoDelay(true);
    client.on("error", (error: Error & { level?: string }) => {
      // An agent that is not there, or does not sign: the next identity's turn.
      if (error.level !== "agent") this.#lose(`${this.#stage}: ${error.message}`, error);
    });
    client.on("close", () => this.#lose(`${this.#stage}: the server has closed the connection`));
  }

  get #stage(): string {
    return this.#sftp === null ? "failed to establish SSH session" : "SSH session lost";
  }

  /** @param socket connected to the server; the session ends it, also when it cannot be opened */
  static async open(socket: Socket, server: SshServer): Promise<SftpSession> {
    let session: SftpSession | null = null;
    let timer: NodeJS.Timeout | undefined;
    try {
      const ssh = load();
      session = new SftpSession(new ssh.Client(), socket);
      timer = setTimeout(() => session!.#lose(`${session!.#stage}: the server does not answer`), OPENING);
      await session.#logIn(ssh, server);
      await session.#openChannel();
      return session;
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #logIn(ssh: typeof import("ssh2"), { host, port, user, hostKeyCheck }: SshServer): Promise<void> {
    const known = hostKeyCheck.mode === "known_hosts" ? knownKeys(host, port) : null;
    const methods = identities(ssh, { user, host });
    const config: ConnectConfig = {
      host,
      port,
      username: user,
      sock: this.#socket,
      readyTimeout: 0,
      keepaliveInterval: ASK_EVERY,
      keepaliveCountMax: 3,
      algorithms: { serverHostKey: hostKeyAlgorithms(known) },
      hostVerifier: (key: Buffer) => {
        const why = refusal(key, hostKeyCheck, known);
        if (why !== null) this.#fail(denied(why));
        return why === null;
      },
      authHandler: (_left, _partial, next) => {
        const method = methods.next();
        if (method.done !== true) return next(method.value);
        this.#fail(denied("failed to authenticate using publickey authentication and the identities held by your ssh-agent"));
      },
    };
    await this.#answer<void>((done) => {
      this.#client.once("ready", () => done(null));
      this.#client.connect(config);
    });
  }

  async #openChannel(): Promise<void> {
    try {
      this.#sftp = (await this.#answer<SFTPWrapper>((done) => void this.#client.sftp(done)))!;
    } catch (error) {
      throw sftpError("failed to initialize sftp handle", error);
    }
    this.#sftp.on("close", () => this.#lose("SSH session lost: the server has closed the SFTP channel"));
    this.#sftp.on("error", (error: Error) => this.#lose(`SSH session lost: ${error.message}`, error));
  }

  /** Asks the server something and waits for the answer, or the end of the connection. */
  call<T>(ask: (sftp: SFTPWrapper, done: Callback<T>) => void): Promise<T> {
    return this.#answer<T>((done) => ask(this.#sftp!, done)) as Promise<T>;
  }

  #answer<T>(start: (done: Callback<T>) => void): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#lost !== null) return reject(this.#lost);
      this.#waiting.add(reject);
      start((error, value) => {
        this.#waiting.delete(reject);
        // Whom the end of the connection reaches first is told why by this, not by that.
        if (error) reject(this.#lost ?? error);
        else resolve(value);
      });
    });
  }

  #lose(message: string, cause?: unknown): void {
    this.#fail(new BlockError("ERR_IO", message, { errno: "EIO", cause }));
  }

  #fail(error: BlockError): void {
    this.#lost ??= error;
    for (const reject of this.#waiting) reject(this.#lost);
    this.#waiting.clear();
    this.#socket.destroy();
  }

  close(): void {
    if (this.#lost !== null) return;
    this.#lost = new BlockError("ERR_CLOSED", "The SSH session is closed");
    this.#client.end();
    setTimeout(() => this.#socket.destroy(), LINGER).unref();
  }
}

/** Why the server's key is not accepted, in QEMU's words; null: it is. */
function refusal(key: Buffer, check: HostKeyCheck, known: KnownKeys | null): string | null {
  if (check.mode === "none") return null;
  if (check.mode === "hash") {
    const found = fingerprint(key, check.type).toString("hex");
    if (check.hash.replaceAll(":", "").toLowerCase() === found) return null;
    return `remote host ${keyType(key)} key fingerprint '${check.type}:${found}' does not match host_key_check '${check.type}:${check.hash}'`;
  }
  switch (known!.judge(key)) {
    case "known":
      return null;
    case "changed": {
      const found = fingerprint(key, "sha256").toString("base64").replace(/=+$/, "");
      return `host key (${keyType(key)} key with fingerprint SHA256:${found}) does not match the one in known_hosts; this may be a possible attack`;
    }
    case "other-type":
      return "host key for this server not found, another type exists";
    case "unknown":
      return "no host key was found in known_hosts";
  }
}

const ALGORITHMS: readonly ServerHostKeyAlgorithm[] = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "rsa-sha2-512",
  "rsa-sha2-256",
  "ssh-rsa",
];

/** Those first that the server is known by. */
function hostKeyAlgorithms(known: KnownKeys | null): ServerHostKeyAlgorithm[] {
  const types = known?.types ?? [];
  const isKnown = (name: ServerHostKeyAlgorithm): boolean =>
    types.includes(name) || (name.startsWith("rsa-") && types.includes("ssh-rsa"));
  return [...ALGORITHMS.filter(isKnown), ...ALGORITHMS.filter((name) => !isKnown(name))];
}
