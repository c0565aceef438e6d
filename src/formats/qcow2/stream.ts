/**
 * A new image in one pass, for pipes: the block status of the source says which clusters there will be, so that the place of
 * everything is known before the first byte: header, refcount table, refcount blocks, L1 table, L2 tables, data in guest order.
 * What does not read as zeros is stored as it is. Compressed clusters would have to be made twice for that, so there are none.
 */
import { BlockError } from "../../base/error.js";
import { viewOf, writeU64BE } from "../../base/bytes.js";
import { divCeil, MiB } from "../../base/int.js";
import type { StreamContext, StreamPlan, StreamSource } from "../../block/driver.js";
import { parallel, type Op } from "../../block/op.js";
import { minimalHeader, readSettings, writeFirstRefcounts, type CreateSettings } from "./create.js";
import { encodeHeader } from "./header.js";
import { COPIED_HI, MAX_L1_BYTES, MAX_REFTABLE_BYTES } from "./layout.js";
import { refcountMetadata } from "./measure.js";

/** Runs of clusters that are kept at most: 256 MiB. */
const MAX_RUNS = 16 * MiB;
const MAX_STATUS = 1024 * MiB;
/** Bytes of one read; two are in memory, one on its way in and one on its way out. */
const CHUNK = 1 * MiB;

export function* planQcow2Stream(context: StreamContext): Op<StreamPlan> {
  const settings = readSettings(context.options);
  refuse(settings);
  const { size, source } = context;
  const clusterSize = 2 ** settings.clusterBits;
  const entrySize = settings.extended ? 16 : 8;
  const coverage = (clusterSize / entrySize) * clusterSize;
  if (Math.ceil(size / coverage) * 8 > MAX_L1_BYTES) {
    throw new BlockError("ERR_TOO_LARGE", "The image size is too large (try using a larger cluster size)", { errno: "EFBIG" });
  }
  const runs = yield* findRuns(source, size, clusterSize);
  return new Qcow2Stream(settings, source, size, runs);
}

function refuse(settings: CreateSettings): void {
  const no = (what: string): BlockError =>
    new BlockError("ERR_UNSUPPORTED", `An image with ${what} cannot be written to a stream`, { errno: "ENOTSUP" });
  if (settings.backingFile !== null) throw no("a backing file");
  if (settings.dataFile !== null) throw no("an external data file");
  if (settings.encryption !== null) throw no("encryption");
  if (settings.preallocation !== "off") throw no("preallocation");
}

/** Runs of clusters with data: first cluster and number, alternating, ascending, with gaps between them. */
class Runs {
  #items: Float64Array<ArrayBuffer> = new Float64Array(256);
  count = 0;
  clusters = 0;

  first(run: number): number {
    return this.#items[run * 2]!;
  }
  length(run: number): number {
    return this.#items[run * 2 + 1]!;
  }

  /** `first` is not below the end of the last run by more than its last cluster. */
  add(first: number, end: number): void {
    if (this.count > 0) {
      const last = this.count * 2 - 2;
      const lastEnd = this.#items[last]! + this.#items[last + 1]!;
      if (first <= lastEnd) {
        if (end > lastEnd) {
          this.#items[last + 1]! += end - lastEnd;
          this.clusters += end - lastEnd;
        }
        return;
      }
    }
    if (this.count === MAX_RUNS)
      throw new BlockError(
        "ERR_TOO_LARGE",
        "The source is too fragmented to be written to a stream (try using a larger cluster size)",
      );
    if (this.count * 2 === this.#items.length) {
      const larger = new Float64Array(this.#items.length * 2);
      larger.set(this.#items);
      this.#items = larger;
    }
    this.#items[this.count * 2] = first;
    this.#items[this.count * 2 + 1] = end - first;
    this.count++;
    this.clusters += end - first;
  }
}

function* findRuns(source: StreamSource, size: number, clusterSize: number): Op<Runs> {
  const runs = new Runs();
  for (let at = 0; at < size;) {
    const { length, data } = yield* source.status(at, Math.min(MAX_STATUS, size - at));
    if (data) runs.add(Math.floor(at / clusterSize), Math.ceil((at + length) / clusterSize));
    at += length;
  }
  return runs;
}

class Qcow2Stream implements StreamPlan {
  readonly length: number;
  readonly #settings: CreateSettings;
  readonly #source: StreamSource;
  readonly #size: number;
  readonly #runs: Runs;
  readonly #clusterSize: number;
  /** Entries of one L2 table, and the L1 indexes that have one, ascending. */
  readonly #l2Entries: number;
  readonly #l1Indexes: number[] = [];
  /** Clusters of each part, in the order of the file. */
  readonly #tableClusters: number;
  readonly #blocks: number;
  readonly #l1Clusters: number;

  constructor(settings: CreateSettings, source: StreamSource, size: number, runs: Runs) {
    this.#settings = settings;
    this.#source = source;
    this.#size = size;
    this.#runs = runs;
    const clusterSize = (this.#clusterSize = 2 ** settings.clusterBits);
    this.#l2Entries = clusterSize / (settings.extended ? 16 : 8);
    for (let run = 0; run < runs.count; run++) {
      const last = Math.floor((runs.first(run) + runs.length(run) - 1) / this.#l2Entries);
      for (let index = Math.floor(runs.first(run) / this.#l2Entries); index <= last; index++) {
        if (this.#l1Indexes.at(-1) !== index) this.#l1Indexes.push(index);
      }
    }
    this.#l1Clusters = divCeil(this.#l1Entries * 8, clusterSize);
    const counted = 1 + this.#l1Clusters + this.#l1Indexes.length + runs.clusters;
    const refcounts = refcountMetadata(counted, clusterSize, settings.refcountOrder) / clusterSize;
    const total = counted + refcounts;
    this.#blocks = divCeil(total, (clusterSize * 8) / 2 ** settings.refcountOrder);
    this.#tableClusters = refcounts - this.#blocks;
    this.length = total * clusterSize;
    if (this.#tableClusters * clusterSize > MAX_REFTABLE_BYTES || !Number.isSafeInteger(this.length)) {
      throw new BlockError("ERR_TOO_LARGE", "The image size is too large (try using a larger cluster size)", { errno: "EFBIG" });
    }
  }

  get #l1Entries(): number {
    return divCeil(this.#size, this.#l2Entries * this.#clusterSize);
  }

  *write(to: (bytes: Uint8Array) => Op<void>): Op<void> {
    yield* to(this.#header());
    yield* this.#writeRefcounts(to);
    yield* to(this.#l1Table());
    yield* this.#writeL2(to);
    yield* this.#writeData(to);
  }

  #header(): Uint8Array {
    const header = minimalHeader(this.#settings);
    header.size = this.#size;
    header.reftableOffset = this.#clusterSize;
    header.reftableClusters = this.#tableClusters;
    header.l1Entries = this.#l1Entries;
    header.l1Offset = this.#l1Start * this.#clusterSize;
    const cluster = new Uint8Array(this.#clusterSize);
    cluster.set(encodeHeader(header));
    return cluster;
  }

  get #l1Start(): number {
    return 1 + this.#tableClusters + this.#blocks;
  }
  get #l2Start(): number {
    return this.#l1Start + this.#l1Clusters;
  }

  *#writeRefcounts(to: (bytes: Uint8Array) => Op<void>): Op<void> {
    const size = this.#clusterSize;
    const table = new Uint8Array(this.#tableClusters * size);
    for (let i = 0; i < this.#blocks; i++) writeU64BE(viewOf(table), i * 8, (1 + this.#tableClusters + i) * size);
    yield* to(table);
    const perBlock = (size * 8) / 2 ** this.#settings.refcountOrder;
    const full = new Uint8Array(size);
    writeFirstRefcounts(full, this.#settings.refcountOrder, perBlock);
    for (let left = this.length / size; left > 0; left -= perBlock) {
      if (left >= perBlock) {
        yield* to(full);
        continue;
      }
      const part = new Uint8Array(size);
      writeFirstRefcounts(part, this.#settings.refcountOrder, left);
      yield* to(part);
    }
  }

  #l1Table(): Uint8Array {
    const table = new Uint8Array(this.#l1Clusters * this.#clusterSize);
    const view = viewOf(table);
    this.#l1Indexes.forEach((index, i) => putEntry(view, index * 8, (this.#l2Start + i) * this.#clusterSize));
    return table;
  }

  *#writeL2(to: (bytes: Uint8Array) => Op<void>): Op<void> {
    const { extended } = this.#settings;
    const entrySize = extended ? 16 : 8;
    const runs = this.#runs;
    let host = (this.#l2Start + this.#l1Indexes.length) * this.#clusterSize;
    let run = 0;
    const table = new Uint8Array(this.#clusterSize);
    const view = viewOf(table);
    for (const index of this.#l1Indexes) {
      table.fill(0);
      const from = index * this.#l2Entries;
      const end = from + this.#l2Entries;
      for (; run < runs.count && runs.first(run) < end; run++) {
        const stop = Math.min(end, runs.first(run) + runs.length(run));
        for (let cluster = Math.max(from, runs.first(run)); cluster < stop; cluster++) {
          const at = (cluster - from) * entrySize;
          putEntry(view, at, host);
          // All subclusters are there.
          if (extended) view.setUint32(at + 12, 0xffffffff);
          host += this.#clusterSize;
        }
        // A run that goes on belongs to the next table, too.
        if (runs.first(run) + runs.length(run) > end) break;
      }
      yield* to(table);
    }
  }

  /** The next piece is read while one is written. */
  *#writeData(to: (bytes: Uint8Array) => Op<void>): Op<void> {
    const chunk = Math.max(CHUNK, this.#clusterSize);
    const buffers = [new Uint8Array(chunk), new Uint8Array(chunk)] as const;
    let waiting: Uint8Array | null = null;
    let turn = 0;
    for (let run = 0; run < this.#runs.count; run++) {
      const end = (this.#runs.first(run) + this.#runs.length(run)) * this.#clusterSize;
      for (let at = this.#runs.first(run) * this.#clusterSize; at < end; at += chunk) {
        const bytes = buffers[turn & 1]!.subarray(0, Math.min(chunk, end - at));
        turn++;
        const reading = this.#read(bytes, at);
        yield* waiting === null ? reading : parallel([to(waiting), reading]);
        waiting = bytes;
      }
    }
    if (waiting !== null) yield* to(waiting);
  }

  /** Behind the end of the disk its last cluster holds zeros. */
  *#read(bytes: Uint8Array, at: number): Op<void> {
    const inside = Math.min(bytes.length, this.#size - at);
    yield* this.#source.read(bytes.subarray(0, inside), at);
    bytes.fill(0, inside);
  }
}

function putEntry(view: DataView, at: number, host: number): void {
  writeU64BE(view, at, host);
  view.setUint32(at, (view.getUint32(at) | COPIED_HI) >>> 0);
}
