/// <reference lib="esnext.disposable" preserve="true" />
/** An open image over synchronous storages (OPFS handles, memory, local files): every call returns at once. */
import { discard, flush, read, write, writeZeroes } from "../block/io.js";
import type { Node } from "../block/node.js";
import { runSync } from "../block/op.js";
import type { ImageInfo, MapEntry, SnapshotInfo } from "../block/types.js";
import {
  changing,
  checkBytes,
  checkLength,
  checkOptions,
  checkSize,
  EXTENTS,
  RESIZE,
  spanOf,
  WRITE_ZEROES,
} from "./arguments.js";
import { camelize, type Camelized } from "./camel.js";
import { checkReport, type ImageCheckOptions, type ImageCheckReport } from "./check-report.js";
import { imageInfo } from "./info.js";
import { mapImage } from "./map.js";
import { resizeImage, type ResizeOptions } from "./resize.js";
import type { AbortLike } from "./signal.js";
import { applySnapshot, createSnapshot, listSnapshots, removeSnapshot } from "./snapshot.js";

export class SyncImage {
  readonly node: Node;
  #closed = false;

  constructor(node: Node) {
    this.node = node;
  }

  get format(): string {
    return this.node.driver.name;
  }
  get size(): number {
    return this.node.size;
  }
  get name(): string {
    return this.node.filename;
  }
  get readOnly(): boolean {
    return this.node.readOnly;
  }

  read(offset: number, length: number): Uint8Array {
    checkLength(this.node, offset, length);
    const bytes = new Uint8Array(length);
    runSync(read(this.node, bytes, offset));
    return bytes;
  }
  readInto(into: Uint8Array, offset: number): void {
    checkBytes(into);
    runSync(read(this.node, into, offset));
  }
  write(from: Uint8Array, offset: number): void {
    checkBytes(from);
    runSync(changing(this.node, write(this.node, from, offset)));
  }
  writeZeroes(offset: number, length: number, options: { unmap?: boolean } = {}): void {
    checkOptions("writeZeroes", options, WRITE_ZEROES);
    runSync(changing(this.node, writeZeroes(this.node, offset, length, { mayUnmap: options.unmap === true })));
  }
  discard(offset: number, length: number): void {
    runSync(changing(this.node, discard(this.node, offset, length)));
  }
  flush(): void {
    runSync(flush(this.node));
  }
  resize(size: number, options: ResizeOptions = {}): void {
    checkSize(size);
    checkOptions("resize", options, RESIZE);
    runSync(changing(this.node, resizeImage(this.node, size, options)));
  }
  get snapshots(): readonly Camelized<SnapshotInfo>[] {
    return camelize(listSnapshots(this.node));
  }
  createSnapshot(name: string): void {
    runSync(changing(this.node, createSnapshot(this.node, name, this.node.environment.now())));
  }
  applySnapshot(idOrName: string): void {
    runSync(changing(this.node, applySnapshot(this.node, idOrName)));
  }
  deleteSnapshot(name: string): void {
    runSync(changing(this.node, removeSnapshot(this.node, name)));
  }
  info(): Camelized<ImageInfo> {
    return camelize(runSync(imageInfo(this.node)));
  }
  extents(options: { from?: number; to?: number; signal?: AbortLike } = {}): MapEntry[] {
    const entries: MapEntry[] = [];
    checkOptions("extents", options, EXTENTS);
    const { start, end } = spanOf(this.node, options.from, options.to);
    if (end > start)
      runSync(mapImage(this.node, (entry) => entries.push(entry), { start, length: end - start, signal: options.signal }));
    return entries;
  }
  check(options: ImageCheckOptions = {}): ImageCheckReport {
    return runSync(checkReport(this.node, options));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    runSync(this.node.unref());
  }
  [Symbol.dispose](): void {
    this.close();
  }
}
