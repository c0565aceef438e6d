/** The virtual disk as the guest reads it: sectors made up here, files of the host, and on top what the guest wrote. */
import type { Op } from "../../block/op.js";
import { leadingSectors } from "./boot.js";
import type { Volume } from "./build.js";
import { FatTable } from "./fat-table.js";
import type { HostDirectory } from "./host-directory.js";
import type { HostNode, RunTable } from "./host-tree.js";
import { SECTOR, type Layout } from "./layout.js";
import type { Overlay } from "./overlay.js";

export class Disk {
  readonly layout: Layout;
  readonly directory: HostDirectory;
  readonly root: HostNode;
  /** Sectors before the FATs. */
  readonly leading: Uint8Array;
  /** Which clusters show what of the host. */
  runs: RunTable;
  /** The first FAT as the guest has it now. */
  readonly fat: FatTable;
  readonly overlay: Overlay | null;
  readonly warn: (message: string) => void;
  /** Both FATs as they were made up. */
  readonly #firstFat: Uint8Array;

  constructor(
    layout: Layout,
    directory: HostDirectory,
    label: Uint8Array,
    volume: Volume,
    overlay: Overlay | null,
    warn: (message: string) => void,
  ) {
    this.layout = layout;
    this.directory = directory;
    this.warn = warn;
    this.root = volume.root;
    this.runs = volume.runs;
    this.#firstFat = volume.fat.bytes;
    this.fat = overlay === null ? volume.fat : new FatTable(layout);
    if (overlay !== null) this.fat.bytes.set(volume.fat.bytes);
    this.leading = leadingSectors(layout, label);
    this.overlay = overlay;
  }

  /** First sector of a cluster. */
  sectorOf(cluster: number): number {
    return this.layout.clusterZero + cluster * this.layout.sectorsPerCluster;
  }
  /** The cluster of a sector; negative before the clusters begin. */
  clusterOf(sector: number): number {
    return Math.floor((sector - this.layout.clusterZero) / this.layout.sectorsPerCluster);
  }

  /** Whole sectors. */
  *read(into: Uint8Array, sector: number): Op<void> {
    const end = sector + into.length / SECTOR;
    for (let at = sector; at < end;) {
      const count = this.overlay === null ? end - at : this.overlay.run(at, end);
      const part = into.subarray((at - sector) * SECTOR, (at - sector + count) * SECTOR);
      if (this.overlay?.has(at) === true) yield* this.overlay.read(part, at);
      else yield* this.#readBase(part, at);
      at += count;
    }
  }

  *#readBase(into: Uint8Array, sector: number): Op<void> {
    const { layout } = this;
    const firstClusterSector = this.sectorOf(layout.rootCluster);
    for (let done = 0; done < into.length;) {
      const at = sector + done / SECTOR;
      const rest = into.subarray(done);
      if (at < layout.fatSector) done += copy(this.leading, at * SECTOR, rest);
      else if (at < firstClusterSector) {
        const inFat = (at - layout.fatSector) % layout.sectorsPerFat;
        done += copy(this.#firstFat, inFat * SECTOR, rest);
      } else done += yield* this.#readClusters(rest, at);
    }
  }

  /** Bytes read, from the run that `sector` lies in or of the gap before the next. */
  *#readClusters(into: Uint8Array, sector: number): Op<number> {
    const cluster = this.clusterOf(sector);
    const run = this.runs.find(cluster);
    if (run === null) {
      const next = this.runs.next(cluster);
      const length = next === null ? into.length : Math.min(into.length, (this.sectorOf(next.begin) - sector) * SECTOR);
      into.fill(0, 0, length);
      return length;
    }
    const length = Math.min(into.length, (this.sectorOf(run.end) - sector) * SECTOR);
    const part = into.subarray(0, length);
    const from = run.offset + (sector - this.sectorOf(run.begin)) * SECTOR;
    if (run.node.directory) {
      part.fill(0, copy(run.node.entries, from, part));
    } else {
      // A removed file has left its clusters free.
      const inside = run.node.parent === null ? 0 : Math.max(0, Math.min(length, run.node.size - from));
      const got = inside === 0 ? 0 : yield* this.directory.read(run.node.path, part.subarray(0, inside), from);
      // A file that became shorter on the host, and the rest of the last cluster.
      part.fill(0, got);
    }
    return length;
  }
}

/** Copies what `from` has behind `at`; returns the number of bytes. */
function copy(from: Uint8Array, at: number, into: Uint8Array): number {
  const part = from.subarray(at, at + into.length);
  into.set(part);
  return part.length;
}
