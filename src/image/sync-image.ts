/// <reference lib="esnext.disposable" preserve="true" />
/** An open image over synchronous storages (OPFS handles, memory, local files): every call returns at once. */
import { discard, flush, read, write, writeZeroes } from "../block/io.js";
import type { Node } from "../block/node.js";
import { runSync } from "../block/op.js";
import type { ImageCheck, ImageInfo, MapEntry, SnapshotInfo } from "../block/types.js";
import { camelize, type Camelized } from "./camel.js";
import { checkImage, type CheckImageOptions } from "./check.js";
import { imageInfo } from "./info.js";
import { mapImage } from "./map.js";
import { resizeImage, type ResizeOptions } from "./resize.js";
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
    const bytes = new Uint8Array(length);
    runSync(read(this.node, bytes, offset));
    return bytes;
  }
  readInto(into: Uint8Array, offset: number): void {
    runSync(read(this.node, into, offset));
  }
  write(from: Uint8Array, offset: number): void {
    runSync(write(this.node, from, offset));
  }
  writeZeroes(offset: number, length: number, options: { unmap?: boolean } = {}): void {
    runSync(writeZeroes(this.node, offset, length, { mayUnmap: options.unmap === true }));
  }
  discard(offset: number, length: number): void {
    runSync(discard(this.node, offset, length));
  }
  flush(): void {
    runSync(flush(this.node));
  }
  resize(size: number, options: ResizeOptions = {}): void {
    runSync(resizeImage(this.node, size, options));
  }
  get snapshots(): readonly SnapshotInfo[] {
    return listSnapshots(this.node);
  }
  createSnapshot(name: string): void {
    runSync(createSnapshot(this.node, name, this.node.environment.now()));
  }
  applySnapshot(idOrName: string): void {
    runSync(applySnapshot(this.node, idOrName));
  }
  deleteSnapshot(name: string): void {
    runSync(removeSnapshot(this.node, name));
  }
  info(): Camelized<ImageInfo> {
    return camelize(runSync(imageInfo(this.node)));
  }
  extents(options: { from?: number; to?: number } = {}): MapEntry[] {
    const entries: MapEntry[] = [];
    const start = options.from ?? 0;
    runSync(
      mapImage(this.node, (entry) => entries.push(entry), { start, length: Math.max(0, (options.to ?? this.size) - start) }),
    );
    return entries;
  }
  check(options: CheckImageOptions = {}): Camelized<ImageCheck> {
    return camelize(runSync(checkImage(this.node, options)));
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
