/**
 * A `WritableStream` as a storage that is written from front to back: downloads, response bodies, pipes. Formats that only
 * append (raw, a streamed qcow2) can be written to it; everything else gets ERR_UNSUPPORTED.
 */
import { AppendFace } from "./shared/append.js";
import type { AsyncStorageFace, Storage } from "./storage.js";

export interface StreamSink extends Storage {
  readonly async: AsyncStorageFace;
  /** Sends zeros up to the size set by truncate, and closes the stream. Closing the storage without it aborts the stream. */
  finish(): Promise<void>;
}

export interface StreamSinkOptions {
  name?: string;
}

/** @throws BlockError, from calls: ERR_UNSUPPORTED for reads and writes out of order, ERR_IO with the stream's error as cause */
export function streamSink(stream: WritableStream<Uint8Array>, options: StreamSinkOptions = {}): StreamSink {
  const writer = stream.getWriter();
  // Its failure comes back from the write that meets it.
  writer.closed.catch(() => {});
  const face = new AppendFace(options.name ?? "stream", {
    append: async (bytes) => {
      // Waiting for readiness is the stream's backpressure; the outcome of a write shows at the latest in the next one.
      await writer.ready;
      writer.write(bytes).catch(() => {});
    },
    flush: () => writer.ready.then(() => {}),
    finish: () => writer.close(),
    abort: (reason) => writer.abort(reason),
  });
  return {
    kind: "custom",
    name: face.name,
    readOnly: false,
    alignment: 1,
    fixedSize: false,
    sync: null,
    async: face,
    finish: () => face.finish(),
  };
}
