/** Checking a QED image: every table and cluster has one owner, and all of them lie where they may. */
import { readU64LE, writeU64LE } from "../../base/bytes.js";
import { divCeil } from "../../base/int.js";
import type { Op } from "../../block/op.js";
import type { CheckOptions, ImageCheck } from "../../block/types.js";
import { PAGE_ENTRIES, type EntryTable } from "../shared/entry-pages.js";
import { isClusterOffset, isTableOffset, usableSize } from "./header.js";
import type { Qed } from "./image.js";

/** One bit per cluster, with memory only for the stretches that have any. */
class ClusterSet {
  readonly #parts = new Map<number, Uint8Array>();
  count = 0;

  /** Adds a cluster; false when it was in the set. */
  add(cluster: number): boolean {
    const key = Math.floor(cluster / 32768);
    let part = this.#parts.get(key);
    if (part === undefined) this.#parts.set(key, (part = new Uint8Array(4096)));
    const bit = cluster % 32768;
    const mask = 1 << (bit & 7);
    if ((part[bit >>> 3]! & mask) !== 0) return false;
    part[bit >>> 3]! |= mask;
    this.count++;
    return true;
  }
}

class QedCheck {
  readonly image: Qed;
  readonly options: CheckOptions;
  readonly used = new ClusterSet();
  readonly fileSize: number;
  corruptions = 0;
  fixed = 0;
  leaks = 0;
  allocated = 0;
  fragmented = 0;

  constructor(image: Qed, options: CheckOptions) {
    this.image = image;
    this.options = options;
    this.fileSize = image.imageFile.size;
  }
  get fix(): boolean {
    return this.options.fix === "all";
  }

  /** Marks clusters as used; false when one of them had an owner already (each is a corruption that cannot be fixed). */
  claim(offset: number, clusters: number, what: string): boolean {
    const first = offset / this.image.clusterSize;
    let shared = 0;
    for (let i = 0; i < clusters; i++) if (!this.used.add(first + i)) shared++;
    this.corruptions += shared;
    if (shared > 0)
      this.options.report({
        severity: "corruption",
        text: `ERROR ${what} at offset 0x${offset.toString(16)} is used more than once`,
        offset,
      });
    return shared === 0;
  }

  /** An entry that points nowhere: removed when fixing. */
  badEntry(text: string, offset: number): void {
    this.options.report({
      severity: this.fix ? "repair" : "corruption",
      text: `${this.fix ? "Repairing" : "ERROR"} ${text}`,
      offset,
    });
    if (this.fix) this.fixed++;
    else this.corruptions++;
  }

  *run(): Op<void> {
    const { header, tables } = this.image;
    this.claim(header.l1Offset, header.tableClusters, "L1 table");
    const { pages, l1 } = tables;
    for (let index = 0; index < l1.entries; index++) {
      let page = yield* pages.ensure(l1, index);
      const slot = index % PAGE_ENTRIES;
      const offset = readU64LE(page.view, slot * 8);
      if (slot === 0) this.options.progress?.(index, l1.entries);
      if (offset === 0) continue;
      if (isTableOffset(header, offset, this.fileSize)) {
        // A table that two entries share is looked at once: which of them it belongs to nobody can tell.
        if (this.claim(offset, header.tableClusters, "L2 table")) yield* this.l2(tables.l2(offset));
        continue;
      }
      this.badEntry(`L1 entry ${index}: invalid L2 table offset`, page.offset + slot * 8);
      if (!this.fix) continue;
      page = yield* pages.ensure(l1, index);
      writeU64LE(page.view, slot * 8, 0);
      pages.markDirty(page, slot);
    }
    const clusters = usableSize(this.image.clusterSize, this.fileSize) / this.image.clusterSize;
    if (this.corruptions === 0) this.leaks = Math.max(0, clusters - header.headerClusters - this.used.count);
  }

  *l2(table: EntryTable): Op<void> {
    const { header, tables, clusterSize } = this.image;
    let last = 0;
    for (let index = 0; index < table.entries; index++) {
      const page = yield* tables.pages.ensure(table, index);
      const slot = index % PAGE_ENTRIES;
      const offset = readU64LE(page.view, slot * 8);
      if (offset === 0 || offset === 1) continue;
      this.allocated++;
      if (last !== 0 && last + clusterSize !== offset) this.fragmented++;
      last = offset;
      if (isClusterOffset(header, offset, this.fileSize)) {
        this.claim(offset, 1, "cluster");
        continue;
      }
      this.badEntry(
        `L2 entry ${index} of the table at 0x${table.offset.toString(16)}: invalid cluster offset`,
        page.offset + slot * 8,
      );
      if (this.fix) {
        writeU64LE(page.view, slot * 8, 0);
        tables.pages.markDirty(page, slot);
      }
    }
  }
}

export function* checkQed(image: Qed, options: CheckOptions): Op<ImageCheck> {
  // What is on disk is looked at, and nothing else.
  if (!image.node.readOnly) yield* image.flush();
  const check = new QedCheck(image, options);
  yield* check.run();
  if (check.fix) {
    yield* image.flush();
    if (check.corruptions === 0) yield* image.markClean();
  }
  return {
    filename: "",
    format: "qed",
    "check-errors": 0,
    "total-clusters": divCeil(image.header.size, image.clusterSize),
    "allocated-clusters": check.allocated,
    "fragmented-clusters": check.fragmented,
    ...(check.corruptions > 0 ? { corruptions: check.corruptions } : {}),
    ...(check.leaks > 0 ? { leaks: check.leaks } : {}),
    ...(check.fixed > 0 ? { "corruptions-fixed": check.fixed } : {}),
  };
}
