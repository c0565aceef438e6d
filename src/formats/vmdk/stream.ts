/**
 * Writing a streamOptimized VMDK in one pass, front to back, as VMware writes it: grains in guest order, each table behind its
 * grains, the directory and the footer at the end. The result can be sent as it is made; nothing is ever changed again.
 */
import { encodeText, viewOf, writeU64LE } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignUp, divCeil } from "../../base/int.js";
import { read } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { parallel, type Op } from "../../block/op.js";
import { blockStatus } from "../../block/status.js";
import type { Compressor } from "../../codec/codec.js";
import { packGrain } from "./compressed.js";
import { formatDescriptor, newCid, NO_CID } from "./descriptor.js";
import { EMBEDDED_DESCRIPTOR_BYTES, EMBEDDED_DESCRIPTOR_OFFSET, Flag, MAX_FILE_SECTORS, Marker, SECTOR } from "./layout.js";
import { encodeSparseHeader } from "./sparse-header.js";

const GRAIN_SECTORS = 128;
const GRAIN_BYTES: number = GRAIN_SECTORS * SECTOR;
const TABLE_ENTRIES = 512;
/** Grains read, compressed and held in memory together. */
const BATCH = 32;
/** Header, descriptor, and room up to the first grain. */
const OVERHEAD_SECTORS = 128;

/** Where the bytes go, in order. They must not be kept after the call has ended. */
export interface ByteSink {
  append(bytes: Uint8Array): Op<void>;
}

export interface StreamOptions {
  /** Name of the image in its own descriptor. */
  filename: string;
  /** Default "ide", as qemu-img. */
  adapterType?: "ide" | "buslogic" | "lsilogic" | "legacyESX";
  /** Default "4". */
  hardwareVersion?: string;
  /** Content ID; random when absent. Two passes over one source need the same. */
  cid?: number;
  /** zlib's 0 (stored) to 9. */
  level?: number;
  onProgress?: (done: number, total: number) => void;
}

export interface StreamResult {
  /** Bytes of the image. */
  bytes: number;
  /** Guest bytes that are stored. */
  populated: number;
}

export function* writeStreamOptimized(source: Node, sink: ByteSink, options: StreamOptions): Op<StreamResult> {
  if (!/^[^"\r\n\0]{1,255}$/.test(options.filename))
    throw new BlockError("ERR_INVALID_ARGUMENT", `'${options.filename}' cannot be the name of a VMDK`);
  const writer = new StreamWriter(source, sink, options);
  return yield* writer.run();
}

class StreamWriter {
  readonly #source: Node;
  readonly #sink: ByteSink;
  readonly #options: StreamOptions;
  readonly #compressor: Compressor;
  readonly #capacity: number;
  readonly #directory: Uint32Array;
  #table = new Uint32Array(TABLE_ENTRIES);
  #tableIndex = -1;
  #sector = 0;
  #populated = 0;

  constructor(source: Node, sink: ByteSink, options: StreamOptions) {
    this.#source = source;
    this.#sink = sink;
    this.#options = options;
    this.#capacity = alignUp(source.size, SECTOR) / SECTOR;
    if (this.#capacity > MAX_FILE_SECTORS)
      throw new BlockError("ERR_TOO_LARGE", "The image is too large for a streamOptimized VMDK");
    this.#directory = new Uint32Array(divCeil(divCeil(this.#capacity, GRAIN_SECTORS), TABLE_ENTRIES));
    const level = options.level === undefined ? {} : { level: options.level };
    this.#compressor = source.environment.codecs.compressor("zlib", { windowBits: 15, ...level });
  }

  *run(): Op<StreamResult> {
    yield* this.#append(this.#front());
    yield* this.#grains();
    yield* this.#finishTable();
    const directoryBytes = new Uint8Array(alignUp(this.#directory.length * 4, SECTOR));
    putWords(directoryBytes, this.#directory);
    yield* this.#append(marker(directoryBytes.length / SECTOR, Marker.grainDirectory));
    const directory = this.#sector;
    yield* this.#append(directoryBytes);
    yield* this.#append(marker(1, Marker.footer));
    yield* this.#append(this.#header(directory));
    yield* this.#append(marker(0, Marker.endOfStream));
    return { bytes: this.#sector * SECTOR, populated: this.#populated };
  }

  *#append(bytes: Uint8Array): Op<void> {
    yield* this.#sink.append(bytes);
    this.#sector += bytes.length / SECTOR;
    if (this.#sector > MAX_FILE_SECTORS)
      throw new BlockError("ERR_TOO_LARGE", "The image is too large for a streamOptimized VMDK");
  }

  #header(directory: number | null): Uint8Array {
    return encodeSparseHeader({
      version: 3,
      flags: Flag.newlineDetect | Flag.compressed | Flag.markers,
      capacity: this.#capacity,
      grainSectors: GRAIN_SECTORS,
      descriptorOffset: EMBEDDED_DESCRIPTOR_OFFSET / SECTOR,
      descriptorSectors: EMBEDDED_DESCRIPTOR_BYTES / SECTOR,
      tableEntries: TABLE_ENTRIES,
      redundantDirectory: 0,
      directory,
      overhead: OVERHEAD_SECTORS,
      compressed: true,
    });
  }

  #front(): Uint8Array {
    const bytes = new Uint8Array(OVERHEAD_SECTORS * SECTOR);
    bytes.set(this.#header(null));
    const text = formatDescriptor({
      cid: this.#options.cid ?? newCid(),
      parentCid: NO_CID,
      createType: "streamOptimized",
      parentFileName: null,
      extents: [{ sectors: this.#capacity, type: "SPARSE", filename: this.#options.filename }],
      hardwareVersion: this.#options.hardwareVersion ?? "4",
      adapterType: this.#options.adapterType ?? "ide",
      toolsVersion: "2147483647",
      size: this.#capacity * SECTOR,
    });
    bytes.set(encodeText(text), EMBEDDED_DESCRIPTOR_OFFSET);
    return bytes;
  }

  *#grains(): Op<void> {
    const { size } = this.#source;
    let batch: number[] = [];
    let next = 0;
    for (let at = 0; at < size;) {
      const status = yield* blockStatus(this.#source, at, size - at);
      const end = status.start + status.length;
      at = end;
      if (status.zero) continue;
      const first = Math.max(next, Math.floor(status.start / GRAIN_BYTES));
      for (let grain = first; grain * GRAIN_BYTES < end; grain++) {
        batch.push(grain);
        next = grain + 1;
        if (batch.length < BATCH) continue;
        yield* this.#writeBatch(batch);
        batch = [];
      }
      this.#options.onProgress?.(Math.min(size, next * GRAIN_BYTES), size);
    }
    yield* this.#writeBatch(batch);
    this.#options.onProgress?.(size, size);
  }

  *#writeBatch(grains: readonly number[]): Op<void> {
    const packed = yield* parallel(grains.map((grain) => this.#pack(grain)));
    for (let i = 0; i < grains.length; i++) {
      const bytes = packed[i]!;
      if (bytes === null) continue;
      const grain = grains[i]!;
      const index = Math.floor(grain / TABLE_ENTRIES);
      if (index !== this.#tableIndex) yield* this.#finishTable();
      this.#tableIndex = index;
      this.#table[grain % TABLE_ENTRIES] = this.#sector;
      yield* this.#append(bytes);
      this.#populated += Math.min(GRAIN_BYTES, this.#source.size - grain * GRAIN_BYTES);
    }
  }

  /** null: nothing but zeros. The last grain is filled up with zeros. */
  *#pack(grain: number): Op<Uint8Array | null> {
    const bytes = new Uint8Array(GRAIN_BYTES);
    const start = grain * GRAIN_BYTES;
    yield* read(this.#source, bytes.subarray(0, Math.min(GRAIN_BYTES, this.#source.size - start)), start);
    if (new Int32Array(bytes.buffer).every((word) => word === 0)) return null;
    return yield* packGrain(this.#compressor, bytes, grain * GRAIN_SECTORS);
  }

  *#finishTable(): Op<void> {
    if (this.#tableIndex < 0) return;
    const bytes = new Uint8Array(TABLE_ENTRIES * 4);
    putWords(bytes, this.#table);
    yield* this.#append(marker(bytes.length / SECTOR, Marker.grainTable));
    this.#directory[this.#tableIndex] = this.#sector;
    yield* this.#append(bytes);
    this.#table = new Uint32Array(TABLE_ENTRIES);
    this.#tableIndex = -1;
  }
}

function putWords(bytes: Uint8Array, words: Uint32Array): void {
  const view = viewOf(bytes);
  words.forEach((word, i) => view.setUint32(i * 4, word, true));
}

/** A metadata marker: one sector that says what follows, and how many sectors of it. */
function marker(sectors: number, type: number): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  const view = viewOf(bytes);
  writeU64LE(view, 0, sectors);
  view.setUint32(12, type, true);
  return bytes;
}
