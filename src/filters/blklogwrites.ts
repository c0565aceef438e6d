/**
 * `blklogwrites`: keeps a log of everything that changes the disk in a second file, in the format of the Linux device mapper's
 * log-writes target (Documentation/admin-guide/device-mapper/log-writes.rst), for replaying crashes.
 *
 * Sector 0 of the log is the superblock; behind it each entry is a sector (sector, count, flags, length of a mark) and then its data.
 * All numbers are little-endian.
 */
import { BlockError } from "../base/error.js";
import { alignUp, isPowerOfTwo } from "../base/int.js";
import type { OpenContext } from "../block/context.js";
import type { Driver, WriteFlags } from "../block/driver.js";
import { flush, readBytes, writeGrow } from "../block/io.js";
import type { Child, Node } from "../block/node.js";
import { Mutex, type Op } from "../block/op.js";
import { takeBool, takeSize } from "../block/take.js";
import { PassThrough } from "../block/pass-through.js";

/** 0x6a736677736872 */
const MAGIC_LO = 0x77736872;
const MAGIC_HI = 0x006a7366;
const VERSION = 1;
const FLUSH = 1;
const FUA = 2;
const DISCARD = 4;
/** Entries after which the superblock is brought up to date without a flush asking for it. */
const DEFAULT_INTERVAL = 4096;
const MAX_SECTOR = 8 * 1024 * 1024;
/** Zeros are logged as data in pieces of this many bytes. */
const ZERO_CHUNK = 1024 * 1024;

const put64 = (view: DataView, at: number, value: number): void => {
  view.setUint32(at, value % 4294967296, true);
  view.setUint32(at + 4, Math.floor(value / 4294967296), true);
};
const get64 = (view: DataView, at: number): number => view.getUint32(at + 4, true) * 4294967296 + view.getUint32(at, true);

interface LogState {
  /** The next entry goes to this sector of the log. */
  sector: number;
  entries: number;
}

class BlkLogWrites extends PassThrough {
  readonly #log: Child;
  readonly #sectorSize: number;
  readonly #interval: number;
  readonly #state: LogState;
  /** One entry is placed at a time; they are written side by side. */
  readonly #superblock: Mutex = new Mutex();

  constructor(child: Child, log: Child, sectorSize: number, interval: number, state: LogState) {
    super(child);
    this.#log = log;
    this.#sectorSize = sectorSize;
    this.#interval = interval;
    this.#state = state;
  }
  get alignment(): number {
    return this.#sectorSize;
  }

  /** Appends an entry for what has just been done to the disk. */
  *#append(offset: number, length: number, flags: number, data: Uint8Array | null): Op<void> {
    const { sector } = this.#state;
    const size = this.#sectorSize;
    const sectors = alignUp(length, size) / size;
    const dataSectors = data === null ? 0 : sectors;
    this.#state.sector += 1 + dataSectors;
    this.#state.entries++;
    const bytes = new Uint8Array((1 + dataSectors) * size);
    const view = new DataView(bytes.buffer);
    put64(view, 0, offset / size);
    put64(view, 8, sectors);
    put64(view, 16, flags);
    if (data !== null) bytes.set(data, size);
    yield* writeGrow(this.#log.node, bytes, sector * size);
    if ((flags & FLUSH) !== 0 || (this.#interval > 0 && this.#state.entries % this.#interval === 0))
      yield* this.#writeSuperblock();
  }

  *#writeSuperblock(): Op<void> {
    const done = yield* this.#superblock.acquire();
    try {
      yield* writeSuperblock(this.#log.node, this.#sectorSize, this.#state.entries);
    } finally {
      done();
    }
  }

  override *write(from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
    yield* super.write(from, offset, flags);
    yield* this.#append(offset, from.length, flags.fua ? FUA : 0, from);
  }
  override *writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    yield* super.writeZeroes(offset, length, flags);
    const zeros = new Uint8Array(Math.min(length, ZERO_CHUNK));
    for (let at = 0; at < length; at += zeros.length) {
      yield* this.#append(
        offset + at,
        Math.min(zeros.length, length - at),
        0,
        zeros.subarray(0, Math.min(zeros.length, length - at)),
      );
    }
  }
  override *discard(offset: number, length: number): Op<void> {
    const size = this.#sectorSize;
    const start = alignUp(offset, size);
    const end = offset + length - ((offset + length) % size);
    if (end <= start) return;
    yield* super.discard(start, end - start);
    yield* this.#append(start, end - start, DISCARD, null);
  }
  override *flush(): Op<void> {
    yield* super.flush();
    yield* this.#append(0, 0, FLUSH, null);
    yield* flush(this.#log.node);
  }
  override *close(): Op<void> {
    if (this.#log.node.readOnly) return;
    yield* this.#writeSuperblock();
    yield* flush(this.#log.node);
  }
}

function* writeSuperblock(log: Node, sectorSize: number, entries: number): Op<void> {
  const bytes = new Uint8Array(sectorSize);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC_LO, true);
  view.setUint32(4, MAGIC_HI, true);
  put64(view, 8, VERSION);
  put64(view, 16, entries);
  view.setUint32(24, sectorSize, true);
  yield* writeGrow(log, bytes, 0);
}

/** Finds the end of a log that is there. */
function* findEnd(log: Node): Op<LogState & { sectorSize: number }> {
  const head = yield* readBytes(log, 0, 512);
  const view = new DataView(head.buffer);
  const bad = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message, { node: log.nodeName });
  if (view.getUint32(0, true) !== MAGIC_LO || view.getUint32(4, true) !== MAGIC_HI) throw bad("Invalid magic or not a log");
  if (get64(view, 8) !== VERSION) throw bad(`Unsupported log version ${get64(view, 8)}`);
  const sectorSize = view.getUint32(24, true);
  checkSectorSize(sectorSize);
  const entries = get64(view, 16);
  let sector = 1;
  for (let i = 0; i < entries; i++) {
    const at = sector * sectorSize;
    if (!(at + 32 <= log.size)) throw bad("The log ends before its last entry");
    const entry = new DataView((yield* readBytes(log, at, 32)).buffer);
    const count = get64(entry, 8);
    const flags = get64(entry, 16);
    if (flags > 0xffffffff || (flags & ~(FLUSH | FUA | DISCARD)) !== 0) throw bad(`Invalid flags in the log at entry ${i}`);
    sector += 1 + ((flags & DISCARD) === 0 ? count : 0);
  }
  return { sector, entries, sectorSize };
}

function checkSectorSize(size: number): void {
  if (size < 512 || size > MAX_SECTOR || !isPowerOfTwo(size))
    throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid log sector size ${size}`);
}

function* openLog(context: OpenContext): Op<BlkLogWrites> {
  const { options } = context;
  const append = takeBool(options, "log-append") ?? false;
  const given = takeSize(options, "log-sector-size");
  const interval = takeSize(options, "log-super-update-interval") ?? DEFAULT_INTERVAL;
  if (append && given !== undefined)
    throw new BlockError("ERR_INVALID_ARGUMENT", "log-append and log-sector-size are mutually exclusive");
  const file = yield* context.openChild("file", "filtered");
  const log = yield* context.openChild("log", "data", { format: false });
  let sectorSize = given ?? 512;
  let state: LogState = { sector: 1, entries: 0 };
  if (append && log.node.size > 0) {
    const found = yield* findEnd(log.node);
    sectorSize = found.sectorSize;
    state = { sector: found.sector, entries: found.entries };
  }
  checkSectorSize(sectorSize);
  return new BlkLogWrites(file, log, sectorSize, interval, state);
}

export const blklogwrites: Driver = {
  name: "blklogwrites",
  category: "filter",
  runtimeOptions: ["file", "log", "log-sector-size", "log-append", "log-super-update-interval"],
  strongOptions: ["log-append", "log-sector-size"],
  open: openLog,
};
