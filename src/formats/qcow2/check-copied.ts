/**
 * COPIED flags of the active tables: set exactly where the refcount is 1. The census's counters hold the refcounts to go by.
 * With an external data file, guest clusters have no refcounts; they count as 1.
 */
import { writeGrow } from "../../block/io.js";
import { alignDown } from "../../base/int.js";
import type { Op } from "../../block/op.js";
import { countersOf } from "../../kernel/memory.js";
import type { Census, LoadedTable } from "./census.js";
import { hex64 } from "./check-state.js";
import { COMPRESSED_HI, COPIED_HI, OFFSET_HI, OFFSET_LO } from "./layout.js";

/** Checks, and with `repair` corrects, the flags of entries whose cluster is in the census's window. Returns how many were wrong. */
export function* checkCopied(census: Census, repair: boolean): Op<number> {
  const { kernel, window } = census;
  const counters = countersOf(kernel, census.counters, window.count);
  let wrong = yield* checkL1(census, repair);
  yield* census.eachActiveTable((table) => {
    // Offset 0 with flags is counted, but never used.
    if (table.offset === 0) return false;
    const found = checkTable(census, table, counters, repair);
    wrong += found;
    return repair && found > 0;
  });
  return wrong;
}

/** The refcount of a cluster; -1 when another window has it. */
function refcountOf(census: Census, cluster: number): number {
  if (census.inWindow(cluster)) return census.counter(cluster);
  return census.window.last && cluster >= census.window.base ? 0 : -1;
}

function* checkL1(census: Census, repair: boolean): Op<number> {
  const { image, state } = census;
  const view = image.l1View;
  let wrong = 0;
  let from = Infinity;
  let to = 0;
  for (let i = 0; i < image.l1Entries; i++) {
    const hi = view.getUint32(i * 8);
    const lo = view.getUint32(i * 8 + 4);
    const offset = (hi & OFFSET_HI) * 4294967296 + ((lo & OFFSET_LO) >>> 0);
    if (offset === 0) continue;
    const refcount = refcountOf(census, Math.floor(offset / image.clusterSize));
    if (refcount < 0 || (refcount === 1) === (hi & COPIED_HI) < 0) continue;
    wrong++;
    const text = `OFLAG_COPIED L2 cluster: l1_index=${i} l1_entry=${hex64(hi, lo)} refcount=${census.refcountText(Math.floor(offset / image.clusterSize), refcount)}`;
    if (!repair) {
      state.corruption("copied", `ERROR ${text}`, image.header.l1Offset + i * 8);
      continue;
    }
    state.repair(`Repairing ${text}`, image.header.l1Offset + i * 8);
    state.corruptionsFixed++;
    view.setUint32(i * 8, (hi ^ COPIED_HI) >>> 0);
    from = Math.min(from, i);
    to = i + 1;
  }
  if (to > 0) {
    const start = alignDown(from * 8, 512);
    const end = Math.min(image.l1.length, alignDown(to * 8 + 511, 512));
    yield* image.checkOverlap(image.header.l1Offset + start, end - start, "active-l1");
    yield* writeGrow(image.file, image.l1.subarray(start, end), image.header.l1Offset + start);
  }
  return wrong;
}

function checkTable(census: Census, table: LoadedTable, counters: Uint32Array | null, repair: boolean): number {
  const { image, kernel, window, state } = census;
  const { view } = kernel;
  const shift = 2 ** (32 - image.clusterBits);
  const bits = image.clusterBits;
  const external = image.hasDataFile;
  const { base, count } = window;
  const step = image.entrySize;
  const words = countersOf(kernel, 0, kernel.memory.length >>> 2);
  const end = table.pointer + image.l2Entries * step;
  let wrong = 0;
  for (let at = table.pointer; at < end; at += step) {
    // Empty entries are the most common ones in sparse tables.
    if (words !== null && (words[at >>> 2]! | words[(at >>> 2) + 1]!) === 0) continue;
    const hi = view.getInt32(at);
    const lo = view.getInt32(at + 4);
    if ((hi & COMPRESSED_HI) !== 0 || ((hi & OFFSET_HI) === 0 && (lo & OFFSET_LO) === 0)) continue;
    const cluster = (hi & OFFSET_HI) * shift + (lo >>> bits);
    const index = cluster - base;
    let refcount: number;
    if (external) refcount = 1;
    else if (index >= 0 && index < count) refcount = counters === null ? census.counter(cluster) : counters[index]!;
    else if (index >= 0 && window.last) refcount = 0;
    else continue;
    if ((refcount === 1) === hi < 0) continue;
    if (external && !window.first) continue;
    wrong++;
    const text = `OFLAG_COPIED data cluster: l2_entry=${hex64(hi, lo)} refcount=${census.refcountText(cluster, refcount)}`;
    if (!repair) {
      state.corruption("copied", `ERROR ${text}`, table.offset + (at - table.pointer));
      continue;
    }
    state.repair(`Repairing ${text}`, table.offset + (at - table.pointer));
    state.corruptionsFixed++;
    view.setUint32(at, (hi ^ COPIED_HI) >>> 0);
  }
  return wrong;
}
