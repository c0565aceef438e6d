/**
 * Internal snapshots: create, apply, remove, look at.
 *
 * Each of them changes tables, flags and refcounts in many places. All of it is prepared in fresh clusters (the refcount structures as
 * a whole, refcount-replacement.ts), made durable, and put in force by one write of the header's first sector. A crash leaves the
 * image as it was or as it is to be, with right refcounts and flags; an error leaves it as it was. What the old tables occupied is freed
 * after that. Version 2 images, which have no dirty bit, are as safe as others.
 */
import { allocate } from "../../base/allocate.js";
import { BlockError, errnoError } from "../../base/error.js";
import { viewOf } from "../../base/bytes.js";
import { divCeil } from "../../base/int.js";
import type { SnapshotVerbs } from "../../block/driver.js";
import { discard, readBytes } from "../../block/io.js";
import { TimedWaitRequest, WaitQueue, type Op } from "../../block/op.js";
import type { SnapshotInfo } from "../../block/types.js";
import type { Header } from "./header.js";
import type { Qcow2 } from "./image.js";
import { COPIED_HI, MAX_L1_BYTES, MAX_SNAPSHOTS } from "./layout.js";
import { Replacement } from "./refcount-replacement.js";
import { dropVmState } from "./vm-state.js";
import { encodeSnapshotTable, newSnapshot, readSnapshotTable, snapshotInfo, withExtra, type Snapshot } from "./snapshot-table.js";
import {
  adjustFlags,
  checkSnapshotL1,
  clearFlags,
  FreedRuns,
  offsetOf,
  placeFresh,
  readTable,
  setEntry,
  updateReferences,
  updateRun,
  writeFresh,
} from "./snapshot-tables.js";

/** What an operation puts in force. */
interface Outcome {
  header: Partial<Header>;
  snapshots: Snapshot[];
  /** Bytes of the new snapshot table. */
  tableBytes: number;
  /** The new active L1 table; null: it stays. */
  l1: Uint8Array | null;
  /** Byte ranges of the file to free once the header is durable. */
  free: [offset: number, length: number][];
  freed: FreedRuns;
}

/** Prepares it in fresh clusters. */
type Prepare = (this: Snapshots, replacement: Replacement) => Op<Outcome>;

export class Snapshots implements SnapshotVerbs {
  readonly #image: Qcow2;
  #snapshots: Snapshot[];
  /** Why the table could not be read: it must not be replaced. */
  readonly #unreadable: BlockError | null;

  private constructor(image: Qcow2, snapshots: Snapshot[], unreadable: BlockError | null = null) {
    this.#image = image;
    this.#snapshots = snapshots;
    this.#unreadable = unreadable;
  }

  /** Reads the snapshot table. @throws BlockError when there is something wrong with it */
  static *open(image: Qcow2): Op<Snapshots> {
    const { snapshots, bytes } = yield* readSnapshotTable(image.file, image.header);
    image.options.snapshotTableSize = bytes;
    image.overlap.setSnapshots(snapshots);
    return new Snapshots(image, snapshots);
  }

  /** For a check, which is to say what is wrong with the table: no snapshots to be seen, and none to be made. */
  static unreadable(image: Qcow2, why: BlockError): Snapshots {
    return new Snapshots(image, [], why);
  }

  list(): SnapshotInfo[] {
    return this.#snapshots.map(snapshotInfo);
  }

  #find(wanted: SnapshotInfo): Snapshot {
    const found = this.#snapshots.find(({ id, name }) => id === wanted.id && name === wanted.name);
    if (found === undefined)
      throw new BlockError("ERR_NOT_FOUND", "Can't find the snapshot", { errno: "ENOENT", node: this.#image.node.nodeName });
    return found;
  }

  // ---- the operations -----------------------------------------------------------------------------------------------

  *create(
    name: string,
    state: { vmStateSize: number; dateSec: number; dateNsec: number; vmClockNsec: number; icount?: number },
  ): Op<void> {
    this.#refuseDataFile();
    if (this.#snapshots.length >= MAX_SNAPSHOTS)
      throw errnoError("EFBIG", "There are too many snapshots", { node: this.#image.node.nodeName });
    const image = this.#image;
    yield* this.#change(function* (this: Snapshots, replacement: Replacement): Op<Outcome> {
      const { header, l1, clusterSize } = image;
      const entries = image.l1Entries;
      // The tables that nobody shares yet carry COPIED flags: the ones to be shared are copies without.
      const table = allocate(clusterSize);
      const view = viewOf(table);
      const shared = allocate(l1.length);
      const sharedView = viewOf(shared);
      const free: Outcome["free"] = [[header.l1Offset, l1.length]];
      for (let index = 0; index < entries; index++) {
        const l2 = image.l2Offset(index);
        if (l2 === 0) continue;
        let to = l2;
        if (image.l2IsCopied(index)) {
          yield* readTable(image, l2, table);
          if (clearFlags(image, view)) {
            to = yield* placeFresh(image, clusterSize);
            yield* writeFresh(image, to, table);
            free.push([l2, clusterSize]);
          }
        }
        setEntry(sharedView, index, to, false);
      }
      const activeAt = yield* placeFresh(image, l1.length);
      const snapshotAt = yield* placeFresh(image, l1.length);
      const added = newSnapshot({
        id: this.#nextId(),
        name,
        l1Offset: snapshotAt,
        l1Entries: entries,
        diskSize: image.size,
        vmStateSize: state.vmStateSize,
        dateSec: state.dateSec,
        dateNsec: state.dateNsec,
        vmClockNsec: state.vmClockNsec,
        icount: state.icount,
      });
      const outcome = yield* this.#withTable(replacement, [...this.#snapshots, added], free);
      // One reference more to everything; a copied table came with its first one.
      yield* updateReferences(image, sharedView, 1, null);
      yield* writeFresh(image, activeAt, shared);
      yield* writeFresh(image, snapshotAt, shared);
      outcome.header.l1Offset = activeAt;
      outcome.header.l1Entries = entries;
      outcome.l1 = shared;
      return outcome;
    });
    // The state belongs to the snapshot; in the active layer it would only be copied on the next one.
    if (state.vmStateSize > 0) yield* dropVmState(image);
  }

  *apply(snapshot: SnapshotInfo): Op<void> {
    this.#refuseDataFile();
    const image = this.#image;
    const found = this.#find(snapshot);
    const entries = Math.max(found.l1Entries, divCeil(found.diskSize, image.l2Coverage));
    checkSnapshotL1(image, found, MAX_L1_BYTES);
    if (!(entries * 8 <= MAX_L1_BYTES))
      throw new BlockError("ERR_TOO_LARGE", "The snapshot's disk is too large", { errno: "EFBIG", node: image.node.nodeName });
    // They would not hear of what changes.
    if (image.node.bitmaps.length > 0) {
      throw new BlockError("ERR_UNSUPPORTED", "Device has active dirty bitmaps", { errno: "ENOTSUP", node: image.node.nodeName });
    }
    yield* this.#change(function* (this: Snapshots, replacement: Replacement): Op<Outcome> {
      const { header, clusterSize } = image;
      const l1 = allocate(entries * 8);
      l1.set(yield* readBytes(image.file, found.l1Offset, found.l1Entries * 8));
      const l1View = viewOf(l1);
      // Tables to be shared have no COPIED flags; one that has some (nobody minded them so far) is copied without.
      const table = allocate(clusterSize);
      const view = viewOf(table);
      const kept = viewOf(l1.slice());
      for (let index = 0; index < found.l1Entries; index++) {
        const l2 = offsetOf(l1View.getUint32(index * 8), l1View.getUint32(index * 8 + 4));
        setEntry(l1View, index, l2, false);
        if (l2 === 0) continue;
        yield* readTable(image, l2, table);
        if (!clearFlags(image, view)) continue;
        const to = yield* placeFresh(image, clusterSize);
        yield* writeFresh(image, to, table);
        setEntry(l1View, index, to, true);
      }
      const at = yield* placeFresh(image, l1.length);
      yield* replacement.placeTable();
      // References of what is active from now on; a copied table has its one already.
      yield* updateReferences(image, kept, 1, null);
      for (let index = 0; index < found.l1Entries; index++) {
        if ((l1View.getUint32(index * 8) & COPIED_HI) === 0) continue;
        yield* updateRun(image, offsetOf(kept.getUint32(index * 8), kept.getUint32(index * 8 + 4)) / clusterSize, 1, -1, null);
      }
      const freed = new FreedRuns();
      yield* updateReferences(image, image.l1View, -1, freed);
      yield* writeFresh(image, at, l1);
      return {
        header: { l1Offset: at, l1Entries: entries, size: found.diskSize },
        snapshots: this.#snapshots,
        tableBytes: image.options.snapshotTableSize,
        l1,
        free: [[header.l1Offset, image.l1.length]],
        freed,
      };
    });
  }

  *remove(snapshot: SnapshotInfo): Op<void> {
    this.#refuseDataFile();
    const image = this.#image;
    const found = this.#find(snapshot);
    checkSnapshotL1(image, found, MAX_L1_BYTES);
    yield* this.#change(function* (this: Snapshots, replacement: Replacement): Op<Outcome> {
      const { header, clusterSize } = image;
      const old = yield* readBytes(image.file, found.l1Offset, found.l1Entries * 8);
      // Space for every active table whose flags may change, before any reference is taken away.
      const places = new Float64Array(image.l1Entries);
      for (let index = 0; index < image.l1Entries; index++)
        if (image.l2Offset(index) !== 0) places[index] = yield* placeFresh(image, clusterSize);
      const at = yield* placeFresh(image, image.l1.length);
      const free: Outcome["free"] = [];
      const outcome = yield* this.#withTable(
        replacement,
        this.#snapshots.filter((other) => other !== found),
        free,
      );
      yield* updateReferences(image, viewOf(old), -1, outcome.freed);
      if (old.length > 0)
        yield* updateRun(image, found.l1Offset / clusterSize, divCeil(old.length, clusterSize), -1, outcome.freed);
      const l1 = image.l1.slice();
      if (yield* this.#adjustActive(viewOf(l1), places, free)) {
        yield* writeFresh(image, at, l1);
        free.push([header.l1Offset, l1.length]);
        outcome.header.l1Offset = at;
        outcome.header.l1Entries = l1.length / 8;
        outcome.l1 = l1;
      } else if (l1.length > 0) {
        yield* image.allocator.update(at / clusterSize, divCeil(l1.length, clusterSize), -1);
      }
      return outcome;
    });
  }

  /** Brings the COPIED flags of the active tables in line: tables with changes are written to `places`. True when the L1 table has changed. */
  *#adjustActive(l1: DataView, places: Float64Array, free: Outcome["free"]): Op<boolean> {
    const image = this.#image;
    const { allocator, clusterSize } = image;
    const table = allocate(clusterSize);
    const view = viewOf(table);
    let changed = false;
    for (let index = 0; index < places.length; index++) {
      const l2 = image.l2Offset(index);
      if (l2 === 0) continue;
      const alone = (yield* allocator.refcount(l2 / clusterSize)) === 1;
      // What a shared table refers to is shared as well.
      if (alone) yield* readTable(image, l2, table);
      if (alone && (yield* adjustFlags(image, view))) {
        const to = places[index]!;
        yield* writeFresh(image, to, table);
        setEntry(l1, index, to, true);
        free.push([l2, clusterSize]);
        changed = true;
        continue;
      }
      yield* allocator.update(places[index]! / clusterSize, 1, -1);
      if (alone === image.l2IsCopied(index)) continue;
      setEntry(l1, index, l2, alone);
      changed = true;
    }
    return changed;
  }

  /** From now on the node shows the snapshot, with the size its disk had: for read-only nodes. */
  *load(snapshot: SnapshotInfo): Op<void> {
    const image = this.#image;
    const found = this.#find(snapshot);
    if (!image.node.readOnly) {
      throw new BlockError("ERR_INVALID_ARGUMENT", "Only a read-only image can show a snapshot", { node: image.node.nodeName });
    }
    checkSnapshotL1(image, found, MAX_L1_BYTES);
    if (!(found.diskSize <= MAX_L1_BYTES * (image.l2Coverage / 8))) {
      throw new BlockError("ERR_TOO_LARGE", "The snapshot's disk is too large", { errno: "EFBIG", node: image.node.nodeName });
    }
    image.replaceL1(yield* readBytes(image.file, found.l1Offset, found.l1Entries * 8));
    image.header.size = found.diskSize;
  }

  // ---- what they have in common -------------------------------------------------------------------------------------

  #refuseDataFile(): void {
    if (this.#image.hasDataFile) throw errnoError("ENOTSUP", undefined, { node: this.#image.node.nodeName });
  }

  /** One more than the largest number that is an ID. */
  #nextId(): string {
    let most = 0;
    for (const { id } of this.#snapshots) {
      const number = Number.parseInt(id, 10);
      if (Number.isSafeInteger(number) && number > most) most = number;
    }
    return String(most + 1);
  }

  /** Writes a new snapshot table, and takes room for the table of the refcounts. */
  *#withTable(replacement: Replacement, kept: Snapshot[], free: Outcome["free"]): Op<Outcome> {
    const image = this.#image;
    const { header } = image;
    const snapshots = kept.map(withExtra);
    const bytes = encodeSnapshotTable(snapshots);
    if (header.snapshotCount > 0) free.push([header.snapshotsOffset, Math.max(1, image.options.snapshotTableSize)]);
    let offset = 0;
    if (bytes.length > 0) {
      offset = yield* placeFresh(image, bytes.length);
      yield* writeFresh(image, offset, bytes);
    }
    yield* replacement.placeTable();
    return {
      header: { snapshotsOffset: offset, snapshotCount: snapshots.length },
      snapshots,
      tableBytes: bytes.length,
      l1: null,
      free,
      freed: new FreedRuns(),
    };
  }

  /** Runs an operation while nobody writes. */
  *#change(prepare: Prepare): Op<void> {
    if (this.#unreadable !== null) throw this.#unreadable;
    const image = this.#image;
    const { node } = image;
    // The disk and the VM state behind it.
    const lease = yield* node.requests.acquire(0, Number.MAX_SAFE_INTEGER, 1);
    try {
      const release = yield* this.#quiet();
      let epoch;
      let freed: FreedRuns;
      try {
        freed = yield* this.#replace(prepare);
        epoch = node.requests.closeEpoch();
      } finally {
        release();
      }
      // Readers that began before may look at what is free now: nobody may take it yet.
      while (epoch.readers > 0) yield* pause();
      yield* this.#giveBack(freed);
    } finally {
      node.requests.release(lease);
    }
  }

  /** Holds the lock of an image without unwritten tables and pending frees. */
  *#quiet(): Op<() => void> {
    const image = this.#image;
    for (let turns = 0; turns < MAX_TURNS; turns++) {
      const release = yield* image.lock.acquire();
      try {
        yield* image.markCorrupt();
        yield* image.beginModifying();
        yield* image.flushLocked();
        yield* image.allocator.writeBack();
        yield* image.barrier();
        if (!image.allocator.hasPendingFrees) return release;
      } catch (error) {
        release();
        throw error;
      }
      release();
      // Somebody still reads what is to be freed: let him go on.
      yield* pause();
    }
    throw new BlockError("ERR_BUSY", "The image is being read by requests that do not end", {
      errno: "EBUSY",
      node: image.node.nodeName,
    });
  }

  *#replace(prepare: Prepare): Op<FreedRuns> {
    const image = this.#image;
    const { allocator, header } = image;
    const oldTable = header.reftableOffset;
    const replacement = yield* Replacement.begin(image);
    let outcome: Outcome;
    try {
      outcome = yield* prepare.call(this, replacement);
      const refcounts = yield* replacement.write();
      yield* image.barrier();
      yield* image.updateHeader({ ...outcome.header, ...refcounts });
    } catch (error) {
      // A header that may be in the file after all must find everything as it was prepared.
      if (!image.lost) yield* abandon(replacement);
      throw error;
    }
    // In force. Nothing below can undo it; what fails leaves space that is lost until the next check.
    if (outcome.l1 !== null) image.replaceL1(outcome.l1);
    this.#snapshots = outcome.snapshots;
    image.options.snapshotTableSize = outcome.tableBytes;
    image.overlap.setSnapshots(outcome.snapshots);
    replacement.finish(oldTable);
    for (const [offset, length] of outcome.free) {
      if (length === 0) continue;
      image.l2.drop(offset, length);
      allocator.free(offset, length, "snapshot");
    }
    yield* image.barrier();
    yield* allocator.releaseFreed();
    yield* allocator.writeBack();
    yield* image.barrier();
    return outcome.freed;
  }

  /** Passes freed space on to the file, as far as it is still free. What fails is only not given back. */
  *#giveBack(freed: FreedRuns): Op<void> {
    const image = this.#image;
    if (!image.options.passDiscardSnapshot || !image.flags.unmap) return;
    const release = yield* image.lock.acquire();
    try {
      for (const [first, count] of freed.runs) {
        const free: [number, number][] = [];
        yield* image.allocator.freeRuns(first, count, (from, clusters) => free.push([from, clusters]));
        for (const [from, clusters] of free) {
          const offset = from * image.clusterSize;
          const length = Math.min(clusters * image.clusterSize, image.file.size - offset);
          if (length > 0) yield* discard(image.file, offset, length);
        }
      }
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
    } finally {
      release();
    }
  }
}

/** Waits for readers that do not end: about as many milliseconds. */
const MAX_TURNS = 60_000;
function* pause(): Op<void> {
  yield new TimedWaitRequest(new WaitQueue(), 1);
}

/** The error that made us give up is the one that counts; space may stay lost. */
function* abandon(replacement: Replacement): Op<void> {
  try {
    yield* replacement.abandon();
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
  }
}
