/** The built package in a runtime at the edge: images over HTTP ranges, and out again as streams, with bounded memory. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { convert, convertToStream, GiB, kernelStatus, KiB, MiB, open, streamSink, type Image } from "blockcore/edge";
import { place } from "../support/portable.js";

/** As images.test.ts made them. */
const SIZE = 256 * MiB;
const DATA: [offset: number, length: number][] = [
  [0, 1 * MiB],
  [100 * MiB + 12_345, 6 * MiB],
  [255 * MiB, 1 * MiB],
];
const byteAt = (offset: number): number => 1 + ((offset >> 9) % 250);
const inData = (offset: number): boolean => DATA.some(([start, length]) => offset >= start && offset < start + length);

interface Served {
  requests: number;
  bytes: number;
}
const url = (path: string): URL => new URL(place().server + path);
const served = async (path: string): Promise<Served> => (await (await fetch(url(`/served?${path}`))).json()) as Served;

async function opened<T>(path: string, work: (image: Image) => Promise<T>): Promise<T> {
  const image = await open(url(path));
  try {
    return await work(image);
  } finally {
    await image.close();
  }
}

/** Takes a stream of guest bytes and holds every one of them to what must be there. */
function verifier(): { stream: WritableStream<Uint8Array>; received(): number; wrong(): number } {
  let at = 0;
  let wrong = -1;
  const stream = new WritableStream<Uint8Array>({
    write(chunk) {
      // Every byte of a run of 512 aligned bytes is the same; the ends of the data are not aligned.
      for (let i = 0; i < chunk.length && wrong < 0; i++) if (chunk[i] !== (inData(at + i) ? byteAt(at + i) : 0)) wrong = at + i;
      at += chunk.length;
    },
  });
  return { stream, received: () => at, wrong: () => wrong };
}

const images = suite("images over HTTP");

images("info, map and a read cost what they need, not the image", async () => {
  const before = await served("/plain.qcow2");
  await opened("/plain.qcow2", async (image) => {
    assert.equal(kernelStatus(), { flavour: "wasm" });
    assert.is(image.format, "qcow2");
    assert.is(image.size, SIZE);
    assert.is((await image.info()).clusterSize, 64 * KiB);
    let data = 0;
    let end = 0;
    for await (const extent of image.extents()) {
      assert.is(extent.start, end);
      end += extent.length;
      if (extent.data) data += extent.length;
    }
    assert.is(end, SIZE);
    assert.ok(data >= 8 * MiB && data < 9 * MiB, `${data} bytes of data`);
    const part = await image.read(100 * MiB + 20_000, 4096);
    assert.is(
      part.findIndex((byte, i) => byte !== byteAt(100 * MiB + 20_000 + i)),
      -1,
    );
    assert.ok((await image.read(50 * MiB, 4096)).every((byte) => byte === 0));
  });
  const after = await served("/plain.qcow2");
  const [requests, bytes] = [after.requests - before.requests, after.bytes - before.bytes];
  assert.ok(bytes < 2 * MiB, `${bytes} bytes were asked for`);
  assert.ok(requests <= 16, `${requests} requests`);
});

for (const path of ["/plain.qcow2", "/compressed.qcow2"]) {
  images(`${path} is converted to a raw stream, each byte asked for about once`, async () => {
    const before = (await served(path)).bytes;
    const out = verifier();
    const peak = await opened(path, async (image) => {
      const sink = streamSink(out.stream);
      const watch = memoryWatch();
      await convert(image, sink, { format: "raw" });
      await sink.finish();
      return watch();
    });
    assert.is(out.received(), SIZE);
    assert.is(out.wrong(), -1, `byte ${out.wrong()}`);
    const asked = (await served(path)).bytes - before;
    assert.ok(asked < 12 * MiB, `${asked} bytes were asked for, of a file with at most 9 MiB`);
    assert.ok(peak < 150 * MiB, `memory grew by ${peak} bytes`);
  });
}

images("an image becomes the body of a response", async () => {
  await opened("/compressed.qcow2", async (image) => {
    const response = new Response(image.stream({ start: 99 * MiB, end: 108 * MiB }));
    const bytes = new Uint8Array(await response.arrayBuffer());
    assert.is(bytes.length, 9 * MiB);
    assert.is(
      bytes.findIndex((byte, i) => byte !== (inData(99 * MiB + i) ? byteAt(99 * MiB + i) : 0)),
      -1,
    );
  });
});

images("a disk of 64 GiB is read at its end, and a part of 1 GiB streams through", async () => {
  await opened("/huge.raw", async (image) => {
    assert.is(image.format, "raw");
    assert.is(image.size, 64 * GiB);
    assert.is((await image.read(64 * GiB - 512, 512)).length, 512);
    const length = place().runtime === "node" ? GiB : 64 * MiB;
    const watch = memoryWatch();
    let seen = 0;
    const reader = image.stream({ start: 40 * GiB, end: 40 * GiB + length }).getReader();
    for (let step = await reader.read(); !step.done; step = await reader.read()) seen += step.value.length;
    assert.is(seen, length);
    const peak = watch();
    assert.ok(peak < 150 * MiB, `memory grew by ${peak} bytes`);
  });
});

images("every format that can be written in one pass, as long as it said it would be", async () => {
  const data = DATA.reduce((sum, [, length]) => sum + length, 0);
  for (const [format, options] of [
    ["qcow2", {}],
    ["vpc", {}],
    ["vpc", { subformat: "fixed" }],
    ["vdi", {}],
    ["vhdx", {}],
    ["vmdk", { subformat: "streamOptimized" }],
  ] as const) {
    await opened("/plain.qcow2", async (image) => {
      const watch = memoryWatch();
      const { length, stream } = await convertToStream(image, { format, options });
      let seen = 0;
      const reader = stream.getReader();
      for (let step = await reader.read(); !step.done; step = await reader.read()) seen += step.value.length;
      assert.is(seen, length, format);
      assert.ok(format === "vmdk" || seen >= data, `${format} ${seen}`);
      const peak = watch();
      assert.ok(peak < 150 * MiB, `${format}: memory grew by ${peak} bytes`);
    });
  }
});

images("a stream that its reader gives up ends, and the image is still usable", async () => {
  await opened("/plain.qcow2", async (image) => {
    const reader = image.stream().getReader();
    await reader.read();
    await reader.cancel("enough");
    assert.is((await image.read(0, 1))[0], byteAt(0));
  });
});

/** Starts watching; the function returned tells by how many bytes the process grew at most (0 where nobody tells). */
function memoryWatch(): () => number {
  const { process } = globalThis as { process?: { memoryUsage?: { rss?(): number } } };
  if (place().runtime !== "node" || typeof process?.memoryUsage?.rss !== "function") return () => 0;
  const rss = (): number => process.memoryUsage!.rss!();
  const start = rss();
  let peak = start;
  const timer = setInterval(() => (peak = Math.max(peak, rss())), 20);
  return () => {
    clearInterval(timer);
    return Math.max(peak, rss()) - start;
  };
}

images.run();
