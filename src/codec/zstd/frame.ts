/** The frame level of zstd (RFC 8878, 3.1): headers, and where a frame ends. */
import { viewOf } from "../../base/bytes.js";
import { fromHiLo } from "../../base/int.js";
import { corruptStream } from "../codec.js";

const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
/** libzstd's own limit for streams whose window it was not told to raise: 128 MiB. */
const WINDOW_MAX = 2 ** 27;

export interface FrameHeader {
  /** A skippable frame; `end` is then the end of the whole frame, the other fields mean nothing. */
  skip: boolean;
  /** Index of the first byte after the header. */
  end: number;
  window: number;
  /** Plain size of the frame; null when the header does not tell. Infinity when above 2^53-1. */
  contentSize: number | null;
  dictionary: number;
  checksum: boolean;
}

/** Reads the frame header at `at`; ERR_CORRUPT when there is none, it is cut off, or its window is over 128 MiB. */
export function readFrameHeader(from: Uint8Array, at: number): FrameHeader {
  const cut = (): Error => corruptStream("zstd", "the stream is cut off");
  if (at + 5 > from.length) throw cut();
  const view = viewOf(from);
  const magic = view.getUint32(at, true);
  if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE) {
    if (at + 8 > from.length) throw cut();
    const end = at + 8 + view.getUint32(at + 4, true);
    if (end > from.length) throw cut();
    return { skip: true, end, window: 0, contentSize: 0, dictionary: 0, checksum: false };
  }
  if (magic !== MAGIC) throw corruptStream("zstd", "not a zstd frame");
  const flags = from[at + 4]!;
  if ((flags & 8) !== 0) throw corruptStream("zstd", "reserved bits are set");
  const single = (flags & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][flags & 3]!;
  const sizeBytes = [single ? 1 : 0, 2, 4, 8][flags >> 6]!;
  let next = at + 5;
  if (next + (single ? 0 : 1) + dictionaryBytes + sizeBytes > from.length) throw cut();
  let window = 0;
  if (!single) {
    const descriptor = from[next++]!;
    const base = 2 ** (10 + (descriptor >> 3));
    window = base + (base / 8) * (descriptor & 7);
  }
  let dictionary = 0;
  for (let i = 0; i < dictionaryBytes; i++) dictionary += from[next + i]! * 2 ** (8 * i);
  next += dictionaryBytes;
  let contentSize: number | null = null;
  if (sizeBytes === 1) contentSize = from[next]!;
  else if (sizeBytes === 2) contentSize = view.getUint16(next, true) + 256;
  else if (sizeBytes === 4) contentSize = view.getUint32(next, true);
  else if (sizeBytes === 8) contentSize = fromHiLo(view.getUint32(next + 4, true), view.getUint32(next, true));
  next += sizeBytes;
  if (single) window = contentSize!;
  if (!single && window > WINDOW_MAX) throw corruptStream("zstd", "the window is too large");
  return { skip: false, end: next, window, contentSize, dictionary, checksum: (flags & 4) !== 0 };
}

/** Index just after the frame at `at`, found by walking its block headers; nothing is decoded. */
export function frameEnd(from: Uint8Array, at: number): number {
  const header = readFrameHeader(from, at);
  let next = header.end;
  if (header.skip) return next;
  for (let last = false; !last;) {
    if (next + 3 > from.length) throw corruptStream("zstd", "the stream is cut off");
    const head = from[next]! | (from[next + 1]! << 8) | (from[next + 2]! << 16);
    last = (head & 1) !== 0;
    next += 3 + (((head >> 1) & 3) === 1 ? 1 : head >> 3);
  }
  if (header.checksum) next += 4;
  if (next > from.length) throw corruptStream("zstd", "the stream is cut off");
  return next;
}

/**
 * The part of `from` that is one frame of exactly `size` plain bytes which no decoder can be made to inflate beyond a
 * small multiple of `size`; null when it is anything else (several frames, unknown size, too many blocks, damaged).
 * Foreign decoders that allocate what a stream yields are given only such frames.
 */
export function boundedFrame(from: Uint8Array, size: number): Uint8Array | null {
  try {
    const header = readFrameHeader(from, 0);
    if (header.skip || header.contentSize !== size || header.dictionary !== 0) return null;
    const blockMax = Math.min(128 * 1024, header.window);
    let bound = 0;
    let next = header.end;
    for (let last = false; !last;) {
      if (next + 3 > from.length) return null;
      const head = from[next]! | (from[next + 1]! << 8) | (from[next + 2]! << 16);
      const kind = (head >> 1) & 3;
      last = (head & 1) !== 0;
      bound += kind === 2 ? blockMax : head >> 3;
      if (bound > 2 * size + blockMax) return null;
      next += 3 + (kind === 1 ? 1 : head >> 3);
    }
    if (header.checksum) next += 4;
    return next <= from.length ? from.subarray(0, next) : null;
  } catch {
    return null;
  }
}

/**
 * A frame as streaming encoders write it (no size in its header) with the size `size` put in and the window descriptor
 * taken out, so that decoders need no window of their own. Other frames come back as they are.
 */
export function withContentSize(frame: Uint8Array, size: number): Uint8Array {
  if (frame.length < 6 || (frame[4]! & 0xe3) !== 0 || size < 256) return frame;
  const short = size < 65536 + 256;
  const bytes = short ? 2 : 4;
  const result = new Uint8Array(frame.length - 1 + bytes);
  result.set(frame.subarray(0, 4));
  result[4] = frame[4]! | 0x20 | (short ? 0x40 : 0x80);
  const value = short ? size - 256 : size;
  for (let i = 0; i < bytes; i++) result[5 + i] = value >>> (8 * i);
  result.set(frame.subarray(6), 5 + bytes);
  return result;
}
