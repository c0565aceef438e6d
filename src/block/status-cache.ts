/**
 * What a walk over an image has learnt: the extents that were mapped last, and the runs of data and holes of the files below.
 * Walking in small steps then costs one `map` per list and one question per run. Only for images that nobody writes to meanwhile.
 */
import type { StorageExtent } from "../storage/storage.js";
import { ExtentList, type Extent } from "./extent.js";
import type { Node } from "./node.js";

/** Runs that are kept of one file; then it starts anew. */
const MAX_RUNS = 4096;

/** The extents of a mapped node around the place that was asked about last. */
export class Walk {
  readonly list: ExtentList = new ExtentList();
  #index = 0;
  /** Whether data may be holes of the file below; null: not decided yet. */
  recurses: boolean | null = null;

  clear(): void {
    this.list.clear();
    this.#index = 0;
  }

  /** The extent that holds `offset`, which moves forward from call to call; null when it is not among those mapped. */
  find(offset: number): Extent | null {
    const { list } = this;
    if (list.count === 0 || offset >= list.end) return null;
    let extent = list.at(this.#index);
    if (offset < extent.start) return null;
    while (offset >= extent.start + extent.length) extent = list.at(++this.#index);
    return extent;
  }
}

/** Runs of data and holes of a file, in ascending order. */
export class FileRuns {
  readonly #runs: StorageExtent[] = [];
  #last = 0;

  find(offset: number): StorageExtent | null {
    const runs = this.#runs;
    const near = runs[this.#last];
    if (near !== undefined && offset >= near.offset && offset < near.offset + near.length) return near;
    const index = this.#behind(offset) - 1;
    const run = runs[index];
    if (run === undefined || offset >= run.offset + run.length) return null;
    this.#last = index;
    return run;
  }

  /** Notes a run; what is known of its range already stays. */
  add(run: StorageExtent): void {
    const runs = this.#runs;
    if (runs.length === MAX_RUNS) runs.length = 0;
    const index = this.#behind(run.offset);
    const before = runs[index - 1];
    if (before !== undefined && before.offset + before.length > run.offset) return;
    const after = runs[index];
    const length = after === undefined ? run.length : Math.min(run.length, after.offset - run.offset);
    runs.splice(index, 0, { ...run, length });
    this.#last = index;
  }

  /** Index of the first run that begins behind `offset`. */
  #behind(offset: number): number {
    const runs = this.#runs;
    let low = 0;
    for (let high = runs.length; low < high;) {
      const middle = (low + high) >> 1;
      if (runs[middle]!.offset > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

export class StatusCache {
  readonly #walks = new Map<Node, Walk>();
  readonly #files = new Map<Node, FileRuns>();

  walk(node: Node): Walk {
    let walk = this.#walks.get(node);
    if (walk === undefined) this.#walks.set(node, (walk = new Walk()));
    return walk;
  }
  file(node: Node): FileRuns {
    let runs = this.#files.get(node);
    if (runs === undefined) this.#files.set(node, (runs = new FileRuns()));
    return runs;
  }
}
