/**
 * A new image in one pass, for pipes: the block status of the source says which clusters there will be, so that the place of
 * everything is known before the first byte: header, refcount table, refcount blocks, L1 table, L2 tables, data in guest order.
 * What does not read as zeros is stored as it is. Compressed clusters would have to be made twice for that, so there are none.
 */
import { BlockError } from "../../base/error.js";
import { viewOf, writeU64BE } from "../../base/bytes.js";
import { divCeil } from "../../base/int.js";
import type { StreamContext, StreamPlan, StreamSource } from "../../block/driver.js";
import type { Op } from "../../block/op.js";
import { findRuns, partsOf, sendParts, type Runs } from "../shared/stream.js";
import { minimalHeader, readSettings, writeFirstRefcounts, type CreateSettings } from "./create.js";
import { encodeHeader } from "./header.js";
import { COPIED_HI, MAX_L1_BYTES, MAX_REFTABLE_BYTES } from "./layout.js";
import { refcountMetadata } from "./measure.js";

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
    const counted = 1 + this.#l1Clusters + this.#l1Indexes.length + runs.blocks;
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
    yield* sendParts(partsOf(this.#runs, this.#clusterSize), this.#source, this.#size, to);
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
}

function putEntry(view: DataView, at: number, host: number): void {
  writeU64BE(view, at, host);
  view.setUint32(at, (view.getUint32(at) | COPIED_HI) >>> 0);
}
