/**
 * A QMP monitor on any connection: greeting, negotiation, commands one after the other, events.
 *
 * Memory is bounded: a message may have 4 MiB, 64 Ki tokens and 1024 levels (qapi/json.ts), at most 8 requests wait while one
 * runs (the connection is not read meanwhile), and a client that does not take its output gets no more answers; when events for
 * it add up to 16 MiB it is disconnected.
 */
import { BlockError } from "../base/error.js";
import { encodeText } from "../base/bytes.js";
import { nextTurn } from "../block/op.js";
import type { Duplex } from "../nbd/duplex.js";
import { JsonReader, type JsonLimits, type JsonValue } from "../qapi/json.js";
import { writeJson, type JsonInput } from "../qapi/json-writer.js";
import type { BlockCore } from "./block-core.js";
import { capabilitiesArguments } from "./commands/qmp-capabilities.js";
import { dispatch, errorReply, idOf, okReply, parseRequest } from "./dispatch.js";
import { versionInfo } from "./version.js";

export interface MonitorOptions {
  /** Indented output. */
  pretty?: boolean;
}

const MAX_WAITING_REQUESTS = 8;
/** Bytes that are taken apart at a time. */
const FEED = 512;
/** Bytes of output that may wait while requests are still read: clients may write all they want to ask before they read. */
const PATIENCE: number = 1024 * 1024;
const MAX_WAITING_OUTPUT: number = 16 * 1024 * 1024;
const LIMITS: JsonLimits = { bytes: 4 * 1024 * 1024, tokens: 64 * 1024 };
/** Messages that are answered before other connections have their turn. */
const TURN_MESSAGES = 32;

type Incoming = { value: JsonValue } | { error: BlockError };

/** Serves one client until it goes. Never throws: what goes wrong with a client is that client's end. */
export async function serveMonitor(core: BlockCore, duplex: Duplex, options: MonitorOptions = {}): Promise<void> {
  const session = new Session(core, duplex, options);
  try {
    await session.run();
  } catch {
    // the client has gone
  } finally {
    session.end();
  }
}

class Session {
  readonly #core: BlockCore;
  readonly #duplex: Duplex;
  readonly #pretty: boolean;
  readonly #stopEvents: () => void;
  #negotiated = false;
  #oob = false;
  #waitingOutput = 0;
  #output: Promise<void> = Promise.resolve();
  #ended = false;

  constructor(core: BlockCore, duplex: Duplex, options: MonitorOptions) {
    this.#core = core;
    this.#duplex = duplex;
    this.#pretty = options.pretty ?? false;
    this.#stopEvents = core.on((event) => {
      if (!this.#negotiated) return;
      const { data, ...rest } = event;
      this.#send({ ...rest, ...(Object.keys(data).length === 0 ? {} : { data }) });
    });
  }

  async run(): Promise<void> {
    this.#send({
      QMP: { version: versionInfo(this.#core.profile), capabilities: this.#core.profile === "qemu-2.2" ? [] : ["oob"] },
    } as unknown as JsonInput);
    const queue: Incoming[] = [];
    let wake = (): void => {};
    let room = (): void => {};
    let closed = false;
    const reader = new JsonReader(
      (value) => void queue.push({ value }),
      (error) => void queue.push({ error }),
      LIMITS,
    );
    const reading = (async (): Promise<void> => {
      try {
        for await (const chunk of this.#duplex.incoming) {
          // In small pieces: each may be many messages.
          for (let at = 0; at < chunk.length; at += FEED) {
            reader.feed(chunk.subarray(at, at + FEED));
            wake();
            while (queue.length > MAX_WAITING_REQUESTS && !this.#ended) await new Promise<void>((resolve) => (room = resolve));
            if (this.#ended) return;
          }
        }
        reader.end();
      } catch {
        // the connection broke
      }
      closed = true;
      wake();
    })();
    for (let answered = 1; ; answered++) {
      if (answered % TURN_MESSAGES === 0) await nextTurn();
      const next = queue.shift();
      if (next === undefined) {
        if (closed || this.#ended) break;
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      if (queue.length <= MAX_WAITING_REQUESTS) room();
      this.#send("error" in next ? errorReply(next.error, undefined) : await this.#answer(next.value));
      // Whoever does not take answers gets no more of them.
      if (this.#waitingOutput > PATIENCE) await this.#output;
    }
    // Who has said all and listens on gets all answers.
    await this.#output;
    this.end();
    room();
    await reading;
  }

  async #answer(value: JsonValue): Promise<JsonInput> {
    const id = idOf(value);
    try {
      const request = parseRequest(value, this.#oob);
      if (this.#negotiated) return await dispatch(this.#core, request);
      if (request.command !== "qmp_capabilities") {
        throw new BlockError("ERR_INVALID_ARGUMENT", "Expecting capabilities negotiation with 'qmp_capabilities'", {
          qmpClass: "CommandNotFound",
        });
      }
      const { enable = [] } = capabilitiesArguments.validate(request.arguments);
      this.#oob = enable.includes("oob");
      this.#negotiated = true;
      return okReply({}, id);
    } catch (error) {
      return errorReply(error, id);
    }
  }

  #send(message: JsonInput): void {
    if (this.#ended) return;
    const bytes = encodeText(`${writeJson(message, { pretty: this.#pretty })}\r\n`);
    this.#waitingOutput += bytes.length;
    if (this.#waitingOutput > MAX_WAITING_OUTPUT) {
      this.end();
      return;
    }
    this.#output = this.#output
      .then(() => (this.#ended ? undefined : this.#duplex.write([bytes])))
      .then(
        () => void (this.#waitingOutput -= bytes.length),
        () => this.end(),
      );
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stopEvents();
    this.#duplex.close();
  }
}
