/** Where guest ranges are: L1 → L2 slice in the cache → kernel scan → extents. Mutates nothing and never waits. */
import type { BlockError } from "../../base/error.js";
import type { Miss } from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { newExtentRecord, readExtent } from "../../kernel/extent.js";
import * as L from "../../kernel/layout.js";
import type { Codecs } from "../../codec/codec.js";
import type { MapKernel } from "../../kernel/map-kernel.js";
import type { Region } from "../../kernel/memory.js";
import type { TableCache } from "../shared/table-cache.js";
import type { DecompressedClusters } from "./compressed-cache.js";
import type { Header } from "./header.js";

/** What finding and reading guest data takes: a `Qcow2`, or the slimmer state of a reader. */
export interface MapState {
  readonly node: Node;
  readonly file: Node;
  /** The file that guest data is in. */
  readonly dataFile: Node;
  readonly header: Header;
  readonly codecs: Codecs;
  readonly kernel: MapKernel;
  /** Where scans put their extent records. */
  readonly scan: Region;
  readonly decompressed: DecompressedClusters;
  readonly l2: TableCache;
  readonly clusterBits: number;
  readonly clusterSize: number;
  readonly subclusterSize: number;
  readonly extended: boolean;
  readonly scanFlags: number;
  /** Guest bytes that one L2 table, one cached slice of it covers. */
  readonly l2Coverage: number;
  readonly sliceCoverage: number;
  l1Index(guest: number): number;
  l2Offset(index: number): number;
  sliceOffset(l2Offset: number, guest: number): number;
  corruption(message: string, offset: number): BlockError;
}

/** A slice of an L2 table that is not in the cache. */
class L2Miss implements Miss {
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
}

/** Extent records that one scan may return: how far one `map` goes in a fragmented image. */
export const SCAN_RECORDS = 512;
const record = newExtentRecord();

/** Appends the extents of [offset, offset+length); offsets behind the guest disk are those of saved VM state. */
export function mapRange(image: MapState, offset: number, length: number, out: ExtentList): Miss | null {
  const end = offset + length;
  let at = offset;
  while (at < end) {
    const index = image.l1Index(at);
    const l2 = image.l2Offset(index);
    if (l2 === 0) {
      const next = Math.min(end, (index + 1) * image.l2Coverage);
      out.push(at, next - at, ExtentKind.unallocated);
      at = next;
      continue;
    }
    if (l2 % image.clusterSize !== 0) {
      throw image.corruption(`L2 table offset 0x${l2.toString(16)} unaligned (L1 index: 0x${index.toString(16)})`, l2);
    }
    const slice = image.sliceOffset(l2, at);
    const pointer = image.l2.find(slice);
    if (pointer < 0) return new L2Miss(slice);
    const stop = Math.min(end, (Math.floor(at / image.sliceCoverage) + 1) * image.sliceCoverage);
    const reached = scan(image, pointer, slice, at, stop, out);
    if (reached < stop) return null; // the record list was full: enough for one turn
    at = reached;
  }
  return null;
}

export function* loadMiss(image: MapState, miss: Miss): Op<void> {
  yield* image.l2.load(miss.offset, false);
}

/** Scans one slice and appends what it says of [at, stop). Returns how far it came. */
function scan(image: MapState, pointer: number, sliceOffset: number, at: number, stop: number, out: ExtentList): number {
  const { kernel, clusterBits } = image;
  const unit = image.subclusterSize;
  const base = at - (at % image.sliceCoverage);
  const first = Math.floor((at - base) / unit);
  const count = Math.ceil((stop - base) / unit) - first;
  const found = image.extended
    ? kernel.scanL2Extended(pointer, first, count, clusterBits, image.scanFlags, image.scan.offset, SCAN_RECORDS)
    : kernel.scanL2(pointer, first, count, clusterBits, image.scanFlags, image.scan.offset, SCAN_RECORDS);
  const data = image.dataFile;
  let unitIndex = first;
  let reached = at;
  for (let i = 0; i < found; i++) {
    readExtent(kernel.view, image.scan.offset, i, record);
    const start = base + unitIndex * unit;
    unitIndex += record.length;
    const from = Math.max(start, at);
    const to = Math.min(base + unitIndex * unit, stop);
    switch (record.kind) {
      case L.KIND_UNALLOCATED:
        out.push(from, to - from, ExtentKind.unallocated);
        break;
      case L.KIND_UNALLOCATED_ALLOC:
        out.push(from, to - from, ExtentKind.unallocated, data, record.host + (from - start));
        break;
      case L.KIND_ZERO_PLAIN:
        out.push(from, to - from, ExtentKind.zero);
        break;
      case L.KIND_ZERO_ALLOC:
        out.push(from, to - from, ExtentKind.zero, data, record.host + (from - start));
        break;
      case L.KIND_DATA:
        if (data !== image.file && record.host !== start) {
          if (out.count > 0) return from;
          throw image.corruption(
            `External data file host cluster offset 0x${record.host.toString(16)} does not match guest cluster offset: 0x${start.toString(16)}, L2 index: 0x${Math.floor((from - base) / image.clusterSize).toString(16)})`,
            sliceOffset,
          );
        }
        out.push(from, to - from, ExtentKind.data, data, record.host + (from - start));
        break;
      case L.KIND_COMPRESSED:
        out.pushSpecial(from, to - from, image.file, record.host, record.aux, true);
        break;
      default:
        if (out.count > 0) return from; // what is sound comes first; the error when it is asked for
        throw invalidEntry(image, sliceOffset, Math.floor((from - base) / image.clusterSize), record.aux, record.host);
    }
    reached = to;
  }
  return reached;
}

function invalidEntry(image: MapState, sliceOffset: number, index: number, reason: number, host: number): BlockError {
  const where = `(L2 offset: 0x${sliceOffset.toString(16)}, L2 index: 0x${index.toString(16)})`;
  switch (reason) {
    case L.INVALID_UNALIGNED:
      return image.corruption(`Cluster allocation offset 0x${host.toString(16)} unaligned ${where}`, host);
    case L.INVALID_ZERO_IN_V2:
      return image.corruption(`Zero cluster entry found in pre-v3 image ${where}`, sliceOffset);
    case L.INVALID_COMPRESSED_WITH_DATA_FILE:
      return image.corruption(`Compressed cluster entry found in image with external data file ${where}`, sliceOffset);
    case L.INVALID_OFFSET_RANGE:
      return image.corruption(`Cluster offset is beyond 2^53 bytes ${where}`, sliceOffset);
    default:
      return image.corruption(`Invalid cluster entry found  ${where}`, sliceOffset);
  }
}
