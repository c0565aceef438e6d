/** Compressed grains (streamOptimized): a marker with size and place, then a zlib stream, padded to sectors. */
import { viewOf, writeU64LE } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignUp, MiB } from "../../base/int.js";
import type { SpecialExtent } from "../../block/driver.js";
import { readBytes } from "../../block/io.js";
import { foreign, type Op } from "../../block/op.js";
import type { Codecs, Compressor, DecompressUnit } from "../../codec/codec.js";
import { SECTOR } from "./layout.js";
import type { SparseExtent } from "./sparse-extent.js";

/** Bytes of a grain marker: sector number, size of the stream. */
export const GRAIN_MARKER_BYTES = 12;
/** Grains kept decompressed for reads smaller than a grain. */
const KEPT_GRAINS = 8;
/** Plain bytes of the grains that are read and decompressed together. */
const GROUP = 2 * MiB;

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
      yield* this.#decompress(extent, special.host, yield* readPacked(extent, hasMarkers, special.host), into);
      return;
    }
    const key = `${extent.start}:${special.host}`;
    let grain = this.#kept.get(key);
    if (grain === undefined) {
      grain = new Uint8Array(length);
      yield* this.#decompress(extent, special.host, yield* readPacked(extent, hasMarkers, special.host), grain);
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

  /**
   * Fills in whole grains of `extent`, several at a time: those that lie in a row in the file are read with one request and
   * decompressed together. `place`: where a grain's bytes go.
   */
  *readMany(extent: SparseExtent, specials: readonly SpecialExtent[], place: (special: SpecialExtent) => Uint8Array): Op<void> {
    const most = Math.max(1, Math.floor(GROUP / extent.grainSize));
    const sorted = [...specials].sort((a, b) => a.host - b.host);
    for (let from = 0; from < sorted.length;) {
      let to = from + 1;
      while (to < sorted.length && to - from < most && sorted[to]!.host - sorted[to - 1]!.host <= reachOf(extent)) to++;
      yield* this.#readRow(extent, sorted.slice(from, to), place);
      from = to;
    }
  }

  *#readRow(extent: SparseExtent, specials: readonly SpecialExtent[], place: (special: SpecialExtent) => Uint8Array): Op<void> {
    const begin = specials[0]!.host;
    const bytes = yield* readStretch(extent, begin, specials[specials.length - 1]!.host);
    const units: DecompressUnit[] = [];
    for (const special of specials)
      units.push({ from: yield* streamIn(extent, bytes.subarray(special.host - begin), special.host), into: place(special) });
    const codec = this.#codecs.decompressor("zlib");
    if (codec.many === undefined || units.length === 1) {
      for (const [i, { from, into }] of units.entries()) yield* this.#decompress(extent, specials[i]!.host, from, into);
      return;
    }
    yield* foreign("Decompressing grains", () => codec.many!(units), null);
    for (const [i, { error }] of units.entries()) if (error !== undefined) throw damagedGrain(extent, specials[i]!.host, error);
  }

  *#decompress(extent: SparseExtent, host: number, packed: Uint8Array, into: Uint8Array): Op<void> {
    const codec = this.#codecs.decompressor("zlib");
    try {
      yield* foreign(
        "Decompressing a grain",
        codec.sync === null ? null : () => codec.sync!(packed, into),
        codec.sync === null && codec.async !== null ? () => codec.async!(packed, into) : null,
      );
    } catch (error) {
      throw damagedGrain(extent, host, error);
    }
  }
}

const damagedGrain = ({ file, grainSize }: SparseExtent, host: number, cause: unknown): BlockError =>
  new BlockError(
    "ERR_CORRUPT",
    `VMDK: the compressed grain at offset ${host} of '${file.filename}' (${grainSize} bytes) is damaged: ${(cause as Error).message}`,
    { errno: "EINVAL", offset: host, cause },
  );

/** Bytes that nearly all grains need at most in the file: what does not compress grows by less than a sector. */
const reachOf = ({ grainSize }: SparseExtent): number => grainSize + SECTOR;

/** What the file holds of the grains from the one at `begin` to the one at `last`. */
function readStretch(extent: SparseExtent, begin: number, last: number): Op<Uint8Array> {
  const { file } = extent;
  const end = Math.max(Math.min(last + reachOf(extent), file.size), last + GRAIN_MARKER_BYTES);
  return readBytes(file, begin, end - begin);
}

/** The stream of a grain. One read gets it where it is no longer than a grain, as nearly all are. */
function* readPacked(extent: SparseExtent, hasMarkers: boolean, host: number): Op<Uint8Array> {
  const first = yield* readStretch(extent, host, host);
  return hasMarkers ? yield* streamIn(extent, first, host) : first.subarray(0, extent.grainSize);
}

/** The stream of the grain at `host`, of which `first` are the first bytes, marker included. */
function* streamIn(extent: SparseExtent, first: Uint8Array, host: number): Op<Uint8Array> {
  const { file, grainSize } = extent;
  const size = viewOf(first).getUint32(8, true);
  if (size === 0 || size > 2 * grainSize || size > file.size - host) {
    throw new BlockError(
      "ERR_CORRUPT",
      `VMDK: the compressed grain at offset ${host} of '${file.filename}' says it has ${size} bytes`,
      { errno: "EINVAL", offset: host },
    );
  }
  if (GRAIN_MARKER_BYTES + size <= first.length) return first.subarray(GRAIN_MARKER_BYTES, GRAIN_MARKER_BYTES + size);
  return yield* readBytes(file, host + GRAIN_MARKER_BYTES, size);
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
