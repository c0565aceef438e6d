/** What an NBD server offers: a backend under a name, with what may be done to it and what can be asked about it. */
import type { Backend } from "../block/backend.js";
import type { DirtyBitmap } from "../block/dirty-bitmap.js";
import { SECTOR } from "../block/sector.js";
import { blockStatus, type BlockStatus } from "../block/status.js";
import type { Op } from "../block/op.js";
import { ExportFlag, StateFlag } from "./constants.js";

export interface NbdExport {
  name: string;
  description: string;
  backend: Backend;
  writable: boolean;
  /** Dirty bitmaps offered as `qemu:dirty-bitmap:NAME`. */
  bitmaps: ReadonlyMap<string, DirtyBitmap>;
  allocationDepth: boolean;
  /** Bytes a client should prefer; 4096 when unknown. */
  preferredBlock: number;
  /** Clients may use several connections at a time (there is one cache behind them all); true where not given. */
  multiConn?: boolean;
}

export interface Extent {
  length: number;
  flags: number;
}

export function exportFlags(of: NbdExport, structured: boolean): number {
  let flags: number = ExportFlag.hasFlags | ExportFlag.flush | ExportFlag.fua | ExportFlag.cache;
  // One cache stands behind all connections: what one has flushed the others see.
  if (of.multiConn !== false) flags |= ExportFlag.multiConn;
  if (structured) flags |= ExportFlag.df;
  if (of.writable) flags |= ExportFlag.trim | ExportFlag.writeZeroes | ExportFlag.fastZero;
  else flags |= ExportFlag.readOnly;
  return flags;
}

/** Bytes that a client's requests should be multiples of: an image that was only guessed to be raw is read and written by sectors. */
export function minimumBlock({ backend: { node } }: NbdExport): number {
  return node.probed && node.driver.name === "raw" ? SECTOR : 1;
}

/** Names of the metadata contexts of an export that a query selects ("base:", "qemu:dirty-bitmap:" ask for all of a kind). */
export function contextsFor(of: NbdExport, query: string): string[] {
  const all = ["base:allocation"];
  if (of.allocationDepth) all.push("qemu:allocation-depth");
  for (const name of of.bitmaps.keys()) all.push(`qemu:dirty-bitmap:${name}`);
  if (query === "base:" || query === "qemu:" || query === "qemu:dirty-bitmap:")
    return all.filter((name) => name.startsWith(query));
  return all.filter((name) => name === query);
}

/** The block status of a disk, also of the part of its last sector that the image does not have. */
export function* diskStatus(
  { node }: Backend,
  offset: number,
  length: number,
): Op<Pick<BlockStatus, "length" | "data" | "zero" | "allocated" | "depth">> {
  if (offset >= node.size) return { length, data: false, zero: true, allocated: true, depth: 0 };
  return yield* blockStatus(node, offset, Math.min(length, node.size - offset));
}

/** At most this many extents in one answer; the client asks again for the rest. */
const MAX_EXTENTS = 128 * 1024;

/** The extents of one context from `offset` on. Covers at least one byte, `length` at most unless the last run reaches further. */
export function* contextExtents(of: NbdExport, context: string, offset: number, length: number, one: boolean): Op<Extent[]> {
  if (context.startsWith("qemu:dirty-bitmap:"))
    return bitmapExtents(of.bitmaps.get(context.slice(18))!, of.backend.size, offset, length, one);
  const extents: Extent[] = [];
  let at = offset;
  const end = offset + length;
  while (at < end && extents.length < MAX_EXTENTS) {
    const status = yield* diskStatus(of.backend, at, end - at);
    const flags =
      context === "base:allocation"
        ? (status.data ? 0 : StateFlag.hole) | (status.zero ? StateFlag.zero : 0)
        : status.allocated
          ? status.depth + 1
          : 0;
    const last = extents.at(-1);
    if (last !== undefined && last.flags === flags) last.length += status.length;
    else {
      if (one && last !== undefined) break;
      extents.push({ length: status.length, flags });
    }
    at += status.length;
  }
  return extents;
}

function bitmapExtents(bitmap: DirtyBitmap, size: number, offset: number, length: number, one: boolean): Extent[] {
  const extents: Extent[] = [];
  const end = offset + length;
  let at = offset;
  while (at < end && extents.length < MAX_EXTENTS) {
    const dirty = bitmap.isDirty(at);
    const run = dirty ? bitmap.nextDirty(at) : null;
    const stop = run !== null ? run.offset + run.length : (bitmap.nextDirty(at)?.offset ?? size);
    const until = Math.min(stop, end);
    extents.push({ length: until - at, flags: dirty ? 1 : 0 });
    at = until;
    if (one) break;
  }
  return extents;
}
