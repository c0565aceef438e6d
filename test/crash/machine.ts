/** A guest whose disk is an image on a recorded medium: runs our driver and notes what it asked for and what it was told. */
import { BlockError } from "../../src/base/error.js";
import { discard, flush, read, truncate, write, writeZeroes } from "../../src/block/io.js";
import type { MappedImpl } from "../../src/block/driver.js";
import type { Node } from "../../src/block/node.js";
import { runSync, type Op } from "../../src/block/op.js";
import { qcow2 } from "../../src/formats/qcow2/qcow2.js";
import { raw } from "../../src/formats/raw/raw.js";
import { memoryStorage, type MemoryStorage } from "../../src/storage/memory.js";
import { faultyStorage, type FaultyStorage } from "../support/faulty.js";
import { random, type Random } from "../support/random.js";
import { recordingStorage, type LogLine, type RecordingStorage } from "../support/recording.js";
import { runInterleaved } from "../support/scheduler.js";
import { makeWorld, type World } from "../support/world.js";
import { SECTOR, type Mark } from "./promises.js";

export interface MachineOptions {
  /** Bytes of the disk. */
  size: number;
  create?: Readonly<Record<string, unknown>>;
  /** Runtime options of the recorded session. */
  open?: Readonly<Record<string, unknown>>;
  /** A backing file of this size, full of data. */
  backing?: number;
  /** What free space of the medium holds; the medium has a fixed size of a few times the disk. */
  stale?: number;
  seed?: number;
  /** Without holes, discard and write-zeroes on the medium. */
  plain?: boolean;
}

const IMAGE = "image";
const BACKING = "backing";
/** Names the backing file goes by: all of them are the same file. The long one reaches over several sectors. */
export const BACKING_NAMES: readonly string[] = [BACKING, "b", `a/rather/long/path/to/the/${"very/".repeat(120)}backing`];

export class Machine {
  readonly options: MachineOptions;
  readonly random: Random;
  readonly #world: World;
  #recorder: RecordingStorage | null = null;
  #medium: MemoryStorage | null = null;
  #node: Node | null = null;
  #requests = 0;
  readonly #acknowledged = new Set<number>();
  /** What the recorded medium can be told to fail at. */
  faults: FaultyStorage | null = null;
  /** Errors that the guest was told, when it goes on after them. */
  readonly errors: Error[] = [];
  /** Go on after errors: they are noted. Operations on the whole image that fail end the workload. */
  patient = false;
  /** The medium when recording began. */
  base: Buffer = Buffer.alloc(0);
  backing: Buffer | null = null;

  constructor(options: MachineOptions) {
    this.options = options;
    this.random = random(options.seed ?? 1);
    this.#world = makeWorld({ mode: "sync", drivers: [raw, qcow2], plain: options.plain === true });
  }

  get node(): Node {
    return this.#node!;
  }
  get impl(): MappedImpl {
    return this.#node!.impl as MappedImpl;
  }
  get lines(): readonly LogLine[] {
    return this.#recorder!.lines;
  }
  get size(): number {
    return this.#node!.size;
  }
  get unit(): number {
    return this.impl.allocationUnit;
  }

  async create(): Promise<void> {
    const { size, create = {}, backing } = this.options;
    if (backing !== undefined) {
      const bytes = Buffer.alloc(backing);
      for (let at = 0; at < backing; at += SECTOR) this.pattern(0, at / SECTOR, 1).copy(bytes, at);
      for (const name of BACKING_NAMES) this.#world.files.set(name, memoryStorage(bytes, { name }));
      this.backing = bytes;
    }
    const options = backing === undefined ? create : { ...create, backing_file: BACKING, backing_fmt: "raw" };
    await this.#world.create("qcow2", IMAGE, size, options);
    await this.open();
  }
  async open(): Promise<void> {
    this.#node = await this.#world.open("qcow2", IMAGE, { write: true, unmap: true }, { ...this.options.open });
  }
  async close(): Promise<void> {
    await this.#world.close(this.node);
    this.#node = null;
  }

  /** Closes the image, gives the medium its free space, and records from here on. */
  async record(): Promise<void> {
    await this.close();
    const bytes = this.#world.bytes(IMAGE);
    const room = Math.max(2 * this.options.size, 512 * 1024) + bytes.length;
    const medium = Buffer.alloc(room - (room % SECTOR), this.options.stale ?? 0);
    medium.set(bytes);
    this.base = medium;
    this.#medium = memoryStorage(medium, { name: IMAGE });
    this.#recorder = recordingStorage(this.#medium);
    this.faults = faultyStorage(this.#recorder);
    // The world takes the media's faces only.
    this.#world.files.set(IMAGE, this.faults as unknown as MemoryStorage);
    await this.open();
  }
  /** The medium as it is now. */
  bytes(): Buffer {
    const bytes = this.#medium!.toBytes();
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Content that names request and sector, so that any mistaken identity shows; every 16 bytes alike, so that it compresses. */
  pattern(id: number, sector: number, sectors: number): Buffer {
    const bytes = Buffer.alloc(sectors * SECTOR);
    for (let i = 0; i < sectors; i++) {
      const tile = Buffer.alloc(16);
      tile.writeUInt32BE(0xa0000000 + id, 0);
      tile.writeUInt32BE(0xb0000000 + sector + i, 4);
      tile.writeUInt32BE(Math.imul(sector + i + 1, 0x9e3779b1) >>> 0, 8);
      tile.writeUInt32BE(Math.imul(id + 1, 0x85ebca6b) >>> 0, 12);
      bytes.fill(tile, i * SECTOR, (i + 1) * SECTOR);
    }
    return bytes;
  }

  /** What the guest reads at present. */
  content(): Buffer {
    const bytes = Buffer.alloc(this.size);
    runSync(read(this.node, bytes, 0));
    return bytes;
  }

  // ---- requests -----------------------------------------------------------------------------------------------------

  #log(line: LogLine): void {
    this.#recorder?.log(line);
  }
  #mark(mark: Mark): void {
    this.#log({ op: "mark", s: JSON.stringify(mark) });
  }
  *#request(line: LogLine & { id: number }, op: Op<void>): Op<void> {
    this.#log(line);
    if (!(yield* this.#attempt(op))) return;
    this.#log({ op: "ga", id: line.id });
    this.#acknowledged.add(line.id);
  }

  *#attempt(op: Op<void>): Op<boolean> {
    try {
      yield* op;
      return true;
    } catch (error) {
      if (!this.patient || !(error instanceof BlockError)) throw error;
      this.errors.push(error);
      return false;
    }
  }

  writing(offset: number, length: number, flags: { compressed?: boolean } = {}): Op<void> {
    const id = ++this.#requests;
    const bytes = this.pattern(id, offset / SECTOR, length / SECTOR);
    return this.#request(
      { op: "gw", id, o: offset, n: length, b64: bytes.toString("base64") },
      write(this.node, bytes, offset, flags),
    );
  }
  zeroing(offset: number, length: number, mayUnmap = false): Op<void> {
    const id = ++this.#requests;
    return this.#request({ op: "gz", id, o: offset, n: length }, writeZeroes(this.node, offset, length, { mayUnmap }));
  }
  discarding(offset: number, length: number): Op<void> {
    const id = ++this.#requests;
    return this.#request({ op: "gd", id, o: offset, n: length }, discard(this.node, offset, length));
  }
  *flushing(): Op<void> {
    const covers = [...this.#acknowledged];
    if (!(yield* this.#attempt(flush(this.node)))) return;
    this.#mark({ what: "flush-begins", covers });
    this.#log({ op: "gf" });
  }

  write(offset: number, length: number): void {
    runSync(this.writing(offset, length));
  }
  compress(offset: number, length: number): void {
    runSync(this.writing(offset, length, { compressed: true }));
  }
  zero(offset: number, length: number, mayUnmap = false): void {
    runSync(this.zeroing(offset, length, mayUnmap));
  }
  discard(offset: number, length: number): void {
    runSync(this.discarding(offset, length));
  }
  flush(): void {
    runSync(this.flushing());
  }
  /** All at once, in an order chosen by the seed. */
  together(...ops: Op<void>[]): void {
    for (const outcome of runInterleaved(this.random, ops)) if (!outcome.ok) throw outcome.error;
  }

  resize(size: number, preallocation: "off" | "metadata" | "falloc" | "full" = "off"): void {
    this.#mark({ what: "resize", size });
    runSync(truncate(this.node, size, { preallocation, exact: true }));
    this.#mark({ what: "resized", size });
  }

  /** Anything that leaves the disk's content as it is. */
  perform(op: Op<unknown>): void {
    runSync(op);
  }
  empty(): void {
    this.flush();
    this.#mark({ what: "empty" });
    runSync(this.impl.makeEmpty!());
    this.#mark({ what: "emptied" });
  }

  #snapshot(name: string): ReturnType<NonNullable<MappedImpl["snapshots"]>["list"]>[number] {
    const found = this.impl.snapshots!.list().find((snapshot) => snapshot.name === name);
    if (found === undefined) throw new Error(`no snapshot ${name}`);
    return found;
  }
  createSnapshot(name: string): void {
    this.#mark({ what: "snapshot-create", name });
    runSync(this.impl.snapshots!.create(name, { vmStateSize: 0, dateSec: 1_700_000_000, dateNsec: 0, vmClockNsec: 0 }));
    this.#mark({ what: "snapshot-created", name });
  }
  removeSnapshot(name: string): void {
    this.#mark({ what: "snapshot-remove", name });
    runSync(this.impl.snapshots!.remove(this.#snapshot(name)));
    this.#mark({ what: "snapshot-removed", name });
  }
  applySnapshot(name: string): void {
    this.#mark({ what: "snapshot-apply", name });
    runSync(this.impl.snapshots!.apply(this.#snapshot(name)));
    this.#mark({ what: "snapshot-applied", name });
  }
}
