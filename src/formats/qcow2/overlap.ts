/**
 * Overlap checks: no write of ours may hit metadata that it is not meant for, whatever the image says about free space.
 *
 * The places of L2 tables are kept as sets of host clusters, made at the first check and updated with every change of an L1
 * entry, so that a check costs a few look-ups whatever the size of the image.
 */
import { viewOf } from "../../base/bytes.js";
import { MiB } from "../../base/int.js";
import { readBytes } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import type { Qcow2 } from "./image.js";
import { Autoclear, OFFSET_HI, OFFSET_LO } from "./layout.js";

export type MetadataKind =
  | "main-header"
  | "active-l1"
  | "active-l2"
  | "refcount-table"
  | "refcount-block"
  | "snapshot-table"
  | "inactive-l1"
  | "inactive-l2"
  | "bitmap-directory";

const NAMES: Record<MetadataKind, string> = {
  "main-header": "qcow2_header",
  "active-l1": "active L1 table",
  "active-l2": "active L2 table",
  "refcount-table": "refcount table",
  "refcount-block": "refcount block",
  "snapshot-table": "snapshot table",
  "inactive-l1": "inactive L1 table",
  "inactive-l2": "inactive L2 table",
  "bitmap-directory": "bitmap directory",
};

/** The message of a write that is refused, as QEMU words it. */
export function overlapMessage(kind: MetadataKind): string {
  return `Preventing invalid write on metadata (overlaps with ${NAMES[kind]})`;
}

interface SnapshotPlace {
  readonly l1Offset: number;
  readonly l1Entries: number;
}

export class OverlapGuard {
  readonly #image: Qcow2;
  /** Host clusters of active L2 tables; null until the first check. */
  #activeL2: Set<number> | null = null;
  #inactiveL2: Set<number> | null = null;
  #snapshots: readonly SnapshotPlace[] = [];

  constructor(image: Qcow2) {
    this.#image = image;
  }

  /** An active L1 entry has changed. */
  l1Changed(before: number, after: number): void {
    if (this.#activeL2 === null) return;
    if (before !== 0) this.#activeL2.delete(this.#cluster(before));
    if (after !== 0) this.#activeL2.add(this.#cluster(after));
  }
  /** The active L1 table is another one. */
  l1Replaced(): void {
    this.#activeL2 = null;
  }
  /** Where the L1 tables of the snapshots are. */
  setSnapshots(snapshots: readonly SnapshotPlace[]): void {
    this.#snapshots = snapshots;
    this.#inactiveL2 = null;
  }

  #cluster(offset: number): number {
    return Math.floor(offset / this.#image.clusterSize);
  }

  #active(): Set<number> {
    if (this.#activeL2 !== null) return this.#activeL2;
    const found = new Set<number>();
    for (let i = 0; i < this.#image.l1Entries; i++) {
      const offset = this.#image.l2Offset(i);
      if (offset !== 0) found.add(this.#cluster(offset));
    }
    this.#activeL2 = found;
    return found;
  }

  /** Reads where the L2 tables of snapshots are, if that is to be checked and not known yet. */
  *prepare(): Op<void> {
    const image = this.#image;
    if (!image.options.overlap.has("inactive-l2") || this.#inactiveL2 !== null) return;
    const found = new Set<number>();
    // L1 tables that do not overlap fit into the file together.
    let left = image.file.size;
    for (const { l1Offset, l1Entries } of this.#snapshots) {
      const entries = Math.min(l1Entries, Math.max(0, Math.floor((image.file.size - l1Offset) / 8)));
      left -= entries * 8;
      if (left < 0) break;
      for (let from = 0; from < entries; from += MiB / 8) {
        const count = Math.min(MiB / 8, entries - from);
        const view = viewOf(yield* readBytes(image.file, l1Offset + from * 8, count * 8));
        for (let i = 0; i < count; i++) {
          const offset = (view.getUint32(i * 8) & OFFSET_HI) * 4294967296 + ((view.getUint32(i * 8 + 4) & OFFSET_LO) >>> 0);
          if (offset !== 0) found.add(this.#cluster(offset));
        }
      }
    }
    this.#inactiveL2 = found;
  }

  /** The first structure, in QEMU's order, that [offset, offset+length) would hit; null when it is free of them. */
  find(offset: number, length: number, allowed: MetadataKind | null): MetadataKind | null {
    if (length <= 0) return null;
    const image = this.#image;
    const { header, options, clusterSize } = image;
    const checked = (kind: MetadataKind): boolean => kind !== allowed && options.overlap.has(kind);
    const first = this.#cluster(offset);
    const last = this.#cluster(offset + length - 1);
    const start = first * clusterSize;
    const end = (last + 1) * clusterSize;
    const hits = (at: number, size: number): boolean => size > 0 && start < at + size && at < end;
    const hitsAny = (set: ReadonlySet<number>): boolean => {
      if (last - first > set.size) {
        for (const cluster of set) if (cluster >= first && cluster <= last) return true;
        return false;
      }
      for (let cluster = first; cluster <= last; cluster++) if (set.has(cluster)) return true;
      return false;
    };
    if (checked("main-header") && first === 0) return "main-header";
    if (checked("active-l1") && hits(header.l1Offset, image.l1.length)) return "active-l1";
    if (checked("refcount-table") && hits(header.reftableOffset, header.reftableClusters * clusterSize)) return "refcount-table";
    if (checked("snapshot-table") && hits(header.snapshotsOffset, options.snapshotTableSize)) return "snapshot-table";
    if (checked("inactive-l1") && this.#snapshots.some(({ l1Offset, l1Entries }) => hits(l1Offset, l1Entries * 8)))
      return "inactive-l1";
    if (checked("active-l2") && hitsAny(this.#active())) return "active-l2";
    if (checked("refcount-block") && image.allocator.blockInRange(start, end)) return "refcount-block";
    if (checked("inactive-l2") && this.#inactiveL2 !== null && hitsAny(this.#inactiveL2)) return "inactive-l2";
    const { bitmaps } = header;
    if (checked("bitmap-directory") && bitmaps !== null && (header.autoclear.lo & Autoclear.bitmaps) !== 0) {
      if (hits(bitmaps.directoryOffset, bitmaps.directorySize)) return "bitmap-directory";
    }
    return null;
  }
}
