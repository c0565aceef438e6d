/** Compressed grains (streamOptimized): a marker with size and place, then a zlib stream, padded to sectors. */
import { viewOf, writeU64LE } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignUp } from "../../base/int.js";
import type { SpecialExtent } from "../../block/driver.js";
import { readPadded } from "../../block/io.js";
import { foreign, type Op } from "../../block/op.js";
import type { Codecs, Compressor } from "../../codec/codec.js";
import { SECTOR } from "./layout.js";
import type { SparseExtent } from "./sparse-extent.js";

/** Bytes of a grain marker: sector number, size of the stream. */
export const GRAIN_MARKER_BYTES = 12;
/** Grains kept decompressed for reads smaller than a grain. */
const KEPT_GRAINS = 8;

export class GrainReader {
  readonly #codecs: Codecs;
  readonly #kept = new Map<string, Uint8Array>();

  constructor(codecs: Codecs) {
    this.#codecs = codecs;
  }

  /** Fills `into` with the guest's bytes from `at` on, all inside one grain of `extent` at `special.host`. */
  *read(extent: SparseExtent, hasMarkers: boolean, special: SpecialExtent, at: number, into: Uint8Array): Op<void> {
    const within = (at - extent.start) % extent.grainSize;
    const grainStart = at - within;
    const length = Math.min(extent.grainSize, extent.end - grainStart);
    if (into.length === length) {
      yield* this.#decompress(extent, hasMarkers, special.host, into);
      return;
    }
    const key = `${extent.start}:${special.host}`;
    let grain = this.#kept.get(key);
    if (grain === undefined) {
      grain = new Uint8Array(length);
      yield* this.#decompress(extent, hasMarkers, special.host, grain);
      if (this.#kept.size >= KEPT_GRAINS) {
        for (const oldest of this.#kept.keys()) {
          this.#kept.delete(oldest);
          break;
        }
      }
      this.#kept.set(key, grain);
    }
    into.set(grain.subarray(within, within + into.length));
  }

  *#decompress(extent: SparseExtent, hasMarkers: boolean, host: number, into: Uint8Array): Op<void> {
    const { file, grainSize } = extent;
    const packed = yield* readPacked(extent, hasMarkers, host);
    const codec = this.#codecs.decompressor("zlib");
    try {
      yield* foreign(
        "Decompressing a grain",
        codec.sync === null ? null : () => codec.sync!(packed, into),
        codec.sync === null && codec.async !== null ? () => codec.async!(packed, into) : null,
      );
    } catch (error) {
      throw new BlockError(
        "ERR_CORRUPT",
        `VMDK: the compressed grain at offset ${host} of '${file.filename}' (${grainSize} bytes) is damaged: ${(error as Error).message}`,
        {
          errno: "EINVAL",
          offset: host,
          cause: error,
        },
      );
    }
  }
}

/** The stream of a grain. One read gets it where it is no longer than a grain, as nearly all are. */
function* readPacked(extent: SparseExtent, hasMarkers: boolean, host: number): Op<Uint8Array> {
  const { file, grainSize } = extent;
  const inFile = Math.max(0, file.size - host);
  const first = new Uint8Array(Math.min(grainSize + SECTOR, Math.max(inFile, GRAIN_MARKER_BYTES)));
  yield* readPadded(file, first, host);
  if (!hasMarkers) return first.subarray(0, grainSize);
  const size = viewOf(first).getUint32(8, true);
  if (size === 0 || size > 2 * grainSize || size > inFile) {
    throw new BlockError(
      "ERR_CORRUPT",
      `VMDK: the compressed grain at offset ${host} of '${file.filename}' says it has ${size} bytes`,
      { errno: "EINVAL", offset: host },
    );
  }
  if (GRAIN_MARKER_BYTES + size <= first.length) return first.subarray(GRAIN_MARKER_BYTES, GRAIN_MARKER_BYTES + size);
  const whole = new Uint8Array(size);
  yield* readPadded(file, whole, host + GRAIN_MARKER_BYTES);
  return whole;
}

/** Compresses one grain and puts its marker before it; padded to sectors. `sector`: the grain's place in the extent. */
export function* packGrain(compressor: Compressor, grain: Uint8Array, sector: number): Op<Uint8Array> {
  const { sync: now, async: later } = compressor;
  // Random bytes grow by a little; more than twice the size QEMU would not read.
  const limit = grain.length * 2;
  const packed = yield* foreign(
    "Compressing a grain",
    now === null ? null : () => now(grain, limit),
    later === null ? null : () => later(grain, limit),
  );
  if (packed === null) throw new BlockError("ERR_IO", "A grain could not be compressed");
  const bytes = new Uint8Array(alignUp(GRAIN_MARKER_BYTES + packed.length, SECTOR));
  const view = viewOf(bytes);
  writeU64LE(view, 0, sector);
  view.setUint32(8, packed.length, true);
  bytes.set(packed, GRAIN_MARKER_BYTES);
  return bytes;
}
