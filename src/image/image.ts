/** An open image, for callers with promises: what `open` of every entry returns. */
import { discard, flush, write, writeZeroes } from "../block/io.js";
import { runAsync } from "../block/op.js";
import type { SnapshotInfo } from "../block/types.js";
import { changing, checkBytes, checkOptions, checkSize, RESIZE, WRITE_ZEROES } from "./arguments.js";
import { camelize, type Camelized } from "./camel.js";
import { checkReport, type ImageCheckOptions, type ImageCheckReport } from "./check-report.js";
import { ImageReader } from "./reader.js";
import { resizeImage, type ResizeOptions } from "./resize.js";
import { applySnapshot, createSnapshot, listSnapshots, removeSnapshot } from "./snapshot.js";

/** Offsets and lengths are bytes; everything throws `BlockError`. */
export class Image extends ImageReader {
  async write(from: Uint8Array, offset: number): Promise<void> {
    checkBytes(from);
    await runAsync(changing(this.node, write(this.node, from, offset)));
  }

  /** @param options.unmap give the space back */
  async writeZeroes(offset: number, length: number, options: { unmap?: boolean } = {}): Promise<void> {
    checkOptions("writeZeroes", options, WRITE_ZEROES);
    await runAsync(changing(this.node, writeZeroes(this.node, offset, length, { mayUnmap: options.unmap === true })));
  }

  /** The range is not needed any more; a hint. */
  discard(offset: number, length: number): Promise<void> {
    return runAsync(changing(this.node, discard(this.node, offset, length)));
  }

  flush(): Promise<void> {
    return runAsync(flush(this.node));
  }

  /** @param options.shrink giving away what is at the end must be wanted */
  async resize(size: number, options: ResizeOptions = {}): Promise<void> {
    checkSize(size);
    checkOptions("resize", options, RESIZE);
    await runAsync(changing(this.node, resizeImage(this.node, size, options)));
  }

  get snapshots(): readonly Camelized<SnapshotInfo>[] {
    return camelize(listSnapshots(this.node));
  }
  /** Takes an internal snapshot. @throws BlockError ERR_UNSUPPORTED for formats without */
  createSnapshot(name: string): Promise<void> {
    return runAsync(changing(this.node, createSnapshot(this.node, name, this.node.environment.now())));
  }
  /** Goes back to the snapshot with this ID or else this name; all that was written since is gone. */
  applySnapshot(idOrName: string): Promise<void> {
    return runAsync(changing(this.node, applySnapshot(this.node, idOrName)));
  }
  /** Deletes the first snapshot of this name. */
  deleteSnapshot(name: string): Promise<void> {
    return runAsync(changing(this.node, removeSnapshot(this.node, name)));
  }

  /** Consistency of the image's metadata. @throws BlockError ERR_UNSUPPORTED for formats that have no checks */
  check(options: ImageCheckOptions = {}): Promise<ImageCheckReport> {
    return runAsync(checkReport(this.node, options));
  }
}
