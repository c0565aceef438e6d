/**
 * Persistent dirty bitmaps of a qcow2 image.
 *
 * A stored bitmap can be believed only when it is not marked "in use" and the image's autoclear bit says that nobody who does not
 * know bitmaps has written since. So before the first change of a session all bitmaps are marked in use on disk, and they are
 * stored, to new places, when the image is closed or becomes read-only. A crash in between leaves bitmaps that say themselves
 * that they are out of date.
 *
 * As in QEMU the mark is set as soon as the image is open for writing.
 */
import { BlockError, prefixError } from "../../base/error.js";
import { encodeText } from "../../base/bytes.js";
import { divCeil, log2 } from "../../base/int.js";
import type { BitmapStore } from "../../block/driver.js";
import { readBytes, writeGrow } from "../../block/io.js";
import { checkBitmap, findBitmap, NamedBitmap } from "../../block/named-bitmap.js";
import type { Op } from "../../block/op.js";
import type { BitmapInfo } from "../../block/types.js";
import { checkBitmapTable, freeBitmap, isReachable, loadBitmap, place, storeBitmap, type Allocation } from "./bitmap-data.js";
import {
  BITMAP_AUTO,
  BITMAP_IN_USE,
  bitmapBytes,
  checkConstraints,
  decodeDirectory,
  directoryBytes,
  directoryBytesOf,
  encodeDirectory,
  type StoredBitmap,
} from "./bitmap-directory.js";
import type { Header } from "./header.js";
import type { Qcow2 } from "./image.js";
import { Autoclear, MAX_BITMAP_DIRECTORY_BYTES, MAX_BITMAPS } from "./layout.js";

/** Forgets bitmaps that are out of date because something that does not know them has written to the image. */
export function dropStaleBitmaps(header: Header, warn: (message: string) => void): void {
  if (header.bitmaps === null || (header.autoclear.lo & Autoclear.bitmaps) !== 0) return;
  header.bitmaps = null;
  warn(
    (header.version < 3
      ? "This qcow2 v2 image contains bitmaps, but they may have been modified by a program without persistent bitmap support; " +
        "so now they must all be considered inconsistent"
      : "a program lacking bitmap support modified this file, so all bitmaps are now considered inconsistent") +
      "\nSome clusters may be leaked, run 'qemu-img check -r' on the image file to fix.",
  );
}

export class PersistentBitmaps implements BitmapStore {
  readonly #image: Qcow2;
  /** As on disk. */
  #stored: StoredBitmap[] = [];
  /** Names differ from those on disk. */
  #renamed = false;

  constructor(image: Qcow2) {
    this.#image = image;
  }

  /** Reads the directory and the tables, and puts the bitmaps on the node; their content is read when somebody asks for it. */
  *open(): Op<void> {
    const image = this.#image;
    const { header, node } = image;
    if (header.bitmaps === null) return;
    const { count, directoryOffset, directorySize } = header.bitmaps;
    if (directoryOffset >= image.file.size || directorySize > image.file.size - directoryOffset) {
      throw new BlockError("ERR_CORRUPT", "Failed to read bitmap directory: it lies outside of the image file", {
        offset: directoryOffset,
      });
    }
    const stored = decodeDirectory(image, yield* readBytes(image.file, directoryOffset, directorySize), count);
    const names = new Set<string>();
    for (const { name, flags, tableEntries, granularityBits } of stored) {
      if (names.has(name)) throw new BlockError("ERR_CORRUPT", `Bitmap already exists: ${name}`);
      names.add(name);
      if (
        (flags & BITMAP_IN_USE) === 0 &&
        tableEntries !== divCeil(bitmapBytes(image.size, 2 ** granularityBits), image.clusterSize)
      ) {
        throw new BlockError("ERR_CORRUPT", `Could not read bitmap '${name}' from image: Invalid argument`);
      }
    }
    for (const entry of stored)
      if ((entry.flags & BITMAP_IN_USE) === 0 && isReachable(image, entry)) yield* checkBitmapTable(image, entry);
    this.#stored = stored;
    const found: NamedBitmap[] = [];
    for (const entry of stored) {
      // One that came here from another process is newer than what the image has, which is out of date.
      if ((entry.flags & BITMAP_IN_USE) !== 0 && findBitmap(node, entry.name) !== null) continue;
      // A table that the file does not reach to would read as "nothing has changed".
      const inconsistent = (entry.flags & BITMAP_IN_USE) !== 0 || !isReachable(image, entry);
      const bitmap = new NamedBitmap(node, {
        name: entry.name,
        granularity: 2 ** entry.granularityBits,
        enabled: (entry.flags & BITMAP_AUTO) !== 0,
        persistent: true,
        size: image.size,
        inconsistent,
        content: inconsistent ? null : (into) => loadBitmap(image, entry, into),
      });
      bitmap.readOnly = !node.flags.write;
      found.unshift(bitmap);
    }
    node.bitmaps.unshift(...found);
  }

  get supported(): boolean {
    return this.#image.header.version >= 3;
  }
  list(): BitmapInfo[] {
    return this.#stored.map(({ name, flags, granularityBits }) => ({
      name,
      granularity: 2 ** granularityBits,
      flags: [
        ...((flags & BITMAP_IN_USE) !== 0 ? (["in-use"] as const) : []),
        ...((flags & BITMAP_AUTO) !== 0 ? (["auto"] as const) : []),
      ],
    }));
  }

  get count(): number {
    return this.#stored.length;
  }

  checkNew(name: string, granularity: number): void {
    const image = this.#image;
    const { node } = image;
    if (findBitmap(node, name) !== null) throw new BlockError("ERR_EXISTS", `Bitmap already exists: ${name}`);
    try {
      if (image.header.version < 3)
        throw new BlockError("ERR_UNSUPPORTED", "Cannot store dirty bitmaps in qcow2 v2 files", { errno: "ENOTSUP" });
      checkConstraints(image, name, granularity);
      const kept = node.bitmaps.filter((bitmap) => bitmap.persistent);
      if (kept.length >= MAX_BITMAPS)
        throw new BlockError("ERR_TOO_LARGE", "Maximum number of persistent bitmaps is already reached");
      const bytes = kept.reduce((sum, bitmap) => sum + directoryBytesOf(bitmap.name), directoryBytesOf(name));
      if (bytes > MAX_BITMAP_DIRECTORY_BYTES) throw new BlockError("ERR_NO_SPACE", "Not enough space in the bitmap directory");
    } catch (error) {
      throw prefixError(`Can't make bitmap '${name}' persistent in '${node.nodeName}': `, error);
    }
  }

  rename(name: string, to: string): void {
    const entry = this.#stored.find((candidate) => candidate.name === name);
    if (entry === undefined) return;
    entry.name = to;
    entry.nameBytes = encodeText(to);
    this.#renamed = true;
  }

  *remove(name: string): Op<void> {
    const image = this.#image;
    const release = yield* image.lock.acquire();
    try {
      const entry = this.#stored.find((candidate) => candidate.name === name);
      if (entry === undefined) return;
      yield* image.beginModifying(false);
      yield* this.#replaceDirectory(
        this.#stored.filter((candidate) => candidate !== entry),
        [],
      );
      yield* freeBitmap(image, entry);
    } catch (error) {
      throw prefixError("Failed to update bitmap extension: ", error);
    } finally {
      release();
    }
  }

  /** All bitmaps go, for what cannot have them (an older version of the format). The lock is held. */
  *removeAll(): Op<void> {
    const image = this.#image;
    if (this.#stored.length > 0) {
      const old = this.#stored;
      yield* this.#replaceDirectory([], []);
      for (const entry of old) yield* freeBitmap(image, entry);
    }
    for (const bitmap of [...image.node.bitmaps]) if (bitmap.persistent) bitmap.release();
  }

  // ---- in use -----------------------------------------------------------------------------------------------------

  get needsMark(): boolean {
    return this.#stored.some((entry) => (entry.flags & BITMAP_IN_USE) === 0);
  }

  /** Says on disk that the bitmaps are in use, before guest data changes. The lock is held. */
  *markInUse(): Op<void> {
    const image = this.#image;
    const { header } = image;
    const link = header.bitmaps!;
    const entries = this.#stored.map((entry) => ({ ...entry, flags: entry.flags | BITMAP_IN_USE }));
    if (this.#renamed && directoryBytes(entries) !== link.directorySize) {
      yield* this.#replaceDirectory(entries, []);
      return;
    }
    // In place, and nobody believes the directory while it is being written.
    yield* image.updateHeader({ autoclear: { hi: 0, lo: header.autoclear.lo & ~Autoclear.bitmaps } });
    yield* image.barrier();
    yield* image.checkOverlap(link.directoryOffset, link.directorySize, "bitmap-directory");
    yield* writeGrow(image.file, encodeDirectory(entries), link.directoryOffset);
    yield* image.barrier();
    yield* image.updateHeader({ autoclear: { hi: 0, lo: header.autoclear.lo | Autoclear.bitmaps } });
    yield* image.barrier();
    // The entries keep their identity: loading a bitmap goes by them.
    for (const entry of this.#stored) entry.flags |= BITMAP_IN_USE;
  }

  // ---- storing ----------------------------------------------------------------------------------------------------

  /** Stores all when one has changed; then the bitmaps on disk are in order. */
  *store(): Op<void> {
    const image = this.#image;
    const bitmaps = image.node.bitmaps.filter(
      (bitmap) => bitmap.persistent && !bitmap.inconsistent && !bitmap.readOnly && !bitmap.skipStore,
    );
    const known = byName(this.#stored);
    if (!this.#renamed && bitmaps.every((bitmap) => isStored(known.get(bitmap.name), bitmap))) return;
    const release = yield* image.lock.acquire();
    const made: Allocation[] = [];
    try {
      yield* image.beginModifying(false);
      const entries = this.#stored.map((entry) => ({ ...entry }));
      const index = byName(entries);
      const dropped: StoredBitmap[] = [];
      const saved: [NamedBitmap, number][] = [];
      // As QEMU does it: where one has to be written all are.
      const anew = bitmaps.some((bitmap) => bitmap.isChanged);
      // Those that are in the directory in its order, then the new ones: so they lie in the file one after the other.
      const place = new Map(entries.map(({ name }, i) => [name, i]));
      const placeOf = ({ name }: NamedBitmap): number => place.get(name) ?? entries.length;
      bitmaps.sort((a, b) => placeOf(a) - placeOf(b));
      for (const bitmap of bitmaps) {
        const { name, granularity } = bitmap;
        try {
          checkConstraints(image, name, granularity);
        } catch (error) {
          throw prefixError(`Bitmap '${name}' doesn't satisfy the constraints: `, error);
        }
        if (anew) yield* bitmap.load();
        let entry = index.get(name);
        const generation = bitmap.bits.generation;
        if (entry === undefined) {
          if (entries.length >= MAX_BITMAPS) throw new BlockError("ERR_TOO_LARGE", "Too many persistent bitmaps");
          entry = {
            name,
            nameBytes: encodeText(name),
            tableOffset: 0,
            tableEntries: 0,
            flags: 0,
            granularityBits: log2(granularity),
          };
          entries.push(entry);
        } else if (anew) {
          dropped.push({ ...entry });
        }
        if (anew) Object.assign(entry, yield* storeBitmap(image, bitmap.bits, made));
        entry.flags = bitmap.enabled ? BITMAP_AUTO : 0;
        saved.push([bitmap, generation]);
      }
      yield* this.#replaceDirectory(entries, made);
      for (const [bitmap, generation] of saved) if (bitmap.isLoaded) bitmap.markSaved(generation);
      for (const entry of dropped) yield* freeBitmap(image, entry);
    } catch (error) {
      for (const { offset, length } of made) {
        try {
          yield* image.allocator.undo(offset, length);
        } catch {
          // leaked: the failure that led here is what counts
        }
      }
      throw error;
    } finally {
      release();
    }
  }

  /** Writes a new directory and makes the header point to it; the old one is freed. `made` gets what was allocated. */
  *#replaceDirectory(entries: StoredBitmap[], made: Allocation[]): Op<void> {
    const image = this.#image;
    const { header } = image;
    const old = header.bitmaps;
    const bytes = encodeDirectory(entries);
    if (bytes.length > MAX_BITMAP_DIRECTORY_BYTES) throw new BlockError("ERR_NO_SPACE", "Bitmap directory is too large");
    const offset = entries.length === 0 ? 0 : yield* place(image, bytes, made);
    // All that the new directory leads to is on disk, and counted, before the header points to it.
    yield* image.commitMetadata();
    yield* image.barrier();
    const lo = header.autoclear.lo & ~Autoclear.bitmaps;
    yield* image.updateHeader(
      entries.length === 0
        ? { bitmaps: null, autoclear: { hi: 0, lo } }
        : {
            bitmaps: { count: entries.length, directorySize: bytes.length, directoryOffset: offset },
            autoclear: { hi: 0, lo: lo | Autoclear.bitmaps },
          },
    );
    made.length = 0; // the header leads to it now: not to be taken back, though the barrier should fail
    this.#adopt(entries);
    this.#renamed = false;
    if (old !== null) image.allocator.free(old.directoryOffset, old.directorySize, "other");
    yield* image.barrier();
  }

  /** Takes over the new state of the directory; entries that stay keep their identity, because loading goes by them. */
  #adopt(entries: readonly StoredBitmap[]): void {
    const known = byName(this.#stored);
    this.#stored = entries.map((entry) => {
      const old = known.get(entry.name);
      return old === undefined ? entry : Object.assign(old, entry);
    });
  }

  // ---- what else happens to the image -----------------------------------------------------------------------------

  /** Before the disk changes its size: all content comes into memory, where it can follow. */
  *prepareResize(): Op<void> {
    for (const bitmap of [...this.#image.node.bitmaps].reverse()) {
      if (!bitmap.persistent) continue;
      try {
        checkBitmap(bitmap);
      } catch (error) {
        const inner = error as BlockError;
        throw new BlockError("ERR_UNSUPPORTED", inner.message, {
          errno: "ENOTSUP",
          ...(inner.hint === undefined ? {} : { hint: inner.hint }),
        });
      }
      yield* bitmap.load();
    }
  }

  /** The node becomes writable, or read-only. */
  *accessChanging(write: boolean): Op<void> {
    const image = this.#image;
    if (!write) {
      yield* this.store();
    } else if (this.needsMark) {
      const release = yield* image.lock.acquire();
      try {
        yield* this.markInUse();
      } finally {
        release();
      }
    }
    for (const bitmap of image.node.bitmaps) if (bitmap.persistent) bitmap.readOnly = !write;
  }
}

const byName = (stored: readonly StoredBitmap[]): Map<string, StoredBitmap> =>
  new Map(stored.map((entry) => [entry.name, entry]));

function isStored(entry: StoredBitmap | undefined, bitmap: NamedBitmap): boolean {
  return entry !== undefined && !bitmap.isChanged && entry.flags === (bitmap.enabled ? BITMAP_AUTO : 0);
}
