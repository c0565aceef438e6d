/**
 * Inflate with one zlib state per wrapper that is reset for every unit.
 *
 * node:zlib's one-shot calls make a stream object, a zlib state and a buffer for each unit: many times the cost of inflating a
 * cluster that compressed well. Underneath every stream lies a handle with a synchronous write, which packages in wide use rely on
 * too (pngjs); where a runtime does not have it, or it does not do what it should, nothing is offered.
 */
import type { Inflate, InflateRaw } from "node:zlib";

/** What is used of the handle of a stream. */
interface Handle {
  reset(): void;
  writeSync(
    flush: number,
    from: Uint8Array,
    fromOffset: number,
    fromLength: number,
    into: Uint8Array,
    intoOffset: number,
    intoLength: number,
  ): void;
  onerror: (message: string, errno: number, code: string) => void;
}
interface Inside {
  readonly _handle?: Partial<Handle> | null;
  /** Bytes left of the output and of the input after a write. */
  readonly _writeState?: Uint32Array;
}

/** true: `into` is full; false: the stream is damaged or too short. */
export type Inflater = (from: Uint8Array, into: Uint8Array) => boolean;

/**
 * Names nothing outside of itself: its text runs in other threads, too.
 * @param stream made for this alone, never used as a stream
 * @param probe the byte "a", compressed
 * @returns null where the runtime's streams are made otherwise
 */
export function inflaterOf(stream: InflateRaw | Inflate, probe: Uint8Array): Inflater | null {
  const { _handle: handle, _writeState: state } = stream as unknown as Inside;
  if (typeof handle?.reset !== "function" || typeof handle.writeSync !== "function" || !(state instanceof Uint32Array))
    return null;
  /** Gives out what there is, and does not mind that the stream is not at its end. */
  const Z_SYNC_FLUSH = 2;
  let failed = false;
  handle.onerror = () => {
    failed = true;
  };
  const inflate: Inflater = (from, into) => {
    failed = false;
    handle.reset!();
    handle.writeSync!(Z_SYNC_FLUSH, from, 0, from.length, into, 0, into.length);
    return !failed && state[0] === 0;
  };
  try {
    const plain = new Uint8Array(2);
    return !inflate(probe, plain) && !failed && state[0] === 1 && plain[0] === 97 ? inflate : null;
  } catch {
    return null;
  }
}
