/** A sequential read or write benchmark on an image. */
import { BlockError, strerror, toBlockError } from "../base/error.js";
import { flush, read, write } from "../block/io.js";
import type { Node } from "../block/node.js";
import { forEachParallel, parallel, type Op } from "../block/op.js";
import { imageSize } from "./open.js";
import { throwIfAborted, type OperationOptions } from "./signal.js";

export interface BenchOptions extends OperationOptions {
  count: number;
  /** Requests in flight. */
  depth: number;
  /** Bytes of one request. */
  bufferSize: number;
  /** Distance of the starts of two requests. */
  step: number;
  /** First offset. */
  offset: number;
  write: boolean;
  /** Byte that is written. */
  pattern: number;
  /** Writes between two flushes; 0: none. */
  flushInterval: number;
  /** Wait for all requests before a flush. */
  drainOnFlush: boolean;
}

/** Runs the requests; offsets wrap around at the end of the image. */
export function* benchImage(node: Node, options: BenchOptions): Op<void> {
  const { count, depth, bufferSize, step, flushInterval } = options;
  const size = imageSize(node);
  const room = size - bufferSize;
  if (count > 0 && room < 0) throw new BlockError("ERR_OUT_OF_RANGE", `Failed request: ${strerror("EINVAL")}`);
  // One buffer a slot: what is written is the same for all.
  const buffers: Uint8Array[] = [];
  let started = 0;
  let offset = options.offset;
  function* one(at: number): Op<void> {
    throwIfAborted(options.signal);
    const buffer = buffers.pop() ?? new Uint8Array(bufferSize).fill(options.pattern);
    try {
      if (options.write) yield* write(node, buffer, at);
      else yield* read(node, buffer, at);
    } catch (error) {
      throw new BlockError("ERR_IO", `Failed request: ${strerror(toBlockError(error).errno)}`, { cause: error });
    } finally {
      buffers.push(buffer);
    }
  }
  const next =
    (limit: number): (() => Op<void> | null) =>
    () => {
      if (started >= limit) return null;
      started++;
      const at = offset;
      offset += step;
      if (size <= offset || offset > room) offset %= Math.max(1, size);
      if (offset > room) offset = 0;
      return one(at > room ? 0 : at);
    };
  const batch = flushInterval === 0 ? count : flushInterval;
  if (count === 0) return;
  for (let goal = Math.min(batch, count); ; goal = Math.min(goal + batch, count)) {
    yield* forEachParallel(depth, next(goal));
    if (flushInterval > 0 && options.write) {
      if (options.drainOnFlush) yield* flush(node);
      else yield* parallel([flush(node)]);
    }
    if (goal === count) return;
  }
}
