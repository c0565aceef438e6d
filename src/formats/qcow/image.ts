/** An open qcow (version 1) image. */
import { BlockError } from "../../base/error.js";
import { readU64BE, writeU64BE } from "../../base/bytes.js";
import { fromHiLo, hi32, lo32 } from "../../base/int.js";
import type { BackingLink, BlockDriverInfo, SpecialExtent } from "../../block/driver.js";
import { flush, readPadded, truncate, writeGrow, writeLeased } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { foreign, type Op } from "../../block/op.js";
import type { Compressor } from "../../codec/codec.js";
import type { EntryPage } from "../shared/entry-pages.js";
import type { PayloadCipher } from "../shared/payload-cipher.js";
import { TwoLevelImage, type Cluster } from "../shared/two-level-image.js";
import { l1EntriesOf, type QcowHeader } from "./header.js";

export class Qcow extends TwoLevelImage {
  readonly backingFile: BackingLink | null;
  // Present where the image is encrypted only: their presence makes the chokepoint work in sectors and on copies.
  declare readonly decrypt?: PayloadCipher["decrypt"];
  declare readonly encrypt?: PayloadCipher["encrypt"];
  declare readonly transformUnit?: number;
  readonly #clusterBits: number;
  readonly #l1Bytes: number;
  readonly #cipher: PayloadCipher | null;
  #compressor: Compressor | null = null;
  /** The compressed cluster that was read last, and its content. */
  #keptHost = -1;
  #kept: Uint8Array | null = null;

  constructor(node: Node, header: QcowHeader, backingFile: string | null, cipher: PayloadCipher | null, budget: number) {
    const entries = l1EntriesOf(header);
    super({
      node,
      size: header.size - (header.size % 512),
      clusterSize: 2 ** header.clusterBits,
      l2Entries: 2 ** header.l2Bits,
      l1: { offset: header.l1Offset, entries, level: 1 },
      budget,
    });
    this.backingFile = backingFile === null ? null : { filename: backingFile, format: null };
    this.#clusterBits = header.clusterBits;
    this.#l1Bytes = entries * 8;
    this.#cipher = cipher;
    if (cipher !== null) Object.assign(this, cipher, { transformUnit: 512 });
  }

  blockInfo(): BlockDriverInfo {
    return { clusterSize: this.clusterSize, ...(this.#cipher === null ? {} : { encrypted: true }) };
  }

  // ---- entries ----

  protected override readL1(page: EntryPage, slot: number): number {
    const offset = readU64BE(page.view, slot * 8);
    if (page.view.getUint32(slot * 8) >= 0x80000000)
      throw this.error("L2 table offset is beyond 2^63 bytes", page.offset + slot * 8);
    // A table behind the end of the file reads as zeros, which is the same as none.
    return offset < this.file.size ? offset : 0;
  }
  protected override writeL1(page: EntryPage, slot: number, offset: number): void {
    writeU64BE(page.view, slot * 8, offset);
  }
  protected override readL2(page: EntryPage, slot: number, into: Cluster): void {
    const hi = page.view.getUint32(slot * 8);
    const lo = page.view.getUint32(slot * 8 + 4);
    into.length = 0;
    if (hi === 0 && lo === 0) {
      into.kind = "unallocated";
      into.host = -1;
    } else if (hi >= 0x80000000) {
      // Bit 63, then the length in as many bits as a cluster has, then the offset.
      const shift = 31 - this.#clusterBits;
      into.kind = "compressed";
      into.length = (hi & 0x7fffffff) >>> shift;
      into.host = fromHiLo(hi & ((1 << shift) - 1), lo);
    } else {
      into.kind = "data";
      into.host = fromHiLo(hi, lo);
      if (!Number.isFinite(into.host) || into.host % 512 !== 0)
        throw this.error("Cluster offset is not a multiple of 512", page.offset + slot * 8);
    }
    if (!Number.isFinite(into.host)) throw this.error("Cluster offset is beyond 2^53 bytes", page.offset + slot * 8);
  }
  protected override writeL2(page: EntryPage, slot: number, cluster: Cluster): void {
    if (cluster.kind !== "compressed") {
      writeU64BE(page.view, slot * 8, cluster.host);
      return;
    }
    const shift = 31 - this.#clusterBits;
    page.view.setUint32(slot * 8, (0x80000000 | (cluster.length << shift) | hi32(cluster.host)) >>> 0);
    page.view.setUint32(slot * 8 + 4, lo32(cluster.host));
  }

  protected override firstFree(fileSize: number): number {
    return Math.max(fileSize, this.l1.offset + this.#l1Bytes);
  }
  /** A damaged entry must not make a write destroy the header or the L1 table. */
  protected override checkWritable(host: number): void {
    const tableEnd = this.l1.offset + this.#l1Bytes;
    if (host < 48 || (host < tableEnd && host + this.clusterSize > this.l1.offset))
      throw this.error(`Data cluster at ${host} lies inside the image's tables`, host);
  }

  // ---- compressed clusters ----

  *readSpecial(extent: SpecialExtent, at: number, into: Uint8Array): Op<void> {
    const within = at % this.clusterSize;
    if (this.#keptHost !== extent.host || this.#kept === null) {
      const packed = new Uint8Array(extent.aux);
      yield* readPadded(this.file, packed, extent.host);
      const plain = new Uint8Array(this.clusterSize);
      yield* this.#decompress(packed, plain, extent.host);
      this.#kept = plain;
      this.#keptHost = extent.host;
      into.set(plain.subarray(within, within + into.length));
      return;
    }
    into.set(this.#kept.subarray(within, within + into.length));
  }

  *#decompress(packed: Uint8Array, plain: Uint8Array, host: number): Op<void> {
    const { sync: now, async: later } = this.node.environment.codecs.decompressor("deflate");
    try {
      yield* foreign(
        "Decompressing deflate",
        now === null ? null : () => now(packed, plain),
        now === null && later !== null ? () => later(packed, plain) : null,
      );
    } catch (error) {
      throw new BlockError("ERR_CORRUPT", `Decompressing the cluster at offset ${host} failed: ${(error as Error).message}`, {
        errno: "EIO",
        node: this.node.nodeName,
        offset: host,
        cause: error,
      });
    }
  }

  /** `bytes` is one cluster, or what there is of the last one. The caller holds the lease of the range. */
  *writeCompressed(bytes: Uint8Array, offset: number): Op<void> {
    if (this.#cipher !== null) {
      throw new BlockError("ERR_UNSUPPORTED", "Compression and encryption not supported at the same time", {
        errno: "ENOTSUP",
        node: this.node.nodeName,
      });
    }
    let cluster = bytes;
    if (bytes.length < this.clusterSize) {
      cluster = new Uint8Array(this.clusterSize);
      cluster.set(bytes);
    }
    const { sync: now, async: later } = (this.#compressor ??= this.node.environment.codecs.compressor("deflate", {
      windowBits: 12,
    }));
    const limit = this.clusterSize - 1;
    const packed = yield* foreign(
      "Compressing with deflate",
      now === null ? null : () => now(cluster, limit),
      later === null ? null : () => later(cluster, limit),
    );
    if (packed === null) {
      yield* writeLeased(this.node, this, bytes, offset);
      return;
    }
    if (this.pages.isCrowded) yield* this.flush();
    let release = yield* this.lock.acquire();
    let host: number;
    try {
      host = yield* this.allocate(packed.length, 512);
    } finally {
      release();
    }
    if (host + packed.length >= 2 ** (63 - this.#clusterBits))
      throw new BlockError("ERR_NO_SPACE", "The image cannot hold more compressed clusters", { node: this.node.nodeName });
    yield* writeGrow(this.file, packed, host);
    release = yield* this.lock.acquire();
    try {
      yield* this.setCluster(offset, { kind: "compressed", host, length: packed.length });
    } finally {
      release();
    }
  }

  /** Forgets all clusters: the image shows its backing file again. */
  *makeEmpty(): Op<void> {
    const release = yield* this.lock.acquire();
    try {
      this.pages.dropAll();
      this.#keptHost = -1;
      const zeros = new Uint8Array(Math.min(65536, this.#l1Bytes));
      for (let at = 0; at < this.#l1Bytes; at += zeros.length) {
        yield* writeGrow(this.file, zeros.subarray(0, Math.min(zeros.length, this.#l1Bytes - at)), this.l1.offset + at);
      }
      yield* flush(this.file);
      yield* truncate(this.file, this.l1.offset + this.#l1Bytes, { preallocation: "off" });
      this.resetAllocation();
    } finally {
      release();
    }
  }
}
