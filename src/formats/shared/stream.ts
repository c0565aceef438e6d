/**
 * What the single-pass writers have in common. The block status of the source says which blocks there will be; with that every
 * place in the new image is known before its first byte. What does not read as zeros is stored as it is.
 */
import { BlockError } from "../../base/error.js";
import { MiB } from "../../base/int.js";
import type { Measure, MeasureContext, StreamContext, StreamPlan, StreamSource } from "../../block/driver.js";
import { readPadded } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { done, parallel, type Op } from "../../block/op.js";
import { blockStatus } from "../../block/status.js";

/** Runs of blocks that are kept at most: 256 MiB. */
const MAX_RUNS = 16 * MiB;
const MAX_STATUS = 1024 * MiB;
/** Bytes of one read; two are in memory, one on its way in and one on its way out. */
const CHUNK = 1 * MiB;

/** Runs of blocks with data: first block and number, alternating, ascending, with gaps between them. */
export class Runs {
  #items: Float64Array<ArrayBuffer> = new Float64Array(256);
  count = 0;
  /** In all runs together. */
  blocks = 0;

  first(run: number): number {
    return this.#items[run * 2]!;
  }
  length(run: number): number {
    return this.#items[run * 2 + 1]!;
  }
  /** The blocks one by one. */
  *each(): Iterable<number> {
    for (let run = 0; run < this.count; run++) {
      const end = this.first(run) + this.length(run);
      for (let block = this.first(run); block < end; block++) yield block;
    }
  }

  /** `first` is not below the end of the last run by more than its last block. */
  add(first: number, end: number): void {
    if (this.count > 0) {
      const last = this.count * 2 - 2;
      const lastEnd = this.#items[last]! + this.#items[last + 1]!;
      if (first <= lastEnd) {
        if (end > lastEnd) {
          this.#items[last + 1]! += end - lastEnd;
          this.blocks += end - lastEnd;
        }
        return;
      }
    }
    if (this.count === MAX_RUNS)
      throw new BlockError(
        "ERR_TOO_LARGE",
        "The source is too fragmented to be written to a stream (try using a larger cluster size)",
      );
    if (this.count * 2 === this.#items.length) {
      const larger = new Float64Array(this.#items.length * 2);
      larger.set(this.#items);
      this.#items = larger;
    }
    this.#items[this.count * 2] = first;
    this.#items[this.count * 2 + 1] = end - first;
    this.count++;
    this.blocks += end - first;
  }
}

/** The blocks of `blockSize` bytes that hold data. */
export function* findRuns(source: StreamSource, size: number, blockSize: number): Op<Runs> {
  const runs = new Runs();
  for (let at = 0; at < size;) {
    const { length, data } = yield* source.status(at, Math.min(MAX_STATUS, size - at));
    if (data) runs.add(Math.floor(at / blockSize), Math.ceil((at + length) / blockSize));
    at += length;
  }
  return runs;
}

/** A part of an image: bytes that are made up; so many zeros; or guest bytes [from, to), zeros behind the end of the source. */
export type Part = Uint8Array | { zeros: number } | { from: number; to: number };

/** The guest bytes of all runs. */
export function* partsOf(runs: Runs, blockSize: number): Iterable<Part> {
  for (let run = 0; run < runs.count; run++) {
    const from = runs.first(run) * blockSize;
    yield { from, to: from + runs.length(run) * blockSize };
  }
}

/** The next piece of the guest's bytes is read while one is written. @param size bytes of the source */
export function* sendParts(
  parts: Iterable<Part>,
  source: StreamSource,
  size: number,
  to: (bytes: Uint8Array) => Op<void>,
): Op<void> {
  const buffers = [new Uint8Array(CHUNK), new Uint8Array(CHUNK)] as const;
  let zeros: Uint8Array | null = null;
  let waiting: Uint8Array | null = null;
  let turn = 0;
  function* drain(): Op<void> {
    if (waiting !== null) yield* to(waiting);
    waiting = null;
  }
  for (const part of parts) {
    if (part instanceof Uint8Array) {
      yield* drain();
      yield* to(part);
    } else if ("zeros" in part) {
      yield* drain();
      zeros ??= new Uint8Array(CHUNK);
      for (let left = part.zeros; left > 0; left -= CHUNK) yield* to(left < CHUNK ? zeros.subarray(0, left) : zeros);
    } else {
      for (let at = part.from; at < part.to; at += CHUNK) {
        const bytes = buffers[turn++ & 1]!.subarray(0, Math.min(CHUNK, part.to - at));
        const reading = readInside(source, size, bytes, at);
        yield* waiting === null ? reading : parallel([to(waiting), reading]);
        waiting = bytes;
      }
    }
  }
  yield* drain();
}

function* readInside(source: StreamSource, size: number, bytes: Uint8Array, at: number): Op<void> {
  const inside = Math.max(0, Math.min(bytes.length, size - at));
  if (inside > 0) yield* source.read(bytes.subarray(0, inside), at);
  bytes.fill(0, inside);
}

/** A table of 32-bit or 64-bit entries and what fills it up to `bytes`, in pieces: `put` writes entries [first, first+count) from place 0 on. */
export function* tableParts(
  entries: number,
  entryBytes: number,
  bytes: number,
  put: (view: DataView, first: number, count: number) => void,
  filler = 0,
): Iterable<Part> {
  const perPiece = CHUNK / entryBytes;
  for (let at = 0; at < bytes; at += CHUNK) {
    const piece = new Uint8Array(Math.min(CHUNK, bytes - at));
    if (filler !== 0) piece.fill(filler);
    const first = at / entryBytes;
    const count = Math.min(perPiece, entries - first);
    if (count > 0) put(new DataView(piece.buffer), first, count);
    yield piece;
  }
}

// ---- measuring ------------------------------------------------------------------------------------------------------

const alike = (data: boolean): StreamSource => ({
  status: (_offset, length) => done({ length, data }),
  // eslint-disable-next-line require-yield
  *read(into) {
    into.fill(0);
  },
});

/** The content of a node. */
export function nodeSource(node: Node): StreamSource {
  return {
    *status(offset, length) {
      if (offset >= node.size) return { length, data: false };
      const found = yield* blockStatus(node, offset, Math.min(length, node.size - offset));
      return { length: found.length, data: !found.zero };
    },
    read: (into, offset) => readPadded(node, into, offset),
  };
}

/** `measure` for formats that stream: the length of the stream, which is what `convert` writes at most. */
export function* measureStream(context: MeasureContext, plan: (context: StreamContext) => Op<StreamPlan>): Op<Measure> {
  const { environment, options, size, source } = context;
  const lengthFor = function* (from: StreamSource): Op<number> {
    return (yield* plan({ environment, options, size, source: from })).length;
  };
  return {
    required: yield* lengthFor(source === null ? alike(false) : nodeSource(source)),
    fullyAllocated: yield* lengthFor(alike(true)),
  };
}
