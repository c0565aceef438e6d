/** TypeScript twin of assembly/refcount/block.ts. */
import { refGet, refMax, refSet } from "../refcount-entry.js";

/** Whether an entry is zero; exact for all 64 bits, unlike a comparison of rounded values. */
function isFree(view: DataView, block: number, index: number, order: number): boolean {
  return refGet(view, block, index, order) === 0;
}

/** First full entry in [first, end), or -1. */
function findFull(view: DataView, block: number, first: number, end: number, order: number): number {
  if (order === 6) {
    for (let i = first; i < end; i++) if ((view.getUint32(block + i * 8) & view.getUint32(block + i * 8 + 4)) === -1) return i;
    return -1;
  }
  const full = refMax(order);
  for (let i = first; i < end; i++) if (refGet(view, block, i, order) === full) return i;
  return -1;
}

function step64(view: DataView, at: number, delta: number): void {
  const lo = view.getUint32(at + 4) + delta;
  view.setUint32(at + 4, lo);
  if (lo < 0 || lo > 0xffffffff) view.setUint32(at, view.getUint32(at) + delta);
}

export function refAddRange(view: DataView, block: number, first: number, count: number, order: number, delta: number): number {
  const end = first + count;
  const bad = delta > 0 ? findFull(view, block, first, end, order) : refFindFree(view, block, first, count, order);
  if (bad >= 0) return bad;
  if (order === 6) {
    for (let i = first; i < end; i++) step64(view, block + i * 8, delta);
  } else if (order === 4) {
    for (let at = block + first * 2, stop = block + end * 2; at < stop; at += 2) view.setUint16(at, view.getUint16(at) + delta);
  } else {
    for (let i = first; i < end; i++) refSet(view, block, i, order, refGet(view, block, i, order) + delta);
  }
  return -1;
}

export function refFindFree(view: DataView, block: number, first: number, count: number, order: number): number {
  for (let i = first, end = first + count; i < end; i++) if (isFree(view, block, i, order)) return i;
  return -1;
}

export function refFindUsed(view: DataView, block: number, first: number, count: number, order: number): number {
  for (let i = first, end = first + count; i < end; i++) if (!isFree(view, block, i, order)) return i;
  return -1;
}

export function refLastUsed(view: DataView, block: number, first: number, count: number, order: number): number {
  for (let i = first + count - 1; i >= first; i--) if (!isFree(view, block, i, order)) return i;
  return -1;
}

export function refFindFreeRun(view: DataView, block: number, first: number, count: number, order: number, want: number): number {
  let run = 0;
  for (let i = first, end = first + count; i < end; i++) {
    run = isFree(view, block, i, order) ? run + 1 : 0;
    if (run === want) return i - want + 1;
  }
  return -1;
}

export function refCountUsed(view: DataView, block: number, first: number, count: number, order: number): number {
  let used = 0;
  for (let i = first, end = first + count; i < end; i++) if (!isFree(view, block, i, order)) used++;
  return used;
}

export function refCompare(
  view: DataView,
  block: number,
  first: number,
  count: number,
  order: number,
  counters: number,
  out: number,
  maxOut: number,
): number {
  let found = 0;
  for (let i = 0; i < count && found < maxOut; i++) {
    if (refGet(view, block, first + i, order) === view.getUint32(counters + i * 4, true)) continue;
    view.setUint32(out + found * 4, first + i, true);
    found++;
  }
  return found;
}
