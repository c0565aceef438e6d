import { test } from "uvu";
import * as assert from "uvu/assert";
import { streamSink } from "../../../src/storage/stream-sink.js";
import { rejects } from "../../conformance/storage-suite.js";

function collector(most = Infinity): {
  stream: WritableStream<Uint8Array>;
  bytes: () => Uint8Array;
  state: { closed: boolean; aborted: unknown };
} {
  const parts: Uint8Array[] = [];
  const state = { closed: false, aborted: undefined as unknown };
  let total = 0;
  const stream = new WritableStream<Uint8Array>({
    write: (chunk) => {
      total += chunk.length;
      if (total > most) throw new Error("disk full");
      parts.push(chunk);
    },
    close: () => void (state.closed = true),
    abort: (reason) => void (state.aborted = reason),
  });
  return { stream, state, bytes: () => new Uint8Array(Buffer.concat(parts)) };
}

test("writes in order, gaps and the rest as zeros", async () => {
  const { stream, bytes, state } = collector();
  const sink = streamSink(stream);
  const reused = new Uint8Array(5).fill(1);
  const first = sink.async.write(reused, 0);
  reused.fill(9); // buffers must not be kept, but they are the caller's only after the call
  await first;
  await sink.async.write(new Uint8Array(3).fill(2), 10);
  await sink.async.truncate(20);
  await sink.async.flush();
  assert.is(await sink.async.size(), 20);
  await sink.finish();
  assert.equal([...bytes()], [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0]);
  assert.ok(state.closed);
  await rejects(sink.async.write(new Uint8Array(1), 20), "ERR_CLOSED");
  await sink.async.close();
});

test("a large gap does not become one large buffer", async () => {
  let largest = 0;
  let total = 0;
  const sink = streamSink(
    new WritableStream<Uint8Array>({
      write: (chunk) => {
        largest = Math.max(largest, chunk.length);
        total += chunk.length;
      },
    }),
  );
  await sink.async.write(new Uint8Array(1), 100 << 20);
  await sink.finish();
  assert.is(total, (100 << 20) + 1);
  assert.ok(largest <= 1 << 20);
});

test("concurrent writes in order are fine; going back, reading and shrinking are not", async () => {
  const { stream, bytes } = collector();
  const sink = streamSink(stream);
  await Promise.all([
    sink.async.write(new Uint8Array([1]), 0),
    sink.async.write(new Uint8Array([2]), 1),
    sink.async.write(new Uint8Array([3]), 2),
  ]);
  await rejects(sink.async.write(new Uint8Array([9]), 1), "ERR_UNSUPPORTED");
  await rejects(sink.async.read(new Uint8Array(1), 0), "ERR_UNSUPPORTED");
  await rejects(sink.async.truncate(2), "ERR_UNSUPPORTED");
  await rejects(sink.async.write(new Uint8Array([9]), -1), "ERR_INVALID_ARGUMENT");
  await sink.finish();
  assert.equal([...bytes()], [1, 2, 3]);
});

test("the stream's failure reaches the writer, with its cause", async () => {
  const { stream } = collector(10);
  const sink = streamSink(stream);
  let error;
  for (let i = 0; i < 5 && error === undefined; i++) {
    try {
      await sink.async.write(new Uint8Array(8), i * 8);
      await new Promise((resolve) => setTimeout(resolve));
    } catch (thrown) {
      error = thrown as { code: string; cause: Error };
    }
  }
  assert.is(error?.code, "ERR_IO");
  assert.is(error?.cause.message, "disk full");
  await rejects(sink.finish(), "ERR_IO");
  await sink.async.close();
});

test("the failure of the last write reaches finish", async () => {
  const { stream } = collector(10);
  const sink = streamSink(stream);
  await sink.async.write(new Uint8Array(11), 0).catch(() => {});
  await rejects(sink.finish(), "ERR_IO");
});

test("closing without finish aborts the stream", async () => {
  const { stream, state } = collector();
  const sink = streamSink(stream);
  await sink.async.write(new Uint8Array(1), 0);
  await sink.async.close();
  await sink.async.close();
  assert.not(state.closed);
  assert.ok(state.aborted);
  await rejects(sink.async.size(), "ERR_CLOSED");
});

test.run();
