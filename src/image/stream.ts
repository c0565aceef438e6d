/** Images through pipes: raw bytes in from a stream of unknown length, raw bytes out in order. */
import { BlockError } from "../base/error.js";
import { alignUp, MiB } from "../base/int.js";
import { flush, readPadded, truncate, write } from "../block/io.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { createKernel } from "../kernel/kernel.js";
import { clusterSize } from "./convert.js";
import { imageSize, SECTOR } from "./open.js";
import { throwIfAborted, type OperationOptions } from "./signal.js";

const CHUNK = 1 * MiB;
/** The target grows ahead of the data in steps, not with every piece. */
const GROW = 64 * MiB;
const ZERO_GRANULE = 64 * 1024;

/** Fills as much of the buffer as there is; 0 bytes: the end. */
export type ReadStream = (into: Uint8Array) => Op<number>;
export type WriteStream = (from: Uint8Array) => Op<void>;

export interface StreamOptions extends OperationOptions {
  compress?: boolean;
}

/** Copies a raw stream into an image that was just made (reads as zeros); its size becomes that of the stream. Returns the bytes read. */
export function* streamIn(from: ReadStream, target: Node, options: StreamOptions = {}): Op<number> {
  const unit = options.compress === true ? clusterSize(target) : SECTOR;
  const chunk = Math.max(CHUNK, unit);
  const granule = Math.max(ZERO_GRANULE, unit);
  const kernel = createKernel(chunk);
  const buffer = kernel.memory.subarray(0, chunk);
  const flags = options.compress === true ? { compressed: true } : {};
  let at = 0;
  for (;;) {
    throwIfAborted(options.signal);
    let length = 0;
    while (length < chunk) {
      const got = yield* from(buffer.subarray(length));
      if (got === 0) break;
      length += got;
    }
    if (length === 0) break;
    // The last sector, or cluster to be compressed, is filled up with zeros.
    const whole = alignUp(length, SECTOR);
    const filled = alignUp(length, unit);
    buffer.fill(0, length, filled);
    if (at + whole > target.size) yield* truncate(target, alignUp(at + whole, GROW), { preallocation: "off" });
    for (let done = 0; done < filled;) {
      const zeros = kernel.zeroRun(done, filled - done, granule);
      done += zeros;
      if (done >= filled) break;
      const data = kernel.dataRun(done, filled - done, granule);
      yield* write(target, buffer.subarray(done, done + data), at + done, flags);
      done += data;
    }
    at += whole;
    options.onProgress?.({ phase: "convert", done: at, total: at });
    if (length < chunk) break;
  }
  if (target.size !== at) yield* truncate(target, at, { preallocation: "off", exact: true });
  yield* flush(target);
  return at;
}

/** Writes the guest's bytes of images, one after the other, to a stream. */
export function* streamOut(sources: readonly Node[], to: WriteStream, options: OperationOptions = {}): Op<void> {
  const total = sources.reduce((sum, node) => sum + imageSize(node), 0);
  const buffer = new Uint8Array(CHUNK);
  let sent = 0;
  for (const node of sources) {
    const size = imageSize(node);
    for (let at = 0; at < size;) {
      throwIfAborted(options.signal);
      const part = buffer.subarray(0, Math.min(CHUNK, size - at));
      yield* readPadded(node, part, at);
      yield* to(part);
      at += part.length;
      sent += part.length;
      options.onProgress?.({ phase: "convert", done: sent, total });
    }
  }
  if (sources.length === 0) throw new BlockError("ERR_INVALID_ARGUMENT", "There is nothing to write");
}
