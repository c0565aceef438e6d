/**
 * The file system as the guest has it now. What contradicts itself is most often only half written: the host's files then
 * stay as they are until the rest has come.
 */
import { viewOf } from "../../base/bytes.js";
import { divCeil } from "../../base/int.js";
import type { Op } from "../../block/op.js";
import type { Disk } from "./disk.js";
import type { HostNode } from "./host-tree.js";
import { ENTRY, SECTOR } from "./layout.js";
import { isValidName, LongNameReader, readShortName } from "./names.js";

/** Directories inside each other. */
const MAX_DEPTH = 128;

export interface GuestEntry {
  readonly name: string;
  readonly directory: boolean;
  readonly size: number;
  /** The clusters in order, as runs: begin and end, alternating. */
  readonly chain: readonly number[];
  readonly parent: GuestEntry | null;
}

export interface Scan {
  /** Parents before what is in them; the root first. Meaningless when there is a problem. */
  readonly entries: readonly GuestEntry[];
  /** Clusters of all directories that could be reached (a bit each): a change there changes the answer. */
  readonly directories: Uint8Array;
  /** Why it cannot be taken over, or null. */
  readonly problem: string | null;
}

export function* scanGuest(disk: Disk): Op<Scan> {
  return yield* new Scanner(disk).scan();
}

const setBit = (bits: Uint8Array, index: number): void => void (bits[index >> 3]! |= 1 << (index & 7));
export const testBit = (bits: Uint8Array, index: number): boolean => (bits[index >> 3]! & (1 << (index & 7))) !== 0;

class Scanner {
  readonly #disk: Disk;
  readonly #used: Uint8Array;
  readonly #directories: Uint8Array;
  readonly #entries: GuestEntry[] = [];
  /** Names that a guest could not make but the host has. */
  readonly #known = new Set<string>();
  #problem: string | null = null;

  constructor(disk: Disk) {
    this.#disk = disk;
    const size = (disk.layout.clusterCount >> 3) + 1;
    this.#used = new Uint8Array(size);
    this.#directories = new Uint8Array(size);
    this.#learn(disk.root);
  }

  #learn(node: HostNode): void {
    for (const child of node.children.values()) {
      if (!isValidName(child.name)) this.#known.add(child.name);
      this.#learn(child);
    }
  }

  *scan(): Op<Scan> {
    const { layout } = this.#disk;
    const chain = layout.rootCluster === 0 ? [0, 2] : this.#follow(layout.rootCluster, "the root directory");
    if (layout.rootCluster === 0) this.#mark(0, 2);
    const root: GuestEntry = { name: "", directory: true, size: 0, chain: chain ?? [], parent: null };
    this.#entries.push(root);
    const waiting: { entry: GuestEntry; depth: number }[] = [{ entry: root, depth: 0 }];
    while (waiting.length > 0) {
      const { entry, depth } = waiting.shift()!;
      for (const found of yield* this.#readDirectory(entry)) {
        this.#entries.push(found);
        if (!found.directory) continue;
        if (depth >= MAX_DEPTH) this.#fail(`directories are deeper than ${MAX_DEPTH} levels`);
        else waiting.push({ entry: found, depth: depth + 1 });
      }
    }
    if (this.#problem === null) this.#findLostClusters();
    return { entries: this.#entries, directories: this.#directories, problem: this.#problem };
  }

  #fail(problem: string): void {
    this.#problem ??= problem;
  }

  #mark(begin: number, end: number): void {
    for (let cluster = begin; cluster < end; cluster++) setBit(this.#used, cluster);
  }

  /** Runs of a chain; null (and a problem) when it leads astray. */
  #follow(first: number, what: string): number[] | null {
    const { fat, layout } = this.#disk;
    const chain: number[] = [];
    for (let cluster = first; ;) {
      if (cluster < 2 || cluster >= layout.clusterCount) {
        this.#fail(`the clusters of ${what} lead to cluster ${cluster}`);
        return null;
      }
      if (testBit(this.#used, cluster)) {
        this.#fail(`cluster ${cluster} is used more than once, by ${what}, too`);
        return null;
      }
      setBit(this.#used, cluster);
      if (chain.at(-1) === cluster) chain[chain.length - 1] = cluster + 1;
      else chain.push(cluster, cluster + 1);
      const next = fat.get(cluster);
      if (fat.isEnd(next)) return chain;
      cluster = next;
    }
  }

  *#readDirectory(directory: GuestEntry): Op<GuestEntry[]> {
    const found: GuestEntry[] = [];
    const names = new Set<string>();
    const long = new LongNameReader();
    let first = true;
    const bytes = new Uint8Array(this.#disk.layout.sectorsPerCluster * SECTOR);
    for (let run = 0; run < directory.chain.length; run += 2) {
      for (let cluster = directory.chain[run]!; cluster < directory.chain[run + 1]!; cluster++) {
        setBit(this.#directories, cluster);
        yield* this.#disk.read(bytes, this.#disk.sectorOf(cluster));
        for (let at = 0; at < bytes.length; at += ENTRY) {
          const entry = bytes.subarray(at, at + ENTRY);
          // A cluster that the guest has not filled yet is no directory.
          if (first && directory.parent !== null && !isDot(entry)) this.#fail(`'${directory.name}' is not a directory yet`);
          first = false;
          if (entry[0] === 0) return found;
          if (entry[0] === 0xe5) long.reset();
          else if (LongNameReader.is(entry)) long.take(entry);
          else if ((entry[11]! & 0x08) !== 0 || isDot(entry)) long.reset();
          else {
            const item = this.#item(entry, long.finish(entry), directory, names);
            if (item !== null) found.push(item);
          }
        }
      }
    }
    return found;
  }

  #item(entry: Uint8Array, longName: string | null, parent: GuestEntry, names: Set<string>): GuestEntry | null {
    const name = longName ?? readShortName(entry);
    if (name === null || !(isValidName(name) || this.#known.has(name))) {
      this.#fail(`a file in '${parent.name}' has an invalid name`);
      return null;
    }
    if (names.has(name)) this.#fail(`there are two of the name '${name}'`);
    names.add(name);
    const view = viewOf(entry);
    const cluster = view.getUint16(26, true) + (this.#disk.layout.fatType === 32 ? view.getUint16(20, true) * 65536 : 0);
    const size = view.getUint32(28, true);
    const directory = (entry[11]! & 0x10) !== 0;
    const chain = cluster === 0 ? [] : this.#follow(cluster, `'${name}'`);
    if (chain === null) return null;
    let clusters = 0;
    for (let run = 0; run < chain.length; run += 2) clusters += chain[run + 1]! - chain[run]!;
    if (directory ? clusters === 0 : clusters !== divCeil(size, this.#disk.layout.clusterSize)) {
      this.#fail(`'${name}' has ${clusters} clusters for ${size} bytes`);
    }
    return { name, directory, size: directory ? 0 : size, chain, parent };
  }

  #findLostClusters(): void {
    const { fat, layout } = this.#disk;
    for (let cluster = 2; cluster < layout.clusterCount; cluster++) {
      const next = fat.get(cluster);
      if (next !== 0 && !testBit(this.#used, cluster) && !fat.isBad(next)) {
        this.#fail(`cluster ${cluster} belongs to no file`);
        return;
      }
    }
  }
}

const isDot = (entry: Uint8Array): boolean => entry[0] === 0x2e;
