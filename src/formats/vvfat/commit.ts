/**
 * Brings the host's files into line with what the guest has: creates, renames, writes and removes.
 *
 * A file is known by its first cluster, else by its name. What a cluster held before and something else holds now is kept in the
 * overlay first, so that no step depends on the order of the others.
 */
import { BlockError } from "../../base/error.js";
import type { Op } from "../../block/op.js";
import type { Disk } from "./disk.js";
import { HostNode, RunTable, type Run } from "./host-tree.js";
import { SECTOR } from "./layout.js";
import type { Overlay } from "./overlay.js";
import type { GuestEntry } from "./scan.js";

/** Bytes of one write to a file. */
const CHUNK = 1024 * 1024;

/** @param entries parents before what is in them, the root first; without contradictions */
export function* commitGuest(disk: Disk, overlay: Overlay, entries: readonly GuestEntry[]): Op<void> {
  yield* new Commit(disk, overlay, entries).run();
}

class Commit {
  readonly #disk: Disk;
  readonly #overlay: Overlay;
  readonly #entries: readonly GuestEntry[];
  /** What of the host each entry is; entries without one are new. */
  readonly #nodes = new Map<GuestEntry, HostNode>();
  /** Nodes that have stepped aside; once is enough. */
  readonly #parked = new Set<HostNode>();

  constructor(disk: Disk, overlay: Overlay, entries: readonly GuestEntry[]) {
    this.#disk = disk;
    this.#overlay = overlay;
    this.#entries = entries;
  }

  *run(): Op<void> {
    const gone = this.#match();
    yield* this.#keepMoved();
    yield* this.#arrange(gone);
    for (const entry of this.#entries) if (!entry.directory) yield* this.#writeOut(entry, this.#nodes.get(entry)!);
    this.#finish();
  }

  /** Finds the node of each entry; answers those that no entry has. */
  #match(): Set<HostNode> {
    const free = new Set<HostNode>();
    const byCluster = new Map<number, HostNode>();
    const collect = (node: HostNode): void => {
      for (const child of node.children.values()) {
        free.add(child);
        if (child.firstCluster !== 0) byCluster.set(child.firstCluster, child);
        collect(child);
      }
    };
    collect(this.#disk.root);
    const claim = (entry: GuestEntry, node: HostNode | undefined): void => {
      if (node === undefined || node.directory !== entry.directory || !free.delete(node)) return;
      this.#nodes.set(entry, node);
    };
    this.#nodes.set(this.#entries[0]!, this.#disk.root);
    for (const entry of this.#entries)
      if (entry.chain.length > 0 && entry.parent !== null) claim(entry, byCluster.get(entry.chain[0]!));
    for (const entry of this.#entries) {
      if (this.#nodes.has(entry)) continue;
      claim(entry, this.#nodes.get(entry.parent!)?.children.get(entry.name));
    }
    return free;
  }

  /** Content that its clusters show of another file, or of another place, goes into the overlay. */
  *#keepMoved(): Op<void> {
    const { layout, runs } = this.#disk;
    const bytes = new Uint8Array(layout.clusterSize);
    for (const entry of this.#entries) {
      const node = this.#nodes.get(entry);
      let offset = 0;
      for (let run = 0; run < entry.chain.length; run += 2) {
        for (let cluster = entry.chain[run]!; cluster < entry.chain[run + 1]!; cluster++, offset += layout.clusterSize) {
          const source = runs.find(cluster);
          const inPlace =
            source !== null && source.node === node && source.offset + (cluster - source.begin) * layout.clusterSize === offset;
          if (inPlace) continue;
          const first = this.#disk.sectorOf(cluster);
          if (this.#overlay.has(first) && this.#overlay.run(first, first + layout.sectorsPerCluster) === layout.sectorsPerCluster)
            continue;
          yield* this.#disk.read(bytes, first);
          yield* this.#overlay.write(bytes, first);
        }
      }
    }
  }

  /** Removes, moves and creates until every entry has its node in its place. */
  *#arrange(gone: Set<HostNode>): Op<void> {
    let waiting = this.#entries.filter((entry) => entry.parent !== null);
    for (;;) {
      let progress = yield* this.#removeWhatCan(gone);
      const later: GuestEntry[] = [];
      for (const entry of waiting) {
        if (yield* this.#place(entry)) progress = true;
        else later.push(entry);
      }
      waiting = later;
      if (waiting.length === 0 && gone.size === 0) return;
      if (progress) continue;
      yield* this.#park(waiting, gone);
    }
  }

  *#removeWhatCan(gone: Set<HostNode>): Op<boolean> {
    let progress = false;
    for (const node of gone) {
      if (node.children.size > 0) continue;
      try {
        yield* this.#disk.directory.remove(node.path);
      } catch (error) {
        // The host may have something in there that the guest has never seen.
        if (!node.directory || !(error instanceof BlockError) || (yield* this.#isEmpty(node))) throw error;
        this.#disk.warn(`The directory '${node.path.join("/")}' was removed by the guest and stays: ${error.message}`);
      }
      node.detach();
      gone.delete(node);
      progress = true;
    }
    return progress;
  }

  *#isEmpty(node: HostNode): Op<boolean> {
    const entries = yield* this.#disk.directory.list(node.path);
    return entries.every(({ name }) => name === ".");
  }

  /** Whether the entry is in its place now. */
  *#place(entry: GuestEntry): Op<boolean> {
    const parent = this.#nodes.get(entry.parent!);
    if (parent === undefined) return false;
    const node = this.#nodes.get(entry);
    if (node !== undefined && node.parent === parent && node.name === entry.name) return true;
    if (parent.children.has(entry.name) || (node !== undefined && parent.isInside(node))) return false;
    if (node === undefined) {
      yield* this.#disk.directory.create([...parent.path, entry.name], entry.directory);
      const made = new HostNode(entry.name, parent, entry.directory);
      made.firstCluster = entry.chain[0] ?? 0;
      this.#nodes.set(entry, made);
    } else {
      yield* this.#disk.directory.rename(node.path, [...parent.path, entry.name]);
      node.moveTo(parent, entry.name);
    }
    return true;
  }

  /** Names in a circle: one of them steps aside. */
  *#park(waiting: readonly GuestEntry[], gone: ReadonlySet<HostNode>): Op<void> {
    const { root } = this.#disk;
    for (const entry of waiting) {
      const node = this.#nodes.get(entry);
      if (node === undefined || gone.has(node) || this.#parked.has(node)) continue;
      this.#parked.add(node);
      let number = this.#parked.size;
      while (root.children.has(`vvfat-${number}.tmp`)) number++;
      const name = `vvfat-${number}.tmp`;
      yield* this.#disk.directory.rename(node.path, [name]);
      node.moveTo(root, name);
      return;
    }
    throw new Error("vvfat: nothing can be moved");
  }

  *#writeOut(entry: GuestEntry, node: HostNode): Op<void> {
    if (node.size !== entry.size) {
      yield* this.#disk.directory.truncate(node.path, entry.size);
      node.size = entry.size;
    }
    yield* writeChain(this.#disk, this.#overlay, node, entry.chain);
  }

  /** From now on the host's files are what the clusters show. */
  #finish(): void {
    const { layout } = this.#disk;
    const runs: Run[] = [];
    for (const entry of this.#entries) {
      const node = this.#nodes.get(entry)!;
      node.firstCluster = entry.parent === null ? layout.rootCluster : (entry.chain[0] ?? 0);
      let offset = 0;
      for (let run = 0; run < entry.chain.length; run += 2) {
        const begin = entry.chain[run]!;
        const end = entry.chain[run + 1]!;
        runs.push({ begin, end, node, offset });
        if (!entry.directory) dropWritten(this.#disk, this.#overlay, node, begin, end, offset);
        offset += (end - begin) * layout.clusterSize;
      }
    }
    this.#disk.runs = new RunTable(runs);
  }
}

/** Writes what the overlay has of a file into it. @param chain runs of clusters that hold `node` from `offset` on */
export function* writeChain(disk: Disk, overlay: Overlay, node: HostNode, chain: readonly number[], offset = 0): Op<void> {
  for (let run = 0; run < chain.length; run += 2) {
    const end = disk.sectorOf(chain[run + 1]!);
    for (let at = disk.sectorOf(chain[run]!); at < end && offset < node.size;) {
      const count = overlay.run(at, Math.min(end, at + CHUNK / SECTOR));
      if (overlay.has(at)) {
        const bytes = new Uint8Array(count * SECTOR);
        yield* overlay.read(bytes, at);
        yield* disk.directory.write(node.path, bytes.subarray(0, Math.min(bytes.length, node.size - offset)), offset);
      }
      at += count;
      offset += count * SECTOR;
    }
  }
}

/**
 * Clusters [begin, end), which hold `node` from `offset` on, are in its file now. Bytes behind the end of the file stay in the
 * overlay: a guest writes a cluster before it says how long the file is.
 */
export function dropWritten(disk: Disk, overlay: Overlay, node: HostNode, begin: number, end: number, offset: number): void {
  const first = disk.sectorOf(begin);
  const whole = Math.max(0, Math.floor((node.size - offset) / SECTOR));
  overlay.clear(first, Math.min(disk.sectorOf(end), first + whole));
}
