/** Where the data of an image is: `MapEntry` of QAPI, merged into the longest runs that are alike. */
import { skipFilters } from "../block/graph.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { knownStatus, layerStatus, StatusCache, type BlockStatus } from "../block/status.js";
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
  const names = new Names();
  const alone = skipFilters(node).backing === null;
  do {
    throwIfAborted(options.signal);
    const asked = Math.max(0, Math.min(step, end - at));
    // Most of a fragmented image needs neither I/O nor a look below.
    const known = asked === 0 || at >= node.size ? null : knownStatus(node, at, asked, true, cache);
    const entry: MapEntry =
      known !== null && (known.allocated || alone) ? entryOf(known, 0, names) : yield* mapEntry(node, at, asked, cache, names);
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

/** Names of files: those derived from the graph take a while to put together. */
class Names {
  readonly #names = new Map<Node, string>();

  of(node: Node): string {
    let name = this.#names.get(node);
    if (name === undefined) this.#names.set(node, (name = node.filename));
    return name;
  }
}

function* mapEntry(node: Node, offset: number, length: number, cache: StatusCache, names: Names): Op<MapEntry> {
  if (length === 0) return { start: offset, length: 0, depth: 0, present: false, zero: false, data: false };
  let layer = node;
  let limit = length;
  for (let depth = 0; ; depth++) {
    // Behind the last byte of a file that does not fill its last sector there are zeros.
    if (offset >= layer.size)
      return { start: offset, length: limit, depth, present: true, zero: true, data: false, ...lastBytes(layer, offset, names) };
    const found = yield* layerStatus(layer, offset, Math.min(limit, layer.size - offset), true, cache);
    if (found.allocated || found.zero || found.data) return entryOf(found, depth, names);
    limit = Math.min(limit, found.length);
    const below = skipFilters(layer).backing;
    if (below === null || offset >= imageSize(below)) return { ...entryOf(found, depth, names), length: limit };
    limit = Math.min(limit, imageSize(below) - offset);
    layer = below;
  }
}

/** What nothing holds reads as zeros. */
function entryOf(found: BlockStatus, depth: number, names: Names): MapEntry {
  const { start, length, allocated, data } = found;
  const zero = found.zero || !allocated;
  // A server may say of a range neither that it is stored nor what it reads as (x-dirty-bitmap of an NBD client).
  const unknown = allocated && !zero && !data;
  const present = allocated && !unknown;
  if (unknown || found.offset < 0 || found.file === null) return { start, length, depth, present, zero, data };
  return { start, length, depth, present, zero, data, offset: found.offset, filename: names.of(found.file) };
}

function lastBytes(layer: Node, offset: number, names: Names): Partial<MapEntry> {
  const file = layer.driver.name === "raw" ? layer.child("file") : null;
  return file === null ? {} : { offset, filename: names.of(file) };
}

function mergeable(a: MapEntry, b: MapEntry): boolean {
  if (a.zero !== b.zero || a.data !== b.data || a.present !== b.present || a.depth !== b.depth) return false;
  if ((a.offset === undefined) !== (b.offset === undefined) || a.filename !== b.filename) return false;
  return a.offset === undefined || a.offset + a.length === b.offset;
}
