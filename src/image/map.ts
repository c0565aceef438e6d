/** Where the data of an image is: `MapEntry` of QAPI, merged into the longest runs that are alike. */
import { skipFilters } from "../block/graph.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { layerStatus, StatusCache, type BlockStatus } from "../block/status.js";
import type { MapEntry } from "../block/types.js";
import { imageSize } from "./open.js";
import { throwIfAborted, type AbortLike } from "./signal.js";

export interface MapOptions {
  /** First byte; beyond the end there is nothing. */
  start?: number;
  /** Bytes; to the end when absent. */
  length?: number;
  signal?: AbortLike | undefined;
}

/** One status query covers at most this much, so that a cursor in a fragmented image stays cheap; it grows over long runs. */
const FIRST_STEP = 1024 * 1024;
const LAST_STEP = 1024 * 1024 * 1024;

/** Calls `emit` for every entry, in order. */
export function* mapImage(node: Node, emit: (entry: MapEntry) => void, options: MapOptions = {}): Op<void> {
  const end = Math.min(imageSize(node), (options.start ?? 0) + (options.length ?? Infinity));
  let current: MapEntry | null = null;
  let step = FIRST_STEP;
  let at = options.start ?? 0;
  const cache = new StatusCache();
  do {
    throwIfAborted(options.signal);
    const asked = Math.max(0, Math.min(step, end - at));
    const entry = yield* mapEntry(node, at, asked, cache);
    step = entry.length >= asked ? Math.min(step * 2, LAST_STEP) : FIRST_STEP;
    at += entry.length;
    if (current !== null && mergeable(current, entry)) {
      current.length += entry.length;
      continue;
    }
    if (current !== null) emit(current);
    current = entry;
  } while (at < end);
  emit(current);
}

function* mapEntry(node: Node, offset: number, length: number, cache: StatusCache): Op<MapEntry> {
  if (length === 0) return { start: offset, length: 0, depth: 0, present: false, zero: false, data: false };
  let layer = node;
  let limit = length;
  for (let depth = 0; ; depth++) {
    // Behind the last byte of a file that does not fill its last sector there are zeros.
    if (offset >= layer.size)
      return { start: offset, length: limit, depth, present: true, zero: true, data: false, ...lastBytes(layer, offset) };
    const found = yield* layerStatus(layer, offset, Math.min(limit, layer.size - offset), true, cache);
    if (found.allocated || found.zero || found.data) return entryOf(found, depth);
    limit = Math.min(limit, found.length);
    const below = skipFilters(layer).backing;
    if (below === null || offset >= imageSize(below)) return { ...entryOf(found, depth), length: limit, zero: true, data: false };
    limit = Math.min(limit, imageSize(below) - offset);
    layer = below;
  }
}

function entryOf(found: BlockStatus, depth: number): MapEntry {
  // A server may say of a range neither that it is stored nor what it reads as (x-dirty-bitmap of an NBD client).
  const unknown = found.allocated && !found.zero && !found.data;
  const entry: MapEntry = {
    start: found.start,
    length: found.length,
    depth,
    present: found.allocated && !unknown,
    zero: found.zero,
    data: found.data,
  };
  if (!unknown && found.offset >= 0 && found.file !== null) {
    entry.offset = found.offset;
    entry.filename = found.file.filename;
  }
  return entry;
}

function lastBytes(layer: Node, offset: number): Partial<MapEntry> {
  const file = layer.driver.name === "raw" ? layer.child("file") : null;
  return file === null ? {} : { offset, filename: file.filename };
}

function mergeable(a: MapEntry, b: MapEntry): boolean {
  if (a.zero !== b.zero || a.data !== b.data || a.present !== b.present || a.depth !== b.depth) return false;
  if ((a.offset === undefined) !== (b.offset === undefined) || a.filename !== b.filename) return false;
  return a.offset === undefined || a.offset + a.length === b.offset;
}
