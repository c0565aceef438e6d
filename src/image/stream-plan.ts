/** A new image of any format that can be written in one pass, with the content of others: its length is known before its first byte. */
import { BlockError } from "../base/error.js";
import type { Environment } from "../block/context.js";
import type { StreamPlan } from "../block/driver.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import type { Opt } from "../qapi/options.js";
import { createOptionTable, formatForCreate, readCreateOptions } from "./create-options.js";
import { imageSize } from "./open.js";
import { throwIfAborted, type OperationOptions } from "./signal.js";
import { ConcatenatedSource } from "./source.js";
import { streamOut, type WriteStream } from "./stream.js";

export interface StreamRequest extends OperationOptions {
  format: string;
  /** Creation options. */
  options?: readonly Opt[];
}

/** @throws BlockError ERR_UNSUPPORTED for formats and options that need more than one pass */
export function* planStream(environment: Environment, sources: readonly Node[], request: StreamRequest): Op<StreamPlan> {
  const { format, signal, onProgress } = request;
  const given = request.options ?? [];
  const size = sources.reduce((sum, node) => sum + imageSize(node), 0);
  if (format === "raw" && given.length === 0) return { length: size, write: (to) => streamOut(sources, to, request) };
  const driver = formatForCreate(environment, format);
  if (driver.planStream === undefined || given.some(({ name }) => name === "size")) {
    const what = driver.planStream === undefined ? `a '${format}' image` : "an image of another size than its source";
    throw new BlockError("ERR_UNSUPPORTED", `A stream cannot take ${what}: write it to a file`, { errno: "ENOTSUP" });
  }
  const { size: _size, ...options } = readCreateOptions(createOptionTable(driver, null), given);
  const all = new ConcatenatedSource(sources, { overBacking: false, targetBackingSize: Infinity, onBadSector: null });
  const plan = yield* driver.planStream({
    environment,
    options,
    size,
    source: {
      *status(offset, length) {
        throwIfAborted(signal);
        const found = yield* all.status(offset, length);
        return { length: Math.min(found.length, length), data: found.kind === "data" };
      },
      read: (into, offset) => all.read(into, offset),
    },
  });
  const counted = (to: WriteStream): WriteStream => {
    let done = 0;
    return function* (bytes) {
      throwIfAborted(signal);
      yield* to(bytes);
      done += bytes.length;
      onProgress?.({ phase: "convert", done, total: plan.length });
    };
  };
  return { length: plan.length, write: (to) => plan.write(counted(to)) };
}
