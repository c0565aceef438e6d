/** The reader-only drivers give what the full ones give, and refuse what they can not serve. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { blobStorage, convert, create, memoryStorage, open, type MemoryStorage } from "../../../src/node.js";
import { BlockError } from "../../../src/base/error.js";
import {
  Codecs,
  openReader,
  portableZstdDecoder,
  qcow2Reader,
  rawReader,
  smallInflate,
  type ImageReader,
  type ReaderOptions,
} from "../../../src/reader.js";

const MiB = 1024 * 1024;
const formats = [qcow2Reader, rawReader];
const pattern = (length: number, value: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => 1 + ((i * 7 + (i >> 9) + value) % 255));

async function image(options: Record<string, unknown>, fill = true): Promise<MemoryStorage> {
  const storage = memoryStorage(0, { name: "disk" });
  await create(storage, { format: "qcow2", size: 8 * MiB, ...options });
  if (fill) {
    const opened = await open(storage, { format: "qcow2", writable: true });
    await opened.write(pattern(300_000, 3), 100_000);
    await opened.writeZeroes(2 * MiB, 200_000);
    await opened.write(pattern(70_000, 9), 8 * MiB - 70_000);
    await opened.close();
  }
  return storage;
}
const blob = (storage: MemoryStorage): Parameters<typeof openReader>[0] =>
  blobStorage(new Blob([storage.toBytes() as Uint8Array<ArrayBuffer>]));

/** All the reader says of an image is what the full driver says. */
async function same(storage: MemoryStorage, options: Partial<ReaderOptions> = {}): Promise<void> {
  const full = await open(storage, {});
  const reader = await openReader(blob(storage), { formats, ...options });
  assert.is(reader.format, full.format);
  assert.is(reader.size, full.size);
  assert.equal(await reader.read(0, reader.size), await full.read(0, full.size));
  const list = async (source: ImageReader): Promise<unknown[]> => {
    const entries: unknown[] = [];
    for await (const { start, length, data, zero, depth } of source.extents()) entries.push({ start, length, data, zero, depth });
    return entries;
  };
  assert.equal(await list(reader), await list(full));
  assert.is((await reader.info()).clusterSize, (await full.info()).clusterSize);
  let streamed = 0;
  for await (const chunk of reader.stream() as unknown as AsyncIterable<Uint8Array>) streamed += chunk.length;
  assert.is(streamed, full.size);
  await reader.close();
  await full.close();
}
async function refused(opening: Promise<unknown>, code: string): Promise<void> {
  const error = await opening.then(
    () => assert.unreachable("it opened"),
    (reason: unknown) => reason,
  );
  assert.instance(error, BlockError);
  assert.is((error as BlockError).code, code, (error as BlockError).message);
}

const reader = suite("openReader");

for (const options of [{}, { clusterSize: 512 }, { clusterSize: 2 * MiB }, { compat: "0.10" }, { extendedL2: true }]) {
  reader(`reads qcow2 ${JSON.stringify(options)}`, async () => await same(await image(options)));
}

for (const compression of ["deflate", "zstd"]) {
  reader(`reads clusters compressed with ${compression}`, async () => {
    const plain = await image({});
    const packed = memoryStorage(0);
    await convert(plain, packed, {
      format: "qcow2",
      compress: true,
      options: { compressionType: compression === "deflate" ? "zlib" : "zstd" },
    });
    await same(packed, compression === "zstd" ? { codecs: new Codecs([...smallInflate, ...portableZstdDecoder]) } : {});
    if (compression === "zstd") {
      const without = await openReader(blob(packed), { formats });
      await refused(without.read(0, MiB), "ERR_UNSUPPORTED");
      await without.close();
    }
  });
}

reader("reads raw, whatever its size", async () => {
  for (const size of [1, 513, 3 * MiB + 5]) {
    const source = await openReader(blobStorage(new Blob([pattern(size, 1) as Uint8Array<ArrayBuffer>])), { formats });
    assert.is(source.format, "raw");
    assert.is(source.size, size);
    assert.equal(await source.read(0, size), pattern(size, 1));
    await source.close();
  }
});

reader("a backing file comes from the caller, or not at all", async () => {
  const base = await image({});
  const overlay = memoryStorage(0);
  await create(overlay, {
    format: "qcow2",
    size: 8 * MiB,
    backing: "base.qcow2",
    backingFormat: "qcow2",
    references: () => base,
  });
  await refused(openReader(blob(overlay), { formats }), "ERR_DENIED");
  await refused(openReader(blob(overlay), { formats, reference: () => null }), "ERR_DENIED");
  const asked: string[] = [];
  const source = await openReader(blob(overlay), {
    formats,
    reference: async ({ filename }) => {
      asked.push(filename);
      return blob(base);
    },
  });
  assert.equal(asked, ["base.qcow2"]);
  assert.equal(await source.read(100_000, 300_000), pattern(300_000, 3));
  await source.close();
});

reader("encrypted images are refused with the way out", async () => {
  const storage = await image({ encrypt: { format: "aes", "key-secret": "s" }, secrets: { s: "x" } }, false);
  await refused(openReader(blob(storage), { formats }), "ERR_UNSUPPORTED");
});

reader("bytes that are no image of these formats are refused, and damaged ones too", async () => {
  const storage = await image({});
  await refused(openReader(blobStorage(new Blob([new Uint8Array(4096)])), { formats: [qcow2Reader] }), "ERR_NOT_THIS_FORMAT");
  const bytes = storage.toBytes().slice();
  bytes[46] = 2; // the L1 table is not aligned any more
  await refused(openReader(blobStorage(new Blob([bytes as Uint8Array<ArrayBuffer>])), { formats }), "ERR_CORRUPT");
});

reader.run();
