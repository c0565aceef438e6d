/** Entry by entry through an L2 table in which the kernel saw something wrong: what it is, and what it should count. */
import { COMPRESSED_HI, COPIED_HI, OFFSET_HI, OFFSET_LO, ZERO_LO } from "./layout.js";
import type { Census, LoadedTable } from "./census.js";
import { hex64 } from "./check-state.js";

const RESERVED_HI = 0x3f000000;
const RESERVED_LO = 0x1fe;
/** A finding in a table that is shared is told once per reference, up to this many times. */
const MOST_TIMES = 16;

/**
 * The kernel has counted the table once, what lies outside of the file included as far as a counter exists for it. This
 * takes that back, adds the other references to the table, and tells what is wrong (in the first pass).
 * @returns whether an entry was repaired
 */
export function explainTable(census: Census, table: LoadedTable, references: number): boolean {
  const { image, kernel, window, state } = census;
  const view = kernel.view;
  const size = image.clusterSize;
  let changed = false;
  // As often as the table is referenced, like qemu-img, within reason.
  const times = Math.min(references, MOST_TIMES);
  const bad = (text: string): void => {
    if (window.first) for (let n = 0; n < times; n++) state.corruption("entries", text, table.offset);
  };
  const outside = (host: string, length: number): void => {
    if (window.first) for (let n = 0; n < times; n++) census.tellOutside(host, length, table.offset);
  };

  /** Counts what the kernel could not judge. */
  const settle = (host: number, length: number, text: string): void => {
    if (!Number.isSafeInteger(host + length)) {
      outside(text, length);
    } else if (census.isOutside(host, length)) {
      outside(text, length);
      census.add(host, length, -1);
    } else if (references > 1) census.add(host, length, references - 1);
  };

  for (let i = 0; i < image.l2Entries; i++) {
    const at = table.pointer + i * image.entrySize;
    const hi = view.getUint32(at);
    const lo = view.getUint32(at + 4);
    const zeros = image.extended ? view.getUint32(at + 8) : 0;
    const allocated = image.extended ? view.getUint32(at + 12) : 0;
    if ((hi & COMPRESSED_HI) !== 0) {
      const sectorBits = image.clusterBits - 8;
      const offsetHiBits = 30 - sectorBits;
      const hostHi = (hi & (2 ** offsetHiBits - 1)) >>> 0;
      const host = hostHi * 4294967296 + lo;
      const sectors = ((hi & 0x3fffffff) >>> offsetHiBits) + 1;
      if ((hi & COPIED_HI) !== 0)
        bad(`ERROR: coffset=0x${hex64(hostHi, lo)}: copied flag must never be set for compressed clusters`);
      const entry = hex64(hi & ~COPIED_HI, lo);
      if (image.hasDataFile) bad(`ERROR compressed cluster ${i} with data file, entry=0x${entry}`);
      else if (zeros !== 0 || allocated !== 0)
        bad(`ERROR compressed cluster ${i} with non-zero subcluster allocation bitmap, entry=0x${entry}`);
      else settle(host, sectors * 512 - (lo % 512), hex64(hostHi, lo));
      continue;
    }
    if ((hi & RESERVED_HI) !== 0 || (lo & RESERVED_LO) !== 0)
      bad(`ERROR found l2 entry with reserved bits set: ${hex64(hi, lo)}`);
    const hostHi = hi & OFFSET_HI;
    const hostLo = (lo & OFFSET_LO) >>> 0;
    const host = hostHi * 4294967296 + hostLo;
    const zero = !image.extended && (lo & ZERO_LO) !== 0;
    if (host === 0 && (zero || !(image.hasDataFile && (hi & COPIED_HI) !== 0))) {
      if (allocated !== 0) bad("ERROR: Unallocated cluster has non-zero subcluster allocation map");
      continue;
    }
    const text = hex64(hostHi, hostLo);
    if ((zeros & allocated) !== 0) bad(`ERROR offset=${text}: Allocated cluster has corrupted subcluster allocation bitmap`);
    if (hostLo % size !== 0) {
      const holdsData = image.extended ? allocated !== 0 : !zero;
      if (holdsData) bad(`ERROR offset=${text}: Data cluster is not properly aligned; L2 entry corrupted.`);
      else if (!census.mendEntries) {
        bad(`ERROR offset=${text}: Preallocated cluster is not properly aligned; L2 entry corrupted.`);
        if (window.first && !state.quiet) state.zeroable++;
      } else {
        // Nothing is lost: the cluster reads as zeros.
        state.repair(`Repairing offset=${text}: Preallocated cluster is not properly aligned; L2 entry corrupted.`, table.offset);
        state.corruptionsFixed++;
        state.corruptions.entries -= times;
        state.zeroable--;
        if (Number.isSafeInteger(host + size) && !image.hasDataFile) census.add(host, size, -1);
        view.setUint32(at, 0);
        view.setUint32(at + 4, image.extended ? 0 : ZERO_LO);
        if (image.extended) {
          view.setUint32(at + 8, 0xffffffff);
          view.setUint32(at + 12, 0);
        }
        changed = true;
        continue;
      }
    }
    if (!image.hasDataFile) settle(host, size, text);
  }
  return changed;
}
