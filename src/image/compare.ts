/** Whether two images have the same content. */
import { BlockError, strerror, toBlockError } from "../base/error.js";
import { KiB, MiB } from "../base/int.js";
import { readPadded } from "../block/io.js";
import type { Node } from "../block/node.js";
import { parallel, type Op } from "../block/op.js";
import { blockStatus, StatusCache } from "../block/status.js";
import { createKernel, type Kernel } from "../kernel/kernel.js";
import { imageSize } from "./open.js";
import { throwIfAborted, type OperationOptions } from "./signal.js";

export interface CompareOptions extends OperationOptions {
  /** Different sizes, or a different allocation of the same content, count as a difference. */
  strict?: boolean;
  /** Called when the sizes differ but only the content counts. */
  onSizeMismatch?: () => void;
}

export type CompareResult =
  | { identical: true }
  | { identical: false; reason: "size" }
  /** Byte offset of the first difference. `content`: with sector granularity, as it was read. */
  | { identical: false; reason: "content" | "block status" | "allocation"; offset: number };

/** Bytes read from each image at a time: what was read is still in the processor's cache when it is compared. */
const CHUNK = 512 * KiB;
const MAX_STATUS = 1024 * MiB;
/** Two buffers for each of this many chunks in flight. */
const IN_FLIGHT = 2;
const SECTOR = 512;

interface Side {
  allocated: boolean;
  zero: boolean;
  data: boolean;
  length: number;
}

export function* compareImages(first: Node, second: Node, options: CompareOptions = {}): Op<CompareResult> {
  const size1 = imageSize(first);
  const size2 = imageSize(second);
  if (size1 !== size2 && options.strict === true) return { identical: false, reason: "size" };
  const total = Math.min(size1, size2);
  const all = Math.max(size1, size2);
  const comparer = new Comparer(first, second);
  const cache = new StatusCache();
  const report = (done: number): void => options.onProgress?.({ phase: "compare", done, total: all });
  let ask = CHUNK;
  let at = 0;
  while (at < total) {
    throwIfAborted(options.signal);
    const asked = Math.min(ask, total - at);
    const one = yield* sideStatus(first, at, asked, cache);
    const two = yield* sideStatus(second, at, Math.min(asked, one.length), cache);
    const length = Math.min(one.length, two.length);
    ask = length >= asked ? Math.min(ask * 2, MAX_STATUS) : CHUNK;
    if (options.strict === true && (one.zero !== two.zero || one.data !== two.data)) {
      const offset = yield* comparer.flushed();
      if (offset >= 0) return { identical: false, reason: "content", offset };
      return { identical: false, reason: "block status", offset: at };
    }
    if (!(one.zero && two.zero) && (one.allocated || two.allocated)) {
      if (one.allocated !== two.allocated && options.strict === true)
        return { identical: false, reason: "allocation", offset: at };
      const offset = yield* comparer.add(at, length, one.zero, two.zero);
      if (offset >= 0) return { identical: false, reason: "content", offset };
    }
    at += length;
    report(at);
  }
  const offset = yield* comparer.flushed();
  if (offset >= 0) return { identical: false, reason: "content", offset };
  if (size1 === size2) return { identical: true };
  options.onSizeMismatch?.();
  return yield* restIsZero(size1 > size2 ? first : second, total, all, comparer, options, report);
}

/** What the longer image has behind the end of the shorter one must be zeros. */
function* restIsZero(
  node: Node,
  from: number,
  to: number,
  comparer: Comparer,
  options: CompareOptions,
  report: (done: number) => void,
): Op<CompareResult> {
  const cache = new StatusCache();
  let ask = CHUNK;
  for (let at = from; at < to;) {
    throwIfAborted(options.signal);
    const asked = Math.min(ask, to - at);
    const side = yield* sideStatus(node, at, asked, cache);
    ask = side.length >= asked ? Math.min(ask * 2, MAX_STATUS) : CHUNK;
    if (side.allocated && !side.zero) {
      for (let done = 0; done < side.length;) {
        const length = Math.min(CHUNK, side.length - done);
        const offset = yield* comparer.firstNonZero(node, at + done, length);
        if (offset >= 0) return { identical: false, reason: "content", offset };
        done += length;
      }
    }
    at += side.length;
    report(at);
  }
  return { identical: true };
}

function* sideStatus(node: Node, at: number, length: number, cache: StatusCache): Op<Side> {
  if (at >= node.size) return { allocated: true, zero: true, data: false, length };
  return yield* blockStatus(node, at, Math.min(length, node.size - at), { cache });
}

class Comparer {
  readonly #first: Node;
  readonly #second: Node;
  readonly #kernel: Kernel = createKernel(2 * CHUNK * IN_FLIGHT);
  #waiting: { offset: number; length: number; zero1: boolean; zero2: boolean }[] = [];

  constructor(first: Node, second: Node) {
    this.#first = first;
    this.#second = second;
  }

  /** Compares a range, some time: a difference (-1: none so far) may come back from a later call. */
  *add(offset: number, length: number, zero1: boolean, zero2: boolean): Op<number> {
    for (let done = 0; done < length;) {
      const part = Math.min(CHUNK - ((offset + done) % CHUNK), length - done);
      this.#waiting.push({ offset: offset + done, length: part, zero1, zero2 });
      done += part;
      if (this.#waiting.length === IN_FLIGHT) {
        const found = yield* this.flushed();
        if (found >= 0) return found;
      }
    }
    return -1;
  }

  *flushed(): Op<number> {
    const pieces = this.#waiting;
    this.#waiting = [];
    const found = yield* parallel(pieces.map((piece, slot) => this.#compare(piece, slot)));
    return found.find((offset) => offset >= 0) ?? -1;
  }

  *#compare(piece: { offset: number; length: number; zero1: boolean; zero2: boolean }, slot: number): Op<number> {
    const { offset, length } = piece;
    if (piece.zero1) return yield* this.firstNonZero(this.#second, offset, length, slot);
    if (piece.zero2) return yield* this.firstNonZero(this.#first, offset, length, slot);
    const a = slot * 2 * CHUNK;
    const b = a + CHUNK;
    const { memory } = this.#kernel;
    yield* parallel([
      checkedRead(this.#first, memory.subarray(a, a + length), offset),
      checkedRead(this.#second, memory.subarray(b, b + length), offset),
    ]);
    const at = this.#kernel.firstDifference(a, b, length);
    return at === length ? -1 : offset + at - (at % SECTOR);
  }

  *firstNonZero(node: Node, offset: number, length: number, slot = 0): Op<number> {
    const a = slot * 2 * CHUNK;
    yield* checkedRead(node, this.#kernel.memory.subarray(a, a + length), offset);
    const at = this.#kernel.findNonZero(a, length);
    return at === length ? -1 : offset + at - (at % SECTOR);
  }
}

function* checkedRead(node: Node, into: Uint8Array, offset: number): Op<void> {
  try {
    yield* readPadded(node, into, offset);
  } catch (error) {
    const inner = toBlockError(error);
    throw new BlockError(inner.code, `Error while reading offset ${offset} of ${node.filename}: ${strerror(inner.errno)}`, {
      errno: inner.errno,
      offset,
      operation: "read",
      cause: error,
    });
  }
}
