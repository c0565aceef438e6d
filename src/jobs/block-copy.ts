/**
 * The copy engine: moves what a source holds into a target. Convert uses it today; stream, commit, mirror and backup are
 * the same loop with another source and target.
 *
 * Block status drives it: zeros are never read, what shows through a backing file is left alone, data is read in large pieces with
 * several requests in flight. Buffers live in one kernel memory, so that zero detection is a kernel call on the bytes as read.
 */
import { BlockError } from "../base/error.js";
import { alignDown, alignUp, KiB, MiB } from "../base/int.js";
import type { RateLimit } from "../base/rate-limit.js";
import { Mutex, parallel, sleep, WaitQueue, WaitRequest, type Op } from "../block/op.js";
import { createKernel, type Kernel } from "../kernel/kernel.js";

/** What a range of the source is to the target: bytes to copy, zeros, or nothing to do (the target's backing file shows it). */
export type CopyKind = "data" | "zero" | "skip";

export interface CopyStatus {
  /** Bytes from the offset asked for, at least 1. */
  length: number;
  kind: CopyKind;
}

export interface CopySource {
  /** Kind of a prefix of [offset, offset+length). */
  status(offset: number, length: number): Op<CopyStatus>;
  read(into: Uint8Array, offset: number): Op<void>;
}

export interface CopyTarget {
  write(from: Uint8Array, offset: number): Op<void>;
  /** Makes the range read as zeros; null: it does so already, zeros need no work. */
  readonly writeZeroes: ((offset: number, length: number) => Op<void>) | null;
}

/** The part of an AbortSignal that is looked at between pieces. */
export interface AbortLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
}

export interface CopyProgress {
  /** Bytes copied, and bytes there are to copy (data, not zeros). */
  done: number;
  total: number;
}

export interface CopyOptions {
  source: CopySource;
  target: CopyTarget;
  /** Bytes to look at, from 0. */
  size: number;
  /** Pieces under way at a time, 1..16. */
  parallel: number;
  /** Bytes of one piece. */
  chunk?: number;
  /** Pieces are written in ascending order. */
  inOrder: boolean;
  /** Runs of zeros in data are found in aligned units of this many bytes; 0: data is written as it is, zeros too. */
  detectZeroes: number;
  /** Shorter runs of zeros are written as data (at least `detectZeroes`). */
  minZeroRun?: number;
  /** Pieces must be whole units of this many bytes (compressed clusters); 1 otherwise. */
  unit?: number;
  rateLimit?: RateLimit;
  signal?: AbortLike | undefined;
  /** Asking for progress costs a pass over the block status first. */
  onProgress?: ((progress: CopyProgress) => void) | undefined;
}

interface Piece {
  ticket: number;
  offset: number;
  length: number;
  kind: "data" | "zero";
}

/** Zeros between data are read along rather than asked about, up to this many bytes. */
const MERGE_ZEROS = 128 * KiB;
const MAX_STATUS = 1024 * MiB;
/** Largest run of zeros written at once, so that cancelling does not wait for a terabyte. */
const MAX_ZERO = 256 * MiB;

/** Longest uninterrupted wait for a rate limit, in ms. */
const WAIT_STEP = 50;

export function throwIfAborted(signal: AbortLike | undefined): void {
  if (signal?.aborted !== true) return;
  throw new BlockError("ERR_ABORTED", "The operation was aborted", signal.reason === undefined ? {} : { cause: signal.reason });
}

/** Copies everything. Throws the first failure, after all pieces under way have ended. */
export function* blockCopy(options: CopyOptions): Op<void> {
  yield* new BlockCopy(options).run();
}

class BlockCopy {
  readonly #o: CopyOptions;
  readonly #chunk: number;
  readonly #unit: number;
  readonly #kernel: Kernel;
  readonly #planning = new Mutex();
  readonly #turns = new WaitQueue();
  #failed = false;
  #cursor = 0;
  #runStart = 0;
  #runEnd = 0;
  /** The answer to a question that was asked to find the end of a run. */
  #ahead: (CopyStatus & { offset: number }) | null = null;
  #runKind: CopyKind = "skip";
  #statusSize: number;
  #tickets = 0;
  #turn = 0;
  #done = 0;
  #total = 0;

  constructor(options: CopyOptions) {
    this.#o = options;
    this.#unit = options.unit ?? 1;
    this.#chunk = alignUp(Math.max(options.chunk ?? 1 * MiB, this.#unit), this.#unit);
    this.#kernel = createKernel(this.#chunk * options.parallel);
    this.#statusSize = this.#chunk;
  }

  *run(): Op<void> {
    if (this.#o.onProgress !== undefined) yield* this.#countData();
    this.#report(0);
    const workers: Op<void>[] = [];
    for (let slot = 0; slot < this.#o.parallel; slot++) workers.push(this.#worker(slot));
    yield* parallel(workers);
  }

  *#countData(): Op<void> {
    for (;;) {
      throwIfAborted(this.#o.signal);
      const piece = yield* this.#nextPiece(MAX_STATUS);
      if (piece === null) break;
      if (piece.kind === "data") this.#total += piece.length;
    }
    this.#cursor = this.#runStart = this.#runEnd = 0;
    this.#statusSize = this.#chunk;
    this.#tickets = 0;
  }

  #report(bytes: number): void {
    this.#done += bytes;
    this.#o.onProgress?.({ done: this.#done, total: this.#total });
  }

  *#worker(slot: number): Op<void> {
    const base = slot * this.#chunk;
    const buffer = this.#kernel.memory.subarray(base, base + this.#chunk);
    try {
      while (!this.#failed) {
        throwIfAborted(this.#o.signal);
        const release = yield* this.#planning.acquire();
        let piece: Piece | null;
        try {
          piece = this.#failed ? null : yield* this.#nextPiece(this.#chunk);
        } finally {
          release();
        }
        if (piece === null) return;
        const wait = this.#o.rateLimit?.charge(piece.kind === "data" ? piece.length : 0) ?? 0;
        if (wait > 0) yield* this.#waitToPay(wait);
        if (this.#failed) return;
        if (piece.kind === "data") yield* this.#o.source.read(buffer.subarray(0, piece.length), piece.offset);
        if (this.#o.inOrder) {
          while (this.#turn !== piece.ticket && !this.#failed) yield new WaitRequest(this.#turns);
          if (this.#failed) return;
        }
        if (piece.kind === "data") yield* this.#put(base, buffer, piece);
        else yield* this.#o.target.writeZeroes!(piece.offset, piece.length);
        this.#turn++;
        this.#turns.wakeAll();
        if (piece.kind === "data") this.#report(piece.length);
      }
    } catch (error) {
      this.#failed = true;
      this.#turns.wakeAll();
      throw error;
    }
  }

  /** In short steps: one who gives up, or another worker's failure, is not to wait for what a slow limit makes hours. */
  *#waitToPay(milliseconds: number): Op<void> {
    for (let left = milliseconds; left > 0 && !this.#failed; left -= WAIT_STEP) {
      yield* sleep(Math.min(left, WAIT_STEP));
      throwIfAborted(this.#o.signal);
    }
  }

  /** The next range that needs work, in order; null at the end. */
  *#nextPiece(chunk: number): Op<Piece | null> {
    const { size, target, detectZeroes } = this.#o;
    while (this.#cursor < size) {
      const offset = this.#cursor;
      let kind = yield* this.#kindAt(offset);
      // With zero detection off zeros are data, so that the target gets fully allocated.
      if (kind === "zero" && detectZeroes === 0) kind = "data";
      let end = this.#runEnd;
      if (this.#unit > 1 && end < size) {
        // Whole clusters only: one that is data in part is data.
        if (end - offset < this.#unit) {
          end = Math.min(offset + this.#unit, size);
          kind = "data";
        } else {
          end -= (end - offset) % this.#unit;
        }
      }
      if (kind === "skip" || (kind === "zero" && target.writeZeroes === null)) {
        this.#cursor = end;
        continue;
      }
      if (kind === "zero") {
        end = Math.min(end, offset + MAX_ZERO);
      } else {
        // Pieces end on multiples of their size, so that clusters are not split.
        const limit = Math.min(size, chunk === this.#chunk ? alignDown(offset, chunk) + chunk : offset + chunk);
        while (end < limit) {
          const next = yield* this.#kindAt(end);
          if (next === "skip") break;
          if (next === "zero" && detectZeroes > 0 && (this.#runEnd - end > MERGE_ZEROS || this.#runEnd >= limit)) break;
          end = this.#runEnd;
        }
        end = Math.min(end, limit);
        if (this.#unit > 1 && end < size) end = Math.min(size, offset + alignUp(end - offset, this.#unit));
      }
      this.#cursor = end;
      return { ticket: this.#tickets++, offset, length: end - offset, kind };
    }
    return null;
  }

  /** Kind of the source at `offset`; `#runEnd` is then the end of the run it lies in. */
  *#kindAt(offset: number): Op<CopyKind> {
    if (offset < this.#runEnd && offset >= this.#runStart) return this.#runKind;
    const first = yield* this.#ask(offset);
    this.#runStart = offset;
    this.#runKind = first.kind;
    let end = offset + first.length;
    // Runs without data are followed to their end: only then is it known whether they are worth an interruption.
    while (first.kind !== "data" && end < this.#o.size && end - offset < MAX_ZERO) {
      const next = yield* this.#ask(end);
      if (next.kind !== first.kind) {
        this.#ahead = { offset: end, ...next };
        break;
      }
      end += next.length;
    }
    this.#runEnd = end;
    return first.kind;
  }

  *#ask(offset: number): Op<CopyStatus> {
    const ahead = this.#ahead;
    this.#ahead = null;
    if (ahead?.offset === offset) return ahead;
    const length = Math.min(this.#statusSize, this.#o.size - offset);
    const found = yield* this.#o.source.status(offset, length);
    // Long runs are asked about in ever larger steps, short ones in small steps.
    this.#statusSize = found.length >= length ? Math.min(this.#statusSize * 2, MAX_STATUS) : this.#chunk;
    return { kind: found.kind, length: Math.min(found.length, length) };
  }

  /** Writes the data of a piece, leaving out runs of zeros. */
  *#put(base: number, buffer: Uint8Array, piece: Piece): Op<void> {
    const { target, detectZeroes: granule } = this.#o;
    const { offset, length } = piece;
    if (granule === 0) {
      yield* target.write(buffer.subarray(0, length), offset);
      return;
    }
    const minZeros = Math.max(granule, this.#o.minZeroRun ?? granule);
    const kernel = this.#kernel;
    // Up to the first multiple of the granule by itself, then granule by granule.
    const head = Math.min(length, alignUp(offset, granule) - offset);
    let dataStart = -1;
    for (let at = 0; at < length;) {
      const room = at < head ? head - at : length - at;
      const zeros = kernel.zeroRun(base + at, room, at < head ? room : granule);
      if (zeros > 0 && (zeros >= minZeros || dataStart < 0 || at + zeros === length)) {
        if (dataStart >= 0) yield* target.write(buffer.subarray(dataStart, at), offset + dataStart);
        dataStart = -1;
        if (target.writeZeroes !== null) yield* target.writeZeroes(offset + at, zeros);
        at += zeros;
        continue;
      }
      if (dataStart < 0) dataStart = at;
      at += zeros;
      if (zeros < room) at += kernel.dataRun(base + at, room - zeros, at < head ? room : granule);
    }
    if (dataStart >= 0) yield* target.write(buffer.subarray(dataStart, length), offset + dataStart);
  }
}
