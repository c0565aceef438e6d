/** Reading compressed clusters. Neighbours in the file are read with one request, and decompressed together. */
import { allocate } from "../../base/allocate.js";
import { BlockError } from "../../base/error.js";
import { KiB, MiB } from "../../base/int.js";
import { debugEvent } from "../../block/debug.js";
import type { SpecialExtent } from "../../block/driver.js";
import { readPadded } from "../../block/io.js";
import { foreign, forEachParallel, parallel, type Op } from "../../block/op.js";
import type { Decompressor, DecompressUnit } from "../../codec/codec.js";
import type { MapState } from "./map.js";

/** Plain bytes of the clusters that are read and decompressed together, and such groups under way. */
const GROUP = 2 * MiB;
const GROUPS = 4;
/** Bytes between two clusters that are read along rather than skipped with another request. */
const GAP = 4 * KiB;
/** Buffers of up to this many bytes are kept and used again: fresh memory costs about as much as inflating into it. */
const KEPT_BYTES = 2 * MiB;
const spare: Uint8Array[] = [];

/** Reads part of a compressed cluster. */
export function* readCompressed(image: MapState, extent: SpecialExtent, at: number, into: Uint8Array): Op<void> {
  const within = at % image.clusterSize;
  const kept = image.decompressed.find(extent.host);
  if (kept !== null) {
    into.set(kept.subarray(within, within + into.length));
    return;
  }
  checkInside(image, extent);
  const packed = allocate(extent.aux);
  yield* debugEvent(image.file, "read_compressed");
  yield* readPadded(image.file, packed, extent.host);
  const whole = within === 0 && into.length === image.clusterSize;
  const plain = whole ? into : image.decompressed.take();
  yield* decompress(image, [{ from: packed, into: plain }], [extent]);
  if (whole) return;
  image.decompressed.keep(extent.host, plain);
  into.set(plain.subarray(within, within + into.length));
}

/** Reads compressed clusters, the outermost perhaps in part, into their places in `into`, which begins at guest offset `base`. */
export function* readCompressedClusters(
  image: MapState,
  extents: readonly SpecialExtent[],
  base: number,
  into: Uint8Array,
): Op<void> {
  const place = ({ start, length }: SpecialExtent): Uint8Array => into.subarray(start - base, start - base + length);
  const whole: SpecialExtent[] = [];
  for (const extent of extents) {
    if (extent.length < image.clusterSize || image.decompressed.find(extent.host) !== null)
      yield* readCompressed(image, extent, extent.start, place(extent));
    else whole.push(extent);
  }
  const most = Math.max(1, GROUP / image.clusterSize);
  let next = 0;
  yield* forEachParallel(Math.min(GROUPS, Math.ceil(whole.length / most)), () => {
    const group = whole.slice(next, (next += most));
    return group.length === 0 ? null : readGroup(image, group, place);
  });
}

/** A stretch of the file with compressed clusters. */
interface Run {
  host: number;
  end: number;
  clusters: SpecialExtent[];
}

/** The clusters in the order they have in the file, and what has to be read for them. */
function runsOf(image: MapState, group: readonly SpecialExtent[]): Run[] {
  const runs: Run[] = [];
  let last: Run | undefined;
  for (const extent of [...group].sort((a, b) => a.host - b.host)) {
    checkInside(image, extent);
    const end = extent.host + extent.aux;
    if (last === undefined || extent.host > last.end + GAP) runs.push((last = { host: extent.host, end, clusters: [extent] }));
    else {
      last.end = Math.max(last.end, end);
      last.clusters.push(extent);
    }
  }
  return runs;
}

function* readGroup(image: MapState, group: readonly SpecialExtent[], place: (of: SpecialExtent) => Uint8Array): Op<void> {
  const runs = runsOf(image, group);
  const bytes = runs.reduce((sum, { host, end }) => sum + end - host, 0);
  const buffer = bytes > KEPT_BYTES ? allocate(bytes) : (spare.pop() ?? allocate(KEPT_BYTES));
  try {
    const units: DecompressUnit[] = [];
    const clusters: SpecialExtent[] = [];
    const reads: Op<void>[] = [];
    let at = 0;
    for (const run of runs) {
      const packed = buffer.subarray(at, (at += run.end - run.host));
      reads.push(readRun(image, run.host, packed));
      for (const extent of run.clusters) {
        const start = extent.host - run.host;
        units.push({ from: packed.subarray(start, start + extent.aux), into: place(extent) });
        clusters.push(extent);
      }
    }
    yield* parallel(reads);
    yield* decompress(image, units, clusters);
  } finally {
    if (buffer.length === KEPT_BYTES && spare.length < GROUPS) spare.push(buffer);
  }
}

function* readRun(image: MapState, host: number, packed: Uint8Array): Op<void> {
  yield* debugEvent(image.file, "read_compressed");
  yield* readPadded(image.file, packed, host);
}

function checkInside(image: MapState, { host, aux }: SpecialExtent): void {
  if (host + aux <= image.file.size + 512 || host < image.file.size) return;
  throw new BlockError("ERR_CORRUPT", `Compressed cluster at 0x${host.toString(16)} lies outside of the image`, {
    errno: "EIO",
    node: image.node.nodeName,
    offset: host,
  });
}

/** @param extents what the units are, for messages */
function* decompress(image: MapState, units: readonly DecompressUnit[], extents: readonly SpecialExtent[]): Op<void> {
  const codec = image.codecs.decompressor(image.header.compressionType === "zstd" ? "zstd" : "deflate");
  if (codec.many !== undefined && units.length > 1) yield* foreign(`Decompressing ${codec.name}`, () => codec.many!(units), null);
  else for (const unit of units) yield* decompressOne(codec, unit);
  for (const [i, { error }] of units.entries()) {
    if (error === undefined) continue;
    const { host } = extents[i]!;
    throw new BlockError(
      "ERR_CORRUPT",
      `Decompressing the cluster at offset 0x${host.toString(16)} failed: ${(error as Error).message}`,
      {
        errno: "EIO",
        node: image.node.nodeName,
        offset: host,
        cause: error,
      },
    );
  }
}

function* decompressOne({ name, sync, async: later }: Decompressor, unit: DecompressUnit): Op<void> {
  const { from, into } = unit;
  try {
    yield* foreign(
      `Decompressing ${name}`,
      sync === null ? null : () => sync(from, into),
      // Decompression is quick: only codecs that have no synchronous face are awaited.
      sync === null && later !== null ? () => later(from, into) : null,
    );
  } catch (error) {
    unit.error = error;
  }
}
