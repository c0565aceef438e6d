/** References of the persistent bitmaps: directory, bitmap tables, bitmap clusters. */
import { readU64BE, viewOf } from "../../base/bytes.js";
import { alignUp, divCeil, MiB } from "../../base/int.js";
import { readBytes, writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import type { Census } from "./census.js";
import { hex64 } from "./check-state.js";
import { Autoclear, OFFSET_HI, OFFSET_LO } from "./layout.js";

const ENTRY = 24;
const MAX_DIRECTORY_BYTES = 64 * MiB;
const MAX_TABLE_ENTRIES = 0x8000000;
/** Bytes of one bitmap's clusters at most. */
const MAX_BITMAP_BYTES = 512 * MiB;
const MAX_NAME = 1023;
const IN_USE = 1;
const KNOWN_FLAGS = 7;
const RESERVED_HI = 0xff000000;
const RESERVED_LO = 0x1fe;
/** A table entry without a cluster whose bits are all set. */
const ALL_ONES = 1;

/** Whether the image says that its bitmaps are up to date; otherwise nobody may rely on them, and they do not count. */
function hasValidBitmaps(census: Census): boolean {
  const { header } = census.image;
  return header.bitmaps !== null && header.bitmaps.count > 0 && (header.autoclear.lo & Autoclear.bitmaps) !== 0;
}

/** @throws BlockError when the directory is no directory */
export function* bitmapReferences(census: Census): Op<void> {
  if (!hasValidBitmaps(census)) return;
  const { image, state } = census;
  const { count, directoryOffset, directorySize } = image.header.bitmaps!;
  census.reference(directoryOffset, directorySize);
  const wrong = (): Error => {
    state.corruption("entries", `ERROR bitmap directory is corrupted`, directoryOffset);
    return state.fail("Invalid bitmap directory", directoryOffset);
  };
  if (directorySize === 0 || directorySize > MAX_DIRECTORY_BYTES || directoryOffset % image.clusterSize !== 0) throw wrong();
  if (directoryOffset >= image.file.size || directorySize > image.file.size - directoryOffset) throw wrong();
  const directory = yield* readBytes(image.file, directoryOffset, directorySize);
  const view = viewOf(directory);
  let found = 0;
  for (let at = 0; at < directory.length; found++) {
    if (at + ENTRY > directory.length) throw wrong();
    const tableOffset = readU64BE(view, at);
    const offsetHi = view.getUint32(at);
    const offsetLo = view.getUint32(at + 4);
    const tableEntries = view.getUint32(at + 8);
    const flags = view.getUint32(at + 12);
    const granularityBits = view.getUint8(at + 17);
    const nameLength = view.getUint16(at + 18);
    const extra = view.getUint32(at + 20);
    const end = at + ENTRY + extra + nameLength;
    const sound =
      found < count &&
      tableEntries > 0 &&
      tableEntries <= MAX_TABLE_ENTRIES &&
      tableOffset > 0 &&
      offsetLo % image.clusterSize === 0 &&
      offsetHi < 0x80000000 &&
      granularityBits >= 9 &&
      granularityBits <= 31 &&
      (flags & ~KNOWN_FLAGS) === 0 &&
      view.getUint8(at + 16) === 1 &&
      nameLength > 0 &&
      nameLength <= MAX_NAME &&
      extra === 0 &&
      end <= directory.length &&
      tableEntries * image.clusterSize <= MAX_BITMAP_BYTES;
    if (!sound) throw wrong();
    // A bitmap in use may have been left behind by a resize.
    const needed = divCeil(divCeil(image.size, 2 ** granularityBits), image.clusterSize * 8);
    if ((flags & IN_USE) === 0 && tableEntries < needed) throw wrong();
    if (Number.isFinite(tableOffset)) yield* tableReferences(census, tableOffset, tableEntries);
    else if (census.window.first) census.tellOutside(hex64(offsetHi, offsetLo), tableEntries * 8);
    at = alignUp(end, 8);
  }
  if (found !== count) throw wrong();
}

function* tableReferences(census: Census, tableOffset: number, entries: number): Op<void> {
  const { image } = census;
  census.reference(tableOffset, entries * 8);
  const step = MiB / 8;
  for (let from = 0; from < entries; from += step) {
    const at = tableOffset + from * 8;
    if (at >= image.file.size) return;
    const count = Math.min(step, entries - from);
    const bytes = yield* readBytes(image.file, at, count * 8);
    const view = viewOf(bytes);
    let mended = false;
    for (let i = 0; i < count; i++) if (entryReference(census, view, i, from + i, at + i * 8)) mended = true;
    if (!mended) continue;
    yield* image.checkOverlap(at, bytes.length, null);
    yield* writeGrow(image.file, bytes, at);
  }
}

/** Entry `i` of the part in `view`, at byte `at` of the file. @returns whether it was mended */
function entryReference(census: Census, view: DataView, i: number, entry: number, at: number): boolean {
  const { image, state, window } = census;
  const hi = view.getUint32(i * 8);
  const lo = view.getUint32(i * 8 + 4);
  if (hi === 0 && lo <= ALL_ONES) return false;
  const host = (hi & OFFSET_HI) * 4294967296 + ((lo & OFFSET_LO) >>> 0);
  const nonsense = (hi & RESERVED_HI) !== 0 || (lo & RESERVED_LO) !== 0 || (lo & 1) !== 0 || lo % image.clusterSize !== 0;
  if (!nonsense && !census.isOutside(host, image.clusterSize)) {
    census.reference(host, image.clusterSize);
    return false;
  }
  if (!window.first) return false;
  if (!census.mendEntries) {
    if (nonsense) state.corruption("entries", `ERROR bitmap table entry ${entry} is corrupted`, at);
    else census.tellOutside(hex64(hi & OFFSET_HI, lo), image.clusterSize, at);
    if (!state.quiet) state.settable++;
    return false;
  }
  // What the bits were nobody knows. Set, they make a backup copy too much; clear, it would leave something out.
  state.repair(`Repairing bitmap table entry ${entry}: all bits of its part are set`, at);
  state.corruptionsFixed++;
  state.corruptions.entries--;
  state.settable--;
  view.setUint32(i * 8, 0);
  view.setUint32(i * 8 + 4, ALL_ONES);
  return true;
}
