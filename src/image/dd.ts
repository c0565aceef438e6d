/** Copying whole blocks from one image to another, as dd does. */
import { BlockError, strerror, toBlockError } from "../base/error.js";
import { flush, readPadded, write } from "../block/io.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { throwIfAborted, type OperationOptions } from "./signal.js";

export interface DdOptions extends OperationOptions {
  /** Bytes of one block. */
  blockSize: number;
  /** First byte of the source. */
  from: number;
  /** Bytes to copy. */
  length: number;
}

/** Blocks smaller than this are moved several at a time. */
const REQUEST = 1024 * 1024;

export function* copyBlocks(source: Node, target: Node, options: DdOptions): Op<void> {
  const { blockSize, from, length } = options;
  const request = Math.max(blockSize, REQUEST - (REQUEST % blockSize));
  const buffer = new Uint8Array(Math.min(request, length));
  for (let done = 0; done < length;) {
    throwIfAborted(options.signal);
    const part = buffer.subarray(0, Math.min(buffer.length, length - done));
    try {
      yield* readPadded(source, part, from + done);
    } catch (error) {
      throw ioError("error while reading from input image file", error);
    }
    try {
      yield* write(target, part, done);
    } catch (error) {
      throw ioError("error while writing to output image file", error);
    }
    done += part.length;
    options.onProgress?.({ phase: "copy", done, total: length });
  }
  yield* flush(target);
}

function ioError(what: string, error: unknown): BlockError {
  const inner = toBlockError(error);
  return new BlockError(inner.code, `${what}: ${strerror(inner.errno)}`, { errno: inner.errno, cause: error });
}
