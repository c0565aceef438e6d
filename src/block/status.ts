/**
 * Block status: what a range of a node is, layer by layer. One answer feeds map, convert, compare, measure, NBD block status
 * and the jobs.
 */
import type { InterceptImpl, MappedImpl } from "./driver.js";
import type { Node } from "./node.js";
import { below, skipFilters } from "./graph.js";
import { ExtentKind, ExtentList } from "./extent.js";
import { storageCan, storageExtents, type Op } from "./op.js";

export interface BlockStatus {
  /** Guest range in bytes; adjacent results of one layer may be of one kind. */
  start: number;
  length: number;
  /** Layers below the top one: 0 is the node itself, 1 its backing node … */
  depth: number;
  /** Something in the chain holds this range (false: nothing does, it reads as zeros). */
  allocated: boolean;
  /** Reads as zeros. */
  zero: boolean;
  /** Bytes are stored for it. */
  data: boolean;
  compressed: boolean;
  /** Where the bytes are, as they are: node and offset; null and -1 otherwise. */
  file: Node | null;
  offset: number;
}

/**
 * Extents that the last queries have mapped, by node: walking an image in small steps then costs one `map` per list, not one
 * per step. Only for images that nobody writes to meanwhile.
 */
export class StatusCache {
  readonly #lists = new Map<Node, { list: ExtentList; index: number }>();

  of(node: Node): { list: ExtentList; index: number } {
    let entry = this.#lists.get(node);
    if (entry === undefined) this.#lists.set(node, (entry = { list: new ExtentList(), index: 0 }));
    return entry;
  }
}
/** What a cached `map` asks for: the list's length is what really bounds it. */
const CACHED_RANGE = 1024 * 1024 * 1024;

export interface StatusOptions {
  cache?: StatusCache;
  /** Do not look below this node (it counts as the end of the chain). */
  base?: Node | null;
  /** Ask the files below for holes too, not only the formats' own tables. */
  wantZero?: boolean;
}

/**
 * The status at `offset`: of the first layer of the chain that holds it. Covers at least one and at most `length` bytes.
 * [offset, offset+length) lies inside the node.
 */
export function* blockStatus(node: Node, offset: number, length: number, options: StatusOptions = {}): Op<BlockStatus> {
  const wantZero = options.wantZero ?? true;
  let layer = node;
  let limit = length;
  for (let depth = 0; ; depth++) {
    const own = yield* layerStatus(layer, offset, limit, wantZero, options.cache);
    own.depth = depth;
    if (own.allocated) return own;
    const below = skipFilters(layer).backing;
    if (below === null || below === (options.base ?? null)) {
      own.depth = depth;
      if (below === null) own.zero = true;
      return own;
    }
    limit = own.length;
    if (offset >= below.size) {
      // Past the end of a short backing file: zeros that belong to the layer that covers them.
      return { ...own, depth, allocated: true, zero: true, data: false };
    }
    limit = Math.min(limit, below.size - offset);
    layer = below;
  }
}

/** The status in one layer only: `allocated` is false where the backing node would show through. */
export function* layerStatus(
  node: Node,
  offset: number,
  length: number,
  wantZero: boolean,
  cache?: StatusCache,
): Op<BlockStatus> {
  const impl = node.impl;
  const list = impl.shape === "mapped" && cache !== undefined ? cache.of(node).list : new ExtentList();
  let index = 0;
  switch (impl.shape) {
    case "storage":
      return yield* storageStatus(node, offset, length, wantZero);
    case "intercept":
      if (impl.beforeStatus !== undefined) yield* impl.beforeStatus(offset, length);
      if (impl.status === undefined && node !== skipFilters(node))
        return yield* layerStatus(below(node)!, offset, length, wantZero, cache);
      if (impl.status === undefined) return status(offset, length, true, false, true, false, null, -1);
      yield* impl.status(offset, length, list);
      break;
    case "mapped":
      if (cache !== undefined) {
        index = yield* mapCached(impl, cache.of(node), offset, Math.max(length, Math.min(CACHED_RANGE, node.size - offset)));
        break;
      }
      for (;;) {
        const miss = impl.map(offset, length, list);
        if (list.count > 0) break;
        if (miss !== null) yield* impl.load(miss);
      }
      break;
  }
  const extent = list.at(index);
  const run = Math.min(extent.start + extent.length, offset + length) - offset;
  const host = extent.host < 0 ? -1 : extent.host + (offset - extent.start);
  switch (extent.kind) {
    case ExtentKind.unallocated:
      // Space may be reserved for it (subclusters of an allocated cluster).
      return status(offset, run, false, false, false, false, host >= 0 ? extent.file : null, host);
    case ExtentKind.zero:
      return status(offset, run, true, true, false, false, host >= 0 ? extent.file : null, host);
    case ExtentKind.special:
      return status(offset, run, true, false, true, extent.compressed, null, -1);
    case ExtentKind.data: {
      // Where encrypted bytes are is of no use to anyone, and zeros below are not the guest's.
      if (impl.shape === "mapped" && impl.decrypt !== undefined) return status(offset, run, true, false, true, false, null, -1);
      const found = status(offset, run, true, false, true, false, extent.file, host);
      const deeper = yield* recurses(impl, wantZero);
      if (wantZero && deeper && extent.file !== null && host >= 0) {
        const below = yield* fileStatus(extent.file, host, run);
        if (below.length < found.length) found.length = below.length;
        if (below.zero) found.zero = true;
        // A format keeps its cluster even where the file has a hole; raw is nothing but its file.
        if (!below.data && impl.shape !== "mapped") found.data = false;
        // What makes its bytes up (a virtual disk) has no places for them.
        if (deeper && (below.file !== null || extent.file.impl.shape === "intercept")) {
          found.file = below.file;
          found.offset = below.offset;
        }
      }
      return found;
    }
  }
}

/** Whether a format's data extents may be holes of the file below. */
function* recurses(impl: MappedImpl | InterceptImpl, wantZero: boolean): Op<boolean> {
  if (impl.shape !== "mapped") return true;
  if (!wantZero) return false;
  return impl.decideRecursion === undefined ? (impl.recurseStatus ?? false) : yield* impl.decideRecursion();
}

/** Index of the extent that holds `offset` in the cached list, which is mapped anew from there where it does not reach so far. */
function* mapCached(impl: MappedImpl, entry: { list: ExtentList; index: number }, offset: number, length: number): Op<number> {
  const { list } = entry;
  if (list.count > 0 && offset >= list.at(entry.index).start && offset < list.end) {
    while (offset >= list.at(entry.index).start + list.at(entry.index).length) entry.index++;
    return entry.index;
  }
  for (;;) {
    list.clear();
    entry.index = 0;
    const miss = impl.map(offset, length, list);
    if (list.count > 0) return 0;
    if (miss !== null) yield* impl.load(miss);
  }
}

/** Status of a host range of a file below a format; behind the end of the file everything is zeros. */
function* fileStatus(file: Node, offset: number, length: number): Op<BlockStatus> {
  if (offset >= file.size) return status(offset, length, true, true, false, false, null, -1);
  return yield* layerStatus(file, offset, Math.min(length, file.size - offset), true);
}

function* storageStatus(node: Node, offset: number, length: number, wantZero: boolean): Op<BlockStatus> {
  const impl = node.impl;
  if (impl.shape === "storage" && wantZero && storageCan(impl.storage, "extents")) {
    const runs = yield* storageExtents(impl.storage, offset, length);
    const first = runs[0];
    if (first !== undefined && first.length > 0) {
      const run = Math.min(first.length, length);
      return status(offset, run, true, first.zero ?? !first.data, first.data, false, node, offset);
    }
  }
  return status(offset, length, true, false, true, false, node, offset);
}

function status(
  start: number,
  length: number,
  allocated: boolean,
  zero: boolean,
  data: boolean,
  compressed: boolean,
  file: Node | null,
  offset: number,
): BlockStatus {
  return { start, length, depth: 0, allocated, zero, data, compressed, file, offset };
}
