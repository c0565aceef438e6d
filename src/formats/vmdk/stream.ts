/**
 * Writing a streamOptimized VMDK in one pass, front to back, as VMware writes it: grains in guest order, each table behind its
 * grains, the directory and the footer at the end. The result can be sent as it is made; nothing is ever changed again.
 */
import { encodeText, viewOf, writeU64LE } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignUp, divCeil } from "../../base/int.js";
import type { Measure, MeasureContext, StreamContext, StreamPlan, StreamSource } from "../../block/driver.js";
import { done, parallel, type Op } from "../../block/op.js";
import type { Codecs, Compressor } from "../../codec/codec.js";
import { nodeSource } from "../shared/stream.js";
import { GRAIN_MARKER_BYTES, packGrain } from "./compressed.js";
import { readSettings } from "./create.js";
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
  /** Default VMware's "2147483647", as qemu-img. */
  toolsVersion?: string;
  /** Content ID; random when absent. Two passes over one source need the same. */
  cid?: number;
  /** zlib's 0 (stored) to 9. */
  level?: number;
  onProgress?: (done: number, total: number) => void;
}

/** What is to be written. */
export interface StreamContent {
  /** Virtual size in bytes. */
  readonly size: number;
  readonly source: StreamSource;
  readonly codecs: Codecs;
}

export interface StreamResult {
  /** Bytes of the image. */
  bytes: number;
  /** Guest bytes that are stored. */
  populated: number;
}

export function* writeStreamOptimized(content: StreamContent, sink: ByteSink, options: StreamOptions): Op<StreamResult> {
  if (!/^[^"\r\n\0]{1,255}$/.test(options.filename))
    throw new BlockError("ERR_INVALID_ARGUMENT", `'${options.filename}' cannot be the name of a VMDK`);
  const writer = new StreamWriter(content, sink, options);
  return yield* writer.run();
}

/** A stream tells its own name in the descriptor; nobody reads it there. */
const STREAM_NAME = "stream.vmdk";

/** The grains are compressed twice: now, to learn how long the image is, and when it is written. */
export function* planVmdkStream(context: StreamContext): Op<StreamPlan> {
  const content = { ...context, codecs: context.environment.codecs };
  const options = streamOptions(context.options);
  const { bytes } = yield* writeStreamOptimized(content, { append: () => done(undefined) }, options);
  return {
    length: bytes,
    *write(to) {
      const written = yield* writeStreamOptimized(content, { append: to }, options);
      if (written.bytes !== bytes) throw new BlockError("ERR_CHANGED", "The source was changed while it was written to a stream");
    },
  };
}

function streamOptions(given: Readonly<Record<string, unknown>>): StreamOptions {
  const no = (what: string): BlockError =>
    new BlockError("ERR_UNSUPPORTED", `A VMDK ${what} cannot be written to a stream`, {
      errno: "ENOTSUP",
      hint: "Use subformat=streamOptimized.",
    });
  const options = { ...given };
  const settings = readSettings(options);
  if (settings.subformat !== "streamOptimized") throw no(`of the subformat ${settings.subformat}`);
  if (settings.backingFile !== "") throw no("with a backing file");
  return {
    filename: STREAM_NAME,
    adapterType: settings.adapterType,
    hardwareVersion: settings.hardwareVersion,
    toolsVersion: settings.toolsVersion,
    cid: newCid(),
  };
}

/** streamOptimized only: what the other subformats take is for `create` to say. `fullyAllocated` is for bytes that do not shrink. */
export function* measureVmdk(context: MeasureContext): Op<Measure> {
  const { environment, options, size, source } = context;
  const nothing: StreamSource = { status: (_offset, length) => done({ length, data: false }), read: () => done(undefined) };
  const { length } = yield* planVmdkStream({
    environment,
    options,
    size,
    source: source === null ? nothing : nodeSource(source),
  });
  const grains = divCeil(alignUp(size, SECTOR), GRAIN_BYTES);
  const tables = divCeil(grains, TABLE_ENTRIES);
  // Stored blocks of deflate: five bytes to 16 KiB, at the worst, and zlib's six.
  const grain = alignUp(GRAIN_MARKER_BYTES + GRAIN_BYTES + (GRAIN_BYTES / 16384 + 1) * 5 + 6, SECTOR);
  const directory = alignUp(tables * 4, SECTOR);
  const rest = OVERHEAD_SECTORS + tables * (1 + (TABLE_ENTRIES * 4) / SECTOR) + 1 + 1 + 1 + 1;
  return { required: length, fullyAllocated: rest * SECTOR + directory + grains * grain };
}

class StreamWriter {
  readonly #source: StreamSource;
  readonly #size: number;
  readonly #sink: ByteSink;
  readonly #options: StreamOptions;
  readonly #compressor: Compressor;
  readonly #capacity: number;
  readonly #directory: Uint32Array;
  #table = new Uint32Array(TABLE_ENTRIES);
  #tableIndex = -1;
  #sector = 0;
  #populated = 0;

  constructor(content: StreamContent, sink: ByteSink, options: StreamOptions) {
    this.#source = content.source;
    this.#size = content.size;
    this.#sink = sink;
    this.#options = options;
    this.#capacity = alignUp(content.size, SECTOR) / SECTOR;
    if (this.#capacity > MAX_FILE_SECTORS)
      throw new BlockError("ERR_TOO_LARGE", "The image is too large for a streamOptimized VMDK");
    this.#directory = new Uint32Array(divCeil(divCeil(this.#capacity, GRAIN_SECTORS), TABLE_ENTRIES));
    const level = options.level === undefined ? {} : { level: options.level };
    this.#compressor = content.codecs.compressor("zlib", { windowBits: 15, ...level });
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
      toolsVersion: this.#options.toolsVersion ?? "2147483647",
      size: this.#capacity * SECTOR,
    });
    bytes.set(encodeText(text), EMBEDDED_DESCRIPTOR_OFFSET);
    return bytes;
  }

  *#grains(): Op<void> {
    const size = this.#size;
    let batch: number[] = [];
    let next = 0;
    for (let at = 0; at < size;) {
      const status = yield* this.#source.status(at, size - at);
      const start = at;
      const end = start + status.length;
      at = end;
      if (!status.data) continue;
      const first = Math.max(next, Math.floor(start / GRAIN_BYTES));
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
      this.#populated += Math.min(GRAIN_BYTES, this.#size - grain * GRAIN_BYTES);
    }
  }

  /** null: nothing but zeros. The last grain is filled up with zeros. */
  *#pack(grain: number): Op<Uint8Array | null> {
    const bytes = new Uint8Array(GRAIN_BYTES);
    const start = grain * GRAIN_BYTES;
    yield* this.#source.read(bytes.subarray(0, Math.min(GRAIN_BYTES, this.#size - start)), start);
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
