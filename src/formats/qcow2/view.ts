/** What reading a qcow2 image takes: header, geometry, L1 table, L2 cache. `Qcow2` (image.ts) adds what writing takes. */
import { BlockError } from "../../base/error.js";
import { viewOf } from "../../base/bytes.js";
import type { Node } from "../../block/node.js";
import type { Codecs } from "../../codec/codec.js";
import { L2_EXTENDED, L2_EXTERNAL_DATA, L2_VERSION3 } from "../../kernel/layout.js";
import type { MapKernel } from "../../kernel/map-kernel.js";
import type { Region } from "../../kernel/memory.js";
import type { TableCache } from "../shared/table-cache.js";
import type { MapState } from "./map.js";
import { DecompressedClusters } from "./compressed-cache.js";
import type { Header } from "./header.js";
import { Incompatible, OFFSET_HI, OFFSET_LO } from "./layout.js";

export class Qcow2View implements MapState {
  readonly node: Node;
  readonly header: Header;
  readonly codecs: Codecs;
  readonly kernel: MapKernel;
  /** Where scans put their extent records. */
  readonly scan: Region;
  readonly decompressed: DecompressedClusters;

  readonly clusterBits: number;
  readonly clusterSize: number;
  readonly extended: boolean;
  readonly subclusterSize: number;
  /** Bytes of one L2 entry. */
  readonly entrySize: number;
  /** Entries of one L2 table. */
  readonly l2Entries: number;
  /** Guest bytes one L2 table covers. */
  readonly l2Coverage: number;
  /** Entries of one cached slice of an L2 table. */
  readonly sliceEntries: number;
  /** Guest bytes one slice covers. */
  readonly sliceCoverage: number;

  /** The active L1 table as on disk. */
  l1: Uint8Array;
  l1View: DataView;
  l2!: TableCache;

  constructor(node: Node, header: Header, codecs: Codecs, kernel: MapKernel, scan: Region, sliceSize: number, l1: Uint8Array) {
    this.node = node;
    this.header = header;
    this.codecs = codecs;
    this.kernel = kernel;
    this.scan = scan;
    this.clusterBits = header.clusterBits;
    this.clusterSize = 2 ** header.clusterBits;
    this.extended = (header.incompatible.lo & Incompatible.extendedL2) !== 0;
    this.subclusterSize = this.extended ? this.clusterSize / 32 : this.clusterSize;
    this.entrySize = this.extended ? 16 : 8;
    this.l2Entries = this.clusterSize / this.entrySize;
    this.l2Coverage = this.l2Entries * this.clusterSize;
    this.sliceEntries = sliceSize / this.entrySize;
    this.sliceCoverage = this.sliceEntries * this.clusterSize;
    this.l1 = l1;
    this.l1View = viewOf(l1);
    this.decompressed = new DecompressedClusters(this.clusterSize);
  }

  get file(): Node {
    return this.node.file;
  }
  /** What kernels must know to read L2 tables; amend may change the version. */
  get scanFlags(): number {
    return (
      (this.header.version >= 3 ? L2_VERSION3 : 0) | (this.hasDataFile ? L2_EXTERNAL_DATA : 0) | (this.extended ? L2_EXTENDED : 0)
    );
  }
  get hasDataFile(): boolean {
    return (this.header.incompatible.lo & Incompatible.dataFile) !== 0;
  }
  /** The file that guest data is in. */
  get dataFile(): Node {
    return this.hasDataFile ? this.node.child("data-file")! : this.node.file;
  }
  get size(): number {
    return this.header.size;
  }

  get l1Entries(): number {
    return this.l1.length / 8;
  }
  l1Index(guest: number): number {
    return Math.floor(guest / this.l2Coverage);
  }
  /** Offset of the L2 table of an L1 entry; 0 when there is none. */
  l2Offset(index: number): number {
    if (index >= this.l1Entries) return 0;
    return (
      (this.l1View.getUint32(index * 8) & OFFSET_HI) * 4294967296 + ((this.l1View.getUint32(index * 8 + 4) & OFFSET_LO) >>> 0)
    );
  }

  /** Offset in the image file of the slice of L2 table `l2Offset` that covers `guest`. */
  sliceOffset(l2Offset: number, guest: number): number {
    const slice = Math.floor((guest % this.l2Coverage) / this.sliceCoverage);
    return l2Offset + slice * this.sliceEntries * this.entrySize;
  }

  /** An error for contradictory metadata. */
  corruption(message: string, offset: number): BlockError {
    return new BlockError("ERR_CORRUPT", message, { errno: "EIO", node: this.node.nodeName, offset });
  }
}
