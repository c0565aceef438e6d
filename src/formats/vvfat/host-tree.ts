/** What the virtual disk shows of the host: files and directories, and which clusters hold which part of them. */
import type { DirectoryPath } from "../../storage/directory.js";

export class HostNode {
  readonly children: Map<string, HostNode> = new Map();
  /** First cluster; 0 for empty files and the root of FAT12 and FAT16. */
  firstCluster = 0;
  /** Bytes of a file. */
  size = 0;
  readOnly = false;
  /** Directories that were there from the start: their entries as made up for the guest, without the zeros behind them. */
  entries: Uint8Array = new Uint8Array(0);

  constructor(
    public name: string,
    public parent: HostNode | null,
    readonly directory: boolean,
  ) {
    parent?.children.set(name, this);
  }

  get path(): DirectoryPath {
    return this.parent === null ? [] : [...this.parent.path, this.name];
  }

  isInside(other: HostNode): boolean {
    return this === other || (this.parent?.isInside(other) ?? false);
  }

  moveTo(parent: HostNode, name: string): void {
    this.detach();
    this.name = name;
    this.parent = parent;
    parent.children.set(name, this);
  }
  detach(): void {
    if (this.parent?.children.get(this.name) === this) this.parent.children.delete(this.name);
    this.parent = null;
  }
}

/** Clusters [begin, end) hold `node` from byte `offset` on. */
export interface Run {
  readonly begin: number;
  readonly end: number;
  readonly node: HostNode;
  readonly offset: number;
}

/** Runs in ascending order that do not overlap. */
export class RunTable {
  readonly #runs: Run[];

  constructor(runs: Run[]) {
    this.#runs = [...runs].sort((a, b) => a.begin - b.begin);
  }

  /** The run of a cluster, or null. */
  find(cluster: number): Run | null {
    const index = this.#first(cluster);
    const run = this.#runs[index];
    return run !== undefined && run.begin <= cluster ? run : null;
  }
  /** The first run that begins behind `cluster`; the clusters between are nobody's. */
  next(cluster: number): Run | null {
    const run = this.#runs[this.#first(cluster)];
    return run === undefined ? null : run.begin > cluster ? run : (this.#runs[this.#first(run.end)] ?? null);
  }
  /** Runs that touch [begin, end). */
  *within(begin: number, end: number): Iterable<Run> {
    for (let index = this.#first(begin); index < this.#runs.length; index++) {
      const run = this.#runs[index]!;
      if (run.begin >= end) return;
      yield run;
    }
  }

  /** Index of the first run that ends behind `cluster`. */
  #first(cluster: number): number {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#runs[middle]!.end <= cluster) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
