/** Moving a request's bytes in pieces, so that the longest one costs a bounded amount of memory. */
import type { WriteFlags } from "../../block/driver.js";
import type { Op } from "../../block/op.js";
import type { IoSession } from "./session.js";

/** Requests up to this many bytes go out whole. */
const PIECE = 64 * 1024 * 1024;
const MISALIGNMENT = 16;

export function buffer(session: IoSession, length: number): Uint8Array {
  return session.misalign ? new Uint8Array(length + MISALIGNMENT).subarray(MISALIGNMENT) : new Uint8Array(length);
}

/** Reads a range and shows each piece with its guest offset, in order. */
export function* readPieces(
  session: IoSession,
  offset: number,
  length: number,
  show: (bytes: Uint8Array, at: number) => void,
): Op<void> {
  const backend = session.backend!;
  const bytes = buffer(session, Math.min(length, PIECE));
  if (length <= PIECE) {
    yield* backend.read(bytes, offset);
    show(bytes, offset);
    return;
  }
  for (let at = 0; at < length; at += PIECE) {
    const part = bytes.subarray(0, Math.min(PIECE, length - at));
    yield* backend.read(part, offset + at);
    show(part, offset + at);
  }
}

/** Writes a range; `fill` makes the bytes of each piece given their position in the request. */
export function* writePieces(
  session: IoSession,
  offset: number,
  length: number,
  flags: WriteFlags,
  fill: (bytes: Uint8Array, at: number) => void,
): Op<void> {
  const backend = session.backend!;
  const bytes = buffer(session, Math.min(length, PIECE));
  let at = 0;
  do {
    const part = length <= PIECE ? bytes : bytes.subarray(0, Math.min(PIECE, length - at));
    fill(part, at);
    // Only the last piece makes the whole durable.
    const last = at + part.length >= length;
    yield* backend.write(part, offset + at, last ? flags : { ...flags, fua: false });
    at += part.length;
  } while (at < length);
}

/** Whether every byte of a range is `pattern`. */
export function isAll(bytes: Uint8Array, pattern: number): boolean {
  let at = 0;
  while (at < bytes.length && (bytes.byteOffset + at) % 4 !== 0) if (bytes[at++] !== pattern) return false;
  if (at === bytes.length) return true;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + at, (bytes.length - at) >> 2);
  const want = Math.imul(pattern, 0x01010101);
  for (let i = 0; i < words.length; i++) if (words[i] !== want) return false;
  for (at += words.length * 4; at < bytes.length; at++) if (bytes[at] !== pattern) return false;
  return true;
}
