/** An NBD server: exports by name, and connections handed to it by whoever listens (`node-listen.ts`, a MessagePort, …). */
import { BlockError } from "../base/error.js";
import type { Duplex } from "./duplex.js";
import { WaitQueue } from "../block/op.js";
import type { NbdExport } from "./export.js";
import type { StartTls } from "./tls.js";
import { ClientLeft, serverHandshake, type Agreement, type HandshakeHost } from "./handshake-server.js";
import { Transmission } from "./transmission-server.js";

export interface NbdServerOptions {
  /** Time a client has for the negotiation, in ms; 10 s as QEMU. */
  handshakeTimeout?: number;
  /** Clients of exports at a time, those in negotiation not counted; others wait for their turn. 0: no limit. */
  maxConnections?: number;
  /** Upgrades a connection to TLS; clients must use it then. */
  startTls?: StartTls;
  /** Told why a client did not get as far as an export: for a log. */
  onProblem?: (message: string) => void;
  /** Connections at a time that wait or negotiate: half-open ones beyond that make the oldest one go. */
  maxHandshakes?: number;
}

const HANDSHAKE_TIMEOUT = 10_000;
const MAX_HANDSHAKES = 256;

interface Session {
  duplex: Duplex;
  agreement: Agreement | null;
  transmission: Transmission | null;
  /** It is to go: nothing more is done for it. */
  ending: boolean;
  ended: Promise<void>;
}

export class NbdServer {
  readonly #options: NbdServerOptions;
  readonly #exports = new Map<string, NbdExport>();
  readonly #sessions = new Set<Session>();
  /** Who waits for a client to leave. */
  readonly #turns = new WaitQueue();
  /** Called when the last client of the server has gone. */
  onIdle: (() => void) | null = null;

  constructor(options: NbdServerOptions = {}) {
    this.#options = options;
  }

  /** Clients that have entered an export. */
  get clients(): number {
    let count = 0;
    for (const session of this.#sessions) if (session.transmission !== null) count++;
    return count;
  }

  add(added: NbdExport): void {
    if (this.#exports.has(added.name))
      throw new BlockError("ERR_EXISTS", `NBD server already has export named '${added.name}'`, { errno: "EEXIST" });
    this.#exports.set(added.name, added);
  }

  /** Takes an export away. Its clients are disconnected; without `hard` it must have none. */
  async remove(name: string, hard: boolean): Promise<void> {
    const found = this.#exports.get(name);
    if (found === undefined) throw new BlockError("ERR_NOT_FOUND", `Export '${name}' is not found`);
    const using = [...this.#sessions].filter((session) => session.agreement?.export === found);
    if (using.length > 0 && !hard) {
      throw new BlockError("ERR_BUSY", `export '${name}' still in use`, { hint: "Use mode='hard' to force client disconnect" });
    }
    this.#exports.delete(name);
    await Promise.all(using.map((session) => this.#end(session)));
  }

  /** Serves one connection until it ends. Never throws: what goes wrong with one client is that client's end. */
  async accept(duplex: Duplex): Promise<void> {
    let settle = (): void => {};
    const ended = new Promise<void>((resolve) => (settle = resolve));
    const session: Session = { duplex, agreement: null, transmission: null, ending: false, ended };
    this.#makeRoom();
    this.#sessions.add(session);
    try {
      await this.#serve(session);
    } catch {
      // A client that vanished or broke the protocol.
    } finally {
      session.duplex.close();
      this.#sessions.delete(session);
      this.#turns.wakeAll();
      settle();
      if (this.clients === 0 && session.transmission !== null) this.onIdle?.();
    }
  }

  /** Half-open connections may not lock others out. */
  #makeRoom(): void {
    const waiting = [...this.#sessions].filter((session) => session.agreement === null);
    if (waiting.length >= (this.#options.maxHandshakes ?? MAX_HANDSHAKES)) {
      waiting[0]!.ending = true;
      waiting[0]!.duplex.close();
      this.#turns.wakeAll();
    }
  }

  /** Until fewer clients than allowed are served; false when the connection is not wanted any more. */
  async #turn(session: Session): Promise<boolean> {
    const limit = this.#options.maxConnections ?? 0;
    while (limit > 0 && this.clients >= limit && !session.ending) await new Promise<void>((resolve) => this.#turns.add(resolve));
    return !session.ending;
  }

  async #serve(session: Session): Promise<void> {
    if (!(await this.#turn(session))) return;
    const timer = setTimeout(() => session.duplex.close(), this.#options.handshakeTimeout ?? HANDSHAKE_TIMEOUT);
    const { startTls } = this.#options;
    const host: HandshakeHost = {
      find: (name) => this.#exports.get(name) ?? null,
      list: () => [...this.#exports.values()],
      tlsRequired: startTls !== undefined,
      startTls: startTls === undefined ? null : async (duplex, words) => (session.duplex = await startTls(duplex, words)),
    };
    let agreement: Agreement;
    try {
      agreement = await serverHandshake(session.duplex, host);
    } catch (error) {
      if (!(error instanceof ClientLeft)) this.#options.onProblem?.(`option negotiation failed: ${(error as Error).message}`);
      throw error;
    } finally {
      clearTimeout(timer);
    }
    session.agreement = agreement;
    if (!(await this.#turn(session))) return;
    session.transmission = new Transmission(agreement);
    await session.transmission.run();
  }

  async #end(session: Session): Promise<void> {
    session.ending = true;
    this.#turns.wakeAll();
    session.transmission?.stop();
    session.duplex.close();
    await session.ended;
  }

  /** Disconnects everybody; requests under way are finished first. */
  async close(): Promise<void> {
    await Promise.all([...this.#sessions].map((session) => this.#end(session)));
    this.#exports.clear();
  }
}
