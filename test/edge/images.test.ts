import { convert, create, memoryStorage, open } from "../../src/node.js";
import type { Body } from "../support/loopback.js";
import { edgeSuite } from "./harness.js";

const MiB = 1024 * 1024;
const SIZE = 256 * MiB;
const byteAt = (offset: number): number => 1 + ((offset >> 9) % 250);

const plain = memoryStorage(0);
await create(plain, { format: "qcow2", size: SIZE });
const image = await open(plain, { format: "qcow2", writable: true });
for (const [start, length] of [
  [0, MiB],
  [100 * MiB + 12_345, 6 * MiB],
  [255 * MiB, MiB],
] as const) {
  await image.write(
    Uint8Array.from({ length }, (_, i) => byteAt(start + i)),
    start,
  );
}
const compressed = memoryStorage(0);
await convert(image, compressed, { format: "qcow2", compress: true });
await image.close();

const type = "application/octet-stream";
const block = new Uint8Array(8 * MiB).fill(7);
/** Larger than any memory here: made as it is asked for. */
const huge: Body = {
  type,
  content: {
    size: 64 * 1024 * MiB,
    range: (_, length) => (length <= block.length ? block.subarray(0, length) : new Uint8Array(length).fill(7)),
  },
};
const bodies = new Map<string, Body>([
  ["/plain.qcow2", { type, content: plain.toBytes() }],
  ["/compressed.qcow2", { type, content: compressed.toBytes() }],
  ["/huge.raw", huge],
]);

await edgeSuite("test/edge/images.portable.ts", undefined, undefined, bodies);
