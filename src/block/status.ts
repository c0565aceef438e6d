/**
 * Block status: what a range of a node is, layer by layer. One answer feeds map, convert, compare, measure, NBD block status
 * and the jobs.
 */
import type { InterceptImpl, MappedImpl } from "./driver.js";
import type { Node } from "./node.js";
import { below, skipFilters } from "./graph.js";
import { ExtentKind, ExtentList, type Extent } from "./extent.js";
import { storageCan, storageExtents, type Op } from "./op.js";
import { StatusCache, type Walk } from "./status-cache.js";

export { StatusCache };

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

/** What is asked for where the answer is kept: the list's length, or that of the file's run, is what really bounds it. */
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
  // Filters may come and go above the base: it is the image that counts.
  const base = options.base === undefined || options.base === null ? null : skipFilters(options.base);
  let layer = node;
  let limit = length;
  for (let depth = 0; ; depth++) {
    const own = yield* layerStatus(layer, offset, limit, wantZero, options.cache);
    own.depth = depth;
    if (own.allocated) return own;
    const below = skipFilters(layer).backing;
    if (below === null || (base !== null && skipFilters(below) === base)) {
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
  const known = cache === undefined ? null : knownStatus(node, offset, length, wantZero, cache);
  if (known !== null) return known;
  const { impl } = node;
  let extent: Extent;
  switch (impl.shape) {
    case "storage":
      return yield* storageStatus(node, offset, length, wantZero, cache);
    case "intercept": {
      if (impl.beforeStatus !== undefined) yield* impl.beforeStatus(offset, length);
      if (impl.status === undefined && node !== skipFilters(node))
        return yield* layerStatus(below(node)!, offset, length, wantZero, cache);
      if (impl.status === undefined) return status(offset, length, true, false, true, false, null, -1);
      const list = new ExtentList();
      yield* impl.status(offset, length, list);
      extent = list.at(0);
      break;
    }
    case "mapped":
      extent = yield* mapAt(node, impl, offset, length, cache?.walk(node));
      break;
  }
  const found = ownStatus(impl, extent, offset, length);
  if (!mayBeHole(impl, extent, wantZero)) return found;
  const walk = impl.shape === "mapped" ? cache?.walk(node) : undefined;
  const recurses = walk?.recurses ?? (yield* decideRecursion(impl));
  if (walk !== undefined) walk.recurses = recurses;
  if (!recurses) return found;
  const { file } = extent;
  const host = found.offset;
  return merged(
    impl,
    found,
    host >= file!.size
      ? behindTheEnd(host, found.length)
      : yield* layerStatus(file!, host, Math.min(found.length, file!.size - host), true, cache),
  );
}

/** `layerStatus` from what the cache has alone; null where that is not enough. */
export function knownStatus(
  node: Node,
  offset: number,
  length: number,
  wantZero: boolean,
  cache: StatusCache,
): BlockStatus | null {
  const { impl } = node;
  if (impl.shape === "storage") {
    const run = wantZero ? cache.file(node).find(offset) : null;
    if (run === null) return null;
    const left = Math.min(length, run.offset + run.length - offset);
    return status(offset, left, true, run.zero ?? !run.data, run.data, false, node, offset);
  }
  if (impl.shape !== "mapped") return null;
  const walk = cache.walk(node);
  const extent = walk.find(offset);
  if (extent === null) return null;
  const found = ownStatus(impl, extent, offset, length);
  if (!mayBeHole(impl, extent, wantZero) || walk.recurses === false) return found;
  if (walk.recurses === null) return null;
  const file = extent.file!;
  const host = found.offset;
  const beneath =
    host >= file.size
      ? behindTheEnd(host, found.length)
      : knownStatus(file, host, Math.min(found.length, file.size - host), true, cache);
  return beneath === null ? null : merged(impl, found, beneath);
}

/** The extent that holds `offset`. */
function* mapAt(node: Node, impl: MappedImpl, offset: number, length: number, walk?: Walk): Op<Extent> {
  const list = walk?.list ?? new ExtentList();
  const asked = walk === undefined ? length : Math.max(length, Math.min(CACHED_RANGE, node.size - offset));
  for (;;) {
    const kept = walk?.find(offset) ?? null;
    if (kept !== null) return kept;
    if (walk === undefined) list.clear();
    else walk.clear();
    const miss = impl.map(offset, asked, list);
    if (list.count > 0) return list.at(0);
    if (miss !== null) yield* impl.load(miss);
  }
}

/** What the node's own tables say. */
function ownStatus(impl: MappedImpl | InterceptImpl, extent: Extent, offset: number, length: number): BlockStatus {
  const run = Math.min(extent.start + extent.length - offset, length);
  const host = extent.host < 0 ? -1 : extent.host + (offset - extent.start);
  switch (extent.kind) {
    case ExtentKind.unallocated:
      // Space may be reserved for it (subclusters of an allocated cluster).
      return status(offset, run, false, false, false, false, host >= 0 ? extent.file : null, host);
    case ExtentKind.zero:
      return status(offset, run, true, true, false, false, host >= 0 ? extent.file : null, host);
    case ExtentKind.special:
      return status(offset, run, true, false, true, extent.compressed, null, -1);
    case ExtentKind.data:
      // Where encrypted bytes are is of no use to anyone, and zeros below are not the guest's.
      if (isEncrypted(impl)) return status(offset, run, true, false, true, false, null, -1);
      return status(offset, run, true, false, true, false, extent.file, host);
  }
}

const isEncrypted = (impl: MappedImpl | InterceptImpl): boolean => impl.shape === "mapped" && impl.decrypt !== undefined;

/** Whether the file below may know better than the node's tables. */
function mayBeHole(impl: MappedImpl | InterceptImpl, extent: Extent, wantZero: boolean): boolean {
  return wantZero && extent.kind === ExtentKind.data && extent.file !== null && extent.host >= 0 && !isEncrypted(impl);
}

/** Whether a format's data extents may be holes of the file below. */
function* decideRecursion(impl: MappedImpl | InterceptImpl): Op<boolean> {
  if (impl.shape !== "mapped") return true;
  return impl.decideRecursion === undefined ? (impl.recurseStatus ?? false) : yield* impl.decideRecursion();
}

function merged(impl: MappedImpl | InterceptImpl, found: BlockStatus, below: BlockStatus): BlockStatus {
  if (below.length < found.length) found.length = below.length;
  if (below.zero) found.zero = true;
  // A format keeps its cluster even where the file has a hole; raw is nothing but its file.
  if (!below.data && impl.shape !== "mapped") found.data = false;
  // What makes its bytes up (a virtual disk) has no places for them.
  if (below.file !== null || found.file?.impl.shape === "intercept") {
    found.file = below.file;
    found.offset = below.offset;
  }
  return found;
}

/** Behind the end of a file everything is zeros. */
const behindTheEnd = (offset: number, length: number): BlockStatus => status(offset, length, true, true, false, false, null, -1);

function* storageStatus(node: Node, offset: number, length: number, wantZero: boolean, cache?: StatusCache): Op<BlockStatus> {
  const impl = node.impl;
  if (impl.shape === "storage" && wantZero && storageCan(impl.storage, "extents")) {
    const asked = cache === undefined ? length : Math.max(length, Math.min(CACHED_RANGE, node.size - offset));
    const runs = yield* storageExtents(impl.storage, offset, asked);
    const first = runs[0];
    if (first !== undefined && first.length > 0) {
      cache?.file(node).add(first);
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
