/** Connections over messages: MessagePorts and WebSockets. */
import { encodeText } from "../base/bytes.js";
import type { Duplex } from "./duplex.js";

/** The structural part of a MessagePort or a WebSocket that matters here. */
export interface MessageChannelLike {
  postMessage?(message: unknown): void;
  send?(message: Uint8Array): void;
  close(): void;
  addEventListener(type: string, listener: (event: { data?: unknown }) => void): void;
  start?(): void;
  binaryType?: string;
  readonly bufferedAmount?: number;
  /** Stops receiving until `resume`, where that can be asked for (as with the WebSockets of the package `ws`). */
  pause?(): void;
  resume?(): void;
}

/** Outgoing bytes a WebSocket may hold before writers wait, and how often they look, in ms. */
const SOCKET_BUFFER = 4 * 1024 * 1024;
const LOOK_MS = 5;
/** Bytes that have come and that nobody has taken before no more are received. */
const MAX_WAITING = 1024 * 1024;
/** The same for WebSockets that can not be told to wait, as in browsers: who sends more than that is hung up on. */
const MAX_UNASKED: number = 64 * 1024 * 1024;

/**
 * A connection over messages: each message is a chunk of bytes, or text of a WebSocket; an empty one, or a close event, ends it. A
 * WebSocket must be open.
 */
export function messageDuplex(channel: MessageChannelLike): Duplex {
  const queue: Uint8Array[] = [];
  let waiting = 0;
  let paused = false;
  let wake: (() => void) | null = null;
  let ended = false;
  const end = (): void => {
    ended = true;
    wake?.();
  };
  const receive = (bytes: Uint8Array): void => {
    queue.push(bytes);
    waiting += bytes.length;
    if (waiting > MAX_UNASKED && channel.send !== undefined && channel.pause === undefined) {
      queue.length = 0;
      end();
      channel.close();
    } else if (waiting > MAX_WAITING && !paused && channel.pause !== undefined) {
      paused = true;
      channel.pause();
    }
    wake?.();
  };
  if (channel.binaryType !== undefined) channel.binaryType = "arraybuffer";
  channel.addEventListener("message", ({ data }) => {
    if (ended) return;
    const bytes = bytesOf(data);
    if (bytes === null || bytes.length === 0) end();
    else receive(bytes);
  });
  channel.addEventListener("close", end);
  channel.addEventListener("error", end);
  channel.start?.();
  return {
    incoming: {
      async *[Symbol.asyncIterator]() {
        for (;;) {
          const chunk = queue.shift();
          if (chunk !== undefined) {
            waiting -= chunk.length;
            if (paused && waiting <= MAX_WAITING) {
              paused = false;
              channel.resume?.();
            }
            yield chunk;
          } else if (ended) return;
          else await new Promise<void>((resolve) => (wake = resolve));
        }
      },
    },
    async write(parts) {
      for (const part of parts) {
        if (ended) throw new Error("The connection is closed");
        if (part.length === 0) continue;
        const copy = part.slice();
        if (channel.send !== undefined) channel.send(copy);
        else channel.postMessage!(copy);
        while ((channel.bufferedAmount ?? 0) > SOCKET_BUFFER && !ended)
          await new Promise<void>((resolve) => setTimeout(resolve, LOOK_MS));
      }
    },
    close() {
      if (!ended) {
        if (channel.postMessage !== undefined) channel.postMessage(new Uint8Array(0));
        end();
      }
      // Whoever has stopped receiving would not hear the other side agree to the end.
      if (paused) channel.resume?.();
      channel.close();
    },
  };
}

function bytesOf(data: unknown): Uint8Array | null {
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (data instanceof Uint8Array) return data;
  return typeof data === "string" ? encodeText(data) : null;
}
