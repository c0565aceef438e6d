/**
 * A QMP monitor on any connection: greeting, negotiation, commands one after the other, events.
 *
 * Memory is bounded: a message may have 4 MiB, 64 Ki tokens and 1024 levels (qapi/json.ts), at most 8 requests wait while one
 * runs (the connection is not read meanwhile), and a client that does not take its output gets no more answers; when events for
 * it add up to 16 MiB it is disconnected (monitor-output.ts). What all clients of a BlockCore hold is bounded, too.
 */
import { BlockError } from "../base/error.js";
import { nextTurn } from "../block/op.js";
import type { Duplex } from "../nbd/duplex.js";
import { JsonReader, type JsonLimits, type JsonValue } from "../qapi/json.js";
import { writeJson, type JsonInput } from "../qapi/json-writer.js";
import type { BlockCore } from "./block-core.js";
import { capabilitiesArguments } from "./commands/qmp-capabilities.js";
import { dispatch, errorReply, idOf, okReply, parseRequest } from "./dispatch.js";
import { MonitorMemory, MonitorOutput } from "./monitor-output.js";
import { versionInfo } from "./version.js";

export interface MonitorOptions {
  /** Indented output. */
  pretty?: boolean;
}

const MAX_WAITING_REQUESTS = 8;
/** Bytes that are taken apart at a time. */
const FEED = 512;
const LIMITS: JsonLimits = { bytes: 4 * 1024 * 1024, tokens: 64 * 1024 };
/** Messages that are answered, and how many ms that may take, before other connections have their turn. */
const TURN_MESSAGES = 32;
const TURN_MS = 5;

const memories = new WeakMap<BlockCore, MonitorMemory>();

function memoryOf(core: BlockCore): MonitorMemory {
  const memory = memories.get(core) ?? new MonitorMemory();
  memories.set(core, memory);
  return memory;
}

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
  readonly #memory: MonitorMemory;
  readonly #output: MonitorOutput;
  /** Bytes of the message that is being received. */
  #unfinished = 0;
  #ended = false;

  constructor(core: BlockCore, duplex: Duplex, options: MonitorOptions) {
    this.#core = core;
    this.#duplex = duplex;
    this.#pretty = options.pretty ?? false;
    this.#memory = memoryOf(core);
    this.#output = new MonitorOutput(duplex, this.#memory, () => this.end());
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
            this.#hold(reader.held);
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
    const turn = new Turn();
    for (;;) {
      if (turn.isOver()) await turn.next();
      const next = queue.shift();
      if (next === undefined) {
        if (closed || this.#ended) break;
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      if (queue.length <= MAX_WAITING_REQUESTS) room();
      this.#send("error" in next ? errorReply(next.error, undefined) : await this.#answer(next.value));
      // Whoever does not take answers gets no more of them.
      await this.#output.room();
    }
    // Who has said all and listens on gets all answers.
    await this.#output.done();
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
    if (!this.#ended) this.#output.send(`${writeJson(message, { pretty: this.#pretty })}\r\n`);
  }

  /** Counts what has come of a message. Many clients with a large part of one each are too much: the one with more must go. */
  #hold(bytes: number): void {
    this.#memory.change(this.#unfinished, bytes);
    this.#unfinished = bytes;
    if (bytes > 0 && this.#memory.isFull(bytes)) this.end();
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stopEvents();
    this.#hold(0);
    this.#output.end();
    this.#duplex.close();
  }
}

/** The time that one connection's messages may have before others have theirs. */
class Turn {
  #messages = 0;
  #since: number = performance.now();

  /** Asked before every message. */
  isOver(): boolean {
    return ++this.#messages > TURN_MESSAGES || performance.now() - this.#since > TURN_MS;
  }

  async next(): Promise<void> {
    await nextTurn();
    this.#messages = 1;
    this.#since = performance.now();
  }
}
