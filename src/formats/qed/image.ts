/** An open QED image. */
import { BlockError } from "../../base/error.js";
import { readU64LE, writeU64LE } from "../../base/bytes.js";
import { alignUp } from "../../base/int.js";
import type { BackingLink, BlockDriverInfo, TruncateOptions, WriteFlags } from "../../block/driver.js";
import { flush, writeGrow, writeLeased, writeZeroes } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import type { CheckOptions, ImageCheck } from "../../block/types.js";
import type { EntryPage, EntryPages, EntryTable } from "../shared/entry-pages.js";
import { TwoLevelImage, type Cluster } from "../shared/two-level-image.js";
import { checkQed } from "./check.js";
import {
  encodeQedHeader,
  Feature,
  isClusterOffset,
  isTableOffset,
  maxImageSize,
  QED_HEADER_BYTES,
  tableEntries,
  usableSize,
  type QedHeader,
} from "./header.js";

export class Qed extends TwoLevelImage {
  readonly header: QedHeader;
  readonly zeroUnit: number;
  protected override readonly corruptErrno = "EINVAL";

  constructor(node: Node, header: QedHeader, budget: number) {
    const entries = tableEntries(header);
    super({
      node,
      size: header.size,
      clusterSize: header.clusterSize,
      l2Entries: entries,
      l1: { offset: header.l1Offset, entries, level: 1 },
      budget,
    });
    this.header = header;
    this.zeroUnit = header.clusterSize;
  }

  /** For `check`, which looks at every table. */
  get tables(): { pages: EntryPages; l1: EntryTable; l2: (offset: number) => EntryTable } {
    return { pages: this.pages, l1: this.l1, l2: (offset) => this.l2Table(offset) };
  }
  get imageFile(): Node {
    return this.file;
  }
  get backingFile(): BackingLink | null {
    const { backingFile, features } = this.header;
    return backingFile === null
      ? null
      : { filename: backingFile, format: (features & Feature.backingNoProbe) !== 0 ? "raw" : null };
  }
  blockInfo(): BlockDriverInfo {
    // As QEMU: the check bit is not reported as dirty.
    return { clusterSize: this.clusterSize };
  }
  get needsCheck(): boolean {
    return (this.header.features & Feature.needCheck) !== 0;
  }

  // ---- entries ----

  protected override readL1(page: EntryPage, slot: number): number {
    const offset = readU64LE(page.view, slot * 8);
    if (offset !== 0 && !isTableOffset(this.header, offset, this.file.size))
      throw this.error(`QED L2 table offset ${offset} is invalid`, page.offset + slot * 8);
    return offset;
  }
  protected override writeL1(page: EntryPage, slot: number, offset: number): void {
    writeU64LE(page.view, slot * 8, offset);
  }
  protected override readL2(page: EntryPage, slot: number, into: Cluster): void {
    const offset = readU64LE(page.view, slot * 8);
    into.kind = offset === 0 ? "unallocated" : offset === 1 ? "zero" : "data";
    into.host = offset;
    if (into.kind === "data" && !isClusterOffset(this.header, offset, this.file.size)) {
      throw this.error(`QED cluster offset ${offset} is invalid`, page.offset + slot * 8);
    }
  }
  protected override writeL2(page: EntryPage, slot: number, cluster: Cluster): void {
    writeU64LE(page.view, slot * 8, cluster.kind === "data" ? cluster.host : cluster.kind === "zero" ? 1 : 0);
  }

  // ---- allocation ----

  protected override firstFree(fileSize: number): number {
    return usableSize(this.clusterSize, fileSize);
  }
  protected override checkWritable(host: number): void {
    const tableEnd = this.header.l1Offset + this.l2Bytes;
    if (host < tableEnd && host + this.clusterSize > this.header.l1Offset)
      throw this.error(`Data cluster at ${host} lies inside the L1 table`, host);
  }
  /** With a backing file QEMU relies on the order of writes alone, which we keep in any case. */
  protected override *beforeAllocation(): Op<void> {
    if (this.needsCheck || this.header.backingFile !== null) return;
    this.header.features |= Feature.needCheck;
    try {
      // Durable before any new entry is: those wait for a flush.
      yield* this.writeHeader();
    } catch (error) {
      this.header.features &= ~Feature.needCheck;
      throw error;
    }
  }

  *writeHeader(): Op<void> {
    yield* writeGrow(this.file, encodeQedHeader(this.header).subarray(0, QED_HEADER_BYTES), 0);
  }

  /** Everything is consistent on disk: the image needs no check. */
  *markClean(): Op<void> {
    if (!this.needsCheck) return;
    this.header.features &= ~Feature.needCheck;
    try {
      yield* this.writeHeader();
    } catch (error) {
      this.header.features |= Feature.needCheck;
      throw error;
    }
    yield* flush(this.file);
  }

  // ---- verbs ----

  *writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    const end = offset + length;
    for (let at = offset; at < end; at += this.clusterSize) {
      if (this.pages.isCrowded) yield* this.flush();
      const release = yield* this.lock.acquire();
      let host = -1;
      try {
        const cluster = yield* this.clusterAt(at);
        if (cluster.kind === "data") host = cluster.host;
        else if (cluster.kind === "unallocated") yield* this.setCluster(at, { kind: "zero", host: 1, length: 0 });
      } finally {
        release();
      }
      if (host < 0) continue;
      this.checkWritable(host);
      yield* writeZeroes(this.file, host, this.clusterSize, flags);
    }
  }

  *truncate(size: number, options: TruncateOptions): Op<void> {
    if (options.preallocation !== "off") {
      throw new BlockError("ERR_UNSUPPORTED", `Unsupported preallocation mode '${options.preallocation}'`, { errno: "ENOTSUP" });
    }
    if (size % 512 !== 0 || size > maxImageSize(this.header))
      throw new BlockError("ERR_INVALID_ARGUMENT", "Invalid image size specified");
    const old = this.guestSize;
    if (size < old) throw new BlockError("ERR_UNSUPPORTED", "Shrinking images is currently not supported", { errno: "ENOTSUP" });
    if (size === old) return;
    // What the last cluster or a longer backing file holds behind the old end must not come to light.
    const clusterEnd = Math.min(alignUp(old, this.clusterSize), size);
    this.guestSize = size;
    this.header.size = size;
    try {
      if (clusterEnd > old && ((yield* this.clusterAt(old)).kind === "data" || this.node.backing !== null)) {
        yield* writeLeased(this.node, this, new Uint8Array(clusterEnd - old), old);
      }
      const hidden = Math.min(size, this.node.backing?.size ?? 0);
      if (hidden > clusterEnd) yield* this.writeZeroes(clusterEnd, hidden - clusterEnd, {});
      yield* this.flush();
      yield* this.writeHeader();
      yield* flush(this.file);
    } catch (error) {
      this.guestSize = old;
      this.header.size = old;
      throw error;
    }
  }

  check(options: CheckOptions): Op<ImageCheck> {
    return checkQed(this, options);
  }

  *changeBackingFile(backingFile: string | null, backingFormat: string | null): Op<void> {
    const { header } = this;
    if (header.compatible.lo !== 0 || header.compatible.hi !== 0) {
      throw new BlockError("ERR_UNSUPPORTED", "Features of this image that are not known here could depend on its backing file", {
        errno: "ENOTSUP",
      });
    }
    const before = { ...header };
    header.backingFile = backingFile === "" ? null : backingFile;
    header.features &= ~(Feature.backingFile | Feature.backingNoProbe);
    if (header.backingFile !== null)
      header.features |= Feature.backingFile | (backingFormat === "raw" ? Feature.backingNoProbe : 0);
    try {
      const bytes = encodeQedHeader(header);
      // The old name goes, too.
      const padded = new Uint8Array(Math.min(Math.max(4096, bytes.length), header.headerClusters * header.clusterSize));
      padded.set(bytes);
      yield* writeGrow(this.file, padded, 0);
      yield* flush(this.file);
    } catch (error) {
      Object.assign(header, before);
      throw error;
    }
  }

  *accessChanging(write: boolean): Op<void> {
    if (!write) yield* this.markClean();
  }

  override *close(): Op<void> {
    if (this.node.readOnly) return;
    yield* this.flush();
    if (this.closesClean) yield* this.markClean();
  }
  /** False for an image that came dirty and was opened for a check: only a check without findings makes it clean. */
  closesClean = true;
}
