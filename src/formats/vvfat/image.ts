/** The virtual disk as a node: reads, and the writes of a guest as they become changes of the host's files. */
import { BlockError, errnoError } from "../../base/error.js";
import type { InterceptImpl } from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { Mutex, type Op } from "../../block/op.js";
import { dirtyByte } from "./boot.js";
import { commitGuest, dropWritten, writeChain } from "./commit.js";
import type { Disk } from "./disk.js";
import { SECTOR } from "./layout.js";
import type { Overlay } from "./overlay.js";
import { scanGuest, testBit, type Scan } from "./scan.js";

/** A disk that nobody writes. */
export class FatImage implements InterceptImpl {
  readonly shape = "intercept";
  readonly alignment: number = SECTOR;
  protected readonly disk: Disk;

  constructor(disk: Disk) {
    this.disk = disk;
  }
  get size(): number {
    return this.disk.layout.totalSectors * SECTOR;
  }
  read(into: Uint8Array, offset: number): Op<void> {
    return this.disk.read(into, offset / SECTOR);
  }
  /** What the files take is not what the disk takes. */
  allocatedSize(): null {
    return null;
  }
  // eslint-disable-next-line require-yield
  *status(offset: number, length: number, out: ExtentList): Op<void> {
    out.push(offset, length, ExtentKind.data);
  }
  // eslint-disable-next-line require-yield
  *flush(): Op<void> {}
  close(): Op<void> {
    return this.disk.directory.close();
  }
}

/** A disk that the guest writes. Requests take turns: a change of the tree is one change. */
export class WritableFatImage extends FatImage {
  readonly #overlay: Overlay;
  readonly #mutex = new Mutex();
  /** The last look at the guest's file system; null when it has changed since. */
  #scan: Scan | null = null;
  /** The host's files are not what the guest has: something is half written, or writing it failed. */
  #behind = false;

  constructor(disk: Disk, overlay: Overlay) {
    super(disk);
    this.#overlay = overlay;
  }

  override *read(into: Uint8Array, offset: number): Op<void> {
    yield* this.#alone(() => super.read(into, offset));
  }
  *write(from: Uint8Array, offset: number): Op<void> {
    yield* this.#alone(() => this.#write(from, offset / SECTOR));
  }
  override *flush(): Op<void> {
    yield* this.#alone(() => this.#flush());
  }
  override *close(): Op<void> {
    try {
      yield* this.#alone(() => this.#flush());
      if (this.#behind) {
        this.disk.warn(
          `The last changes of the guest are not in '${this.disk.directory.name}': ${this.#scan?.problem ?? "unfinished"}`,
        );
      }
    } finally {
      yield* this.#overlay.close();
      yield* super.close();
    }
  }

  *#alone(work: () => Op<void>): Op<void> {
    const done = yield* this.#mutex.acquire();
    try {
      yield* work();
    } finally {
      done();
    }
  }

  *#write(from: Uint8Array, sector: number): Op<void> {
    const { layout } = this.disk;
    let at = sector;
    if (at < layout.fatSector) {
      const length = Math.min(from.length, (layout.fatSector - at) * SECTOR);
      this.#writeLeading(from.subarray(0, length), at);
      from = from.subarray(length);
      at += length / SECTOR;
    }
    if (from.length === 0) return;
    const end = at + from.length / SECTOR;
    this.#refuseProtected(at, end);
    this.#scan ??= yield* scanGuest(this.disk);
    yield* this.#overlay.write(from, at);
    if (this.#takeFat(from, at) || this.#touchesDirectory(at, end)) yield* this.#settle();
    else if (!this.#behind) yield* this.#writeThrough(at, end);
  }

  /** Only the mark of a volume in use may change there, and what FAT32 keeps of free clusters. */
  #writeLeading(from: Uint8Array, sector: number): void {
    const { leading, layout } = this.disk;
    const at = sector * SECTOR;
    const boot = layout.bootSector * SECTOR;
    const free = (place: number): boolean =>
      place === boot + dirtyByte(layout) ||
      (layout.fatType === 32 && place >= boot + SECTOR && place < boot + layout.reservedSectors * SECTOR);
    for (let i = 0; i < from.length; i++) {
      if (leading[at + i] !== from[i] && !free(at + i)) {
        throw errnoError("EPERM", "Tried to write to protected bootsector", { offset: at + i });
      }
    }
    leading.set(from, at);
  }

  #refuseProtected(sector: number, end: number): void {
    const first = Math.max(0, this.disk.clusterOf(sector));
    for (const run of this.disk.runs.within(first, this.disk.clusterOf(end - 1) + 1)) {
      if (run.node.readOnly) {
        throw errnoError("EPERM", `Tried to write to write-protected file ${run.node.path.join("/")}`, {
          offset: sector * SECTOR,
        });
      }
    }
  }

  /** Keeps the first FAT in memory current; whether anything changed there. */
  #takeFat(from: Uint8Array, sector: number): boolean {
    const { layout, fat } = this.disk;
    const end = Math.min(sector + from.length / SECTOR, layout.fatSector + layout.sectorsPerFat);
    if (sector >= end) return false;
    const at = (sector - layout.fatSector) * SECTOR;
    let changed = false;
    for (let i = 0; i < (end - sector) * SECTOR; i++) {
      if (fat.bytes[at + i] !== from[i]) changed = true;
      fat.bytes[at + i] = from[i]!;
    }
    return changed;
  }

  #touchesDirectory(sector: number, end: number): boolean {
    const last = Math.min(this.disk.clusterOf(end - 1), this.disk.layout.clusterCount - 1);
    for (let cluster = Math.max(0, this.disk.clusterOf(sector)); cluster <= last; cluster++) {
      if (testBit(this.#scan!.directories, cluster)) return true;
    }
    return false;
  }

  /** Takes the guest's file system over, where it is whole. */
  *#settle(): Op<void> {
    this.#behind = true;
    this.#scan = yield* scanGuest(this.disk);
    if (this.#scan.problem !== null) return;
    yield* commitGuest(this.disk, this.#overlay, this.#scan.entries);
    this.#behind = false;
  }

  /** Bytes of files that are where they were: no need to look at more. */
  *#writeThrough(sector: number, end: number): Op<void> {
    const { disk } = this;
    const first = Math.max(0, disk.clusterOf(sector));
    const last = disk.clusterOf(end - 1) + 1;
    for (const run of disk.runs.within(first, last)) {
      if (run.node.directory) continue;
      const begin = Math.max(run.begin, first);
      const stop = Math.min(run.end, last);
      const offset = run.offset + (begin - run.begin) * disk.layout.clusterSize;
      yield* writeChain(disk, this.#overlay, run.node, [begin, stop], offset);
      dropWritten(disk, this.#overlay, run.node, begin, stop, offset);
    }
  }

  *#flush(): Op<void> {
    // What could not be written may find room now.
    if (this.#behind && this.#scan?.problem === null) yield* this.#settle();
    yield* this.disk.directory.flush();
  }
}

/** What a guest may not do on a disk without `rw`. */
export function readOnlyDisk(): BlockError {
  return new BlockError("ERR_READ_ONLY", "Image is read-only", { errno: "EACCES" });
}
