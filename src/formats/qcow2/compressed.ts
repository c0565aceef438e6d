/** Compressed writes: whole clusters, packed byte by byte into host clusters. */
import { allocate } from "../../base/allocate.js";
import { debugEvent } from "../../block/debug.js";
import { writeGrow, writeLeased } from "../../block/io.js";
import type { MappedImpl } from "../../block/driver.js";
import { foreign, type Op } from "../../block/op.js";
import { BlockError } from "../../base/error.js";
import type { Compressor } from "../../codec/codec.js";
import { readEntry, sliceForWrite, writeCompressedEntry } from "./entries.js";
import type { Qcow2 } from "./image.js";
import { releaseEntry } from "./write.js";

const compressors = new WeakMap<Qcow2, Compressor>();

function compressorOf(image: Qcow2): Compressor {
  let compressor = compressors.get(image);
  if (compressor === undefined) {
    compressor =
      image.header.compressionType === "zstd"
        ? image.codecs.compressor("zstd")
        : image.codecs.compressor("deflate", { windowBits: 12 });
    compressors.set(image, compressor);
  }
  return compressor;
}

/** `bytes` is one cluster, or what there is of the last one. The caller holds the lease of the range. */
export function* writeCompressed(image: Qcow2, impl: MappedImpl, bytes: Uint8Array, offset: number): Op<void> {
  if (image.hasDataFile) {
    throw new BlockError("ERR_UNSUPPORTED", "Compression is not supported with an external data file", {
      errno: "ENOTSUP",
      node: image.node.nodeName,
    });
  }
  let cluster = bytes;
  if (bytes.length < image.clusterSize) {
    cluster = allocate(image.clusterSize);
    cluster.set(bytes);
  }
  const compressor = compressorOf(image);
  const packed = yield* compress(compressor, cluster, image.clusterSize - 1);
  if (packed === null) {
    yield* writeLeased(image.node, impl, bytes, offset);
    return;
  }
  const host = yield* reserve(image, packed.length);
  try {
    yield* debugEvent(image.file, "write_compressed");
    yield* writeGrow(image.file, packed, host);
  } catch (error) {
    const release = yield* image.lock.acquire();
    try {
      yield* image.allocator.undo(host, packed.length);
    } finally {
      release();
    }
    throw error;
  }
  const release = yield* image.lock.acquire();
  try {
    yield* debugEvent(image.file, "l2_update_compressed");
    const pointer = yield* sliceForWrite(image, offset);
    const index = image.sliceIndex(offset);
    const old = readEntry(image, pointer, index);
    writeCompressedEntry(image, pointer, index, host, packed.length);
    releaseEntry(image, old, "other");
    image.barrierNeeded = true;
  } finally {
    release();
  }
}

/** Bytes of the sample that decides whether a cluster is worth the attempt, and the number of places it is taken from. */
const SAMPLE = 4096;
const PLACES = 8;

/**
 * Noise (media, encrypted files) costs most of the time of a compressed conversion and ends up stored as it is: a sample
 * that does not shrink at all spares the attempt. Only for clusters of which it is a small part.
 */
export function isIncompressible(image: Qcow2, cluster: Uint8Array): boolean {
  // Compressed writes to such an image are refused, whatever is written.
  if (image.hasDataFile) return false;
  const { sync } = compressorOf(image);
  if (sync === null || cluster.length < 8 * SAMPLE) return false;
  const sample = new Uint8Array(SAMPLE);
  const piece = SAMPLE / PLACES;
  for (let i = 0; i < PLACES; i++)
    sample.set(cluster.subarray((i * cluster.length) / PLACES, (i * cluster.length) / PLACES + piece), i * piece);
  return sync(sample, SAMPLE - 1) === null;
}

function* compress(compressor: Compressor, cluster: Uint8Array, limit: number): Op<Uint8Array | null> {
  const { sync: now, async: later } = compressor;
  return yield* foreign(
    `Compressing with ${compressor.name}`,
    now === null ? null : () => now(cluster, limit),
    later === null ? null : () => later(cluster, limit),
  );
}

function* reserve(image: Qcow2, bytes: number): Op<number> {
  const release = yield* image.lock.acquire();
  try {
    yield* image.markCorrupt();
    yield* image.beginModifying();
    const host = yield* image.allocator.allocateBytes(bytes);
    return host;
  } finally {
    release();
  }
}
