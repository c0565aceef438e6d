/** write-zeroes and discard: changes of the tables only. */
import { BlockError } from "../../base/error.js";
import { alignUp } from "../../base/int.js";
import type { WriteFlags } from "../../block/driver.js";
import { discard, writeZeroes } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { type Entry, readEntry, sliceForRead, sliceForWrite, writeEntry } from "./entries.js";
import type { Qcow2 } from "./image.js";
import { Autoclear } from "./layout.js";
import { releaseEntry } from "./write.js";

/** Guest range aligned to (sub)clusters or reaching the end of the image. */
export function* zeroRange(image: Qcow2, offset: number, length: number, flags: WriteFlags): Op<void> {
  if (image.header.version < 3) {
    // What is not allocated reads as zeros where there is no backing file.
    if (image.node.backing === null && image.header.backingFile === null) {
      yield* discardRange(image, offset, length);
      return;
    }
    throw new BlockError("ERR_UNSUPPORTED", "Version 2 images have no zero clusters", { errno: "ENOTSUP" });
  }
  const release = yield* image.lock.acquire();
  try {
    yield* image.markCorrupt();
    yield* image.beginModifying();
    if (image.hasDataFile && (image.header.autoclear.lo & Autoclear.rawDataFile) !== 0) {
      // The raw file must read as the guest does.
      const end = Math.min(offset + length, image.dataFile.size);
      if (end > offset) yield* writeZeroes(image.dataFile, offset, end - offset, flags);
    }
    const end = alignUp(offset + length, image.subclusterSize);
    let at = offset;
    while (at < end) {
      const stop = Math.min(end, at - (at % image.clusterSize) + image.clusterSize);
      const pointer = yield* sliceForWrite(image, at);
      const index = image.sliceIndex(at);
      const old = readEntry(image, pointer, index);
      if (stop - at === image.clusterSize) zeroCluster(image, pointer, index, old, flags.mayUnmap === true);
      else if (old.kind !== "compressed") zeroSubclusters(image, pointer, index, old, at, stop);
      else
        throw new BlockError("ERR_UNSUPPORTED", "Subclusters of a compressed cluster cannot be zeroed alone", {
          errno: "ENOTSUP",
        });
      at = stop;
    }
  } finally {
    release();
  }
}

function zeroCluster(image: Qcow2, pointer: number, index: number, old: Entry, mayUnmap: boolean): void {
  const placed = old.kind !== "compressed" && (old.host !== 0 || (image.hasDataFile && old.copied));
  if (placed && !(mayUnmap && !image.options.discardNoUnref)) {
    if (old.kind === "zero-allocated" && (!image.extended || old.zeros === 0xffffffff)) return;
    writeEntry(image, pointer, index, { host: old.host, copied: old.copied, zero: true, allocated: 0, zeros: 0xffffffff });
    return;
  }
  if (old.kind === "zero-plain" && !(image.extended && old.zeros !== 0xffffffff)) return;
  writeEntry(image, pointer, index, { host: 0, copied: false, zero: true, allocated: 0, zeros: 0xffffffff });
  releaseEntry(image, old, "request");
}

function zeroSubclusters(image: Qcow2, pointer: number, index: number, old: Entry, at: number, stop: number): void {
  const first = (at % image.clusterSize) / image.subclusterSize;
  const count = Math.ceil((stop - at) / image.subclusterSize);
  const mask = (((count >= 32 ? 0xffffffff : (1 << count) - 1) << first) & 0xffffffff) >>> 0;
  writeEntry(image, pointer, index, {
    host: old.host,
    copied: old.copied,
    allocated: (old.allocated & ~mask) >>> 0,
    zeros: (old.zeros | mask) >>> 0,
  });
}

/** Guest range aligned to clusters or reaching the end of the image. */
export function* discardRange(image: Qcow2, offset: number, length: number): Op<void> {
  const hasBacking = image.node.backing !== null || image.header.backingFile !== null;
  // Version 2 cannot hide the backing file: old content would come back in place of the discarded.
  if (image.header.version < 3 && hasBacking) return;
  const release = yield* image.lock.acquire();
  try {
    yield* image.markCorrupt();
    yield* image.beginModifying();
    const end = alignUp(offset + length, image.clusterSize);
    let at = offset;
    while (at < end) {
      const l2 = image.l2Offset(image.l1Index(at));
      if (l2 === 0 && !hasBacking) {
        at = Math.min(end, (image.l1Index(at) + 1) * image.l2Coverage);
        continue;
      }
      yield* discardCluster(image, at, hasBacking);
      at += image.clusterSize;
    }
  } finally {
    release();
  }
}

function* discardCluster(image: Qcow2, at: number, hasBacking: boolean): Op<void> {
  const before = yield* sliceForRead(image, at);
  const looked = before < 0 ? null : readEntry(image, before, image.sliceIndex(at));
  // Nothing here, or zeros without space: as it should be.
  if (looked === null || looked.kind === "unallocated") {
    if (!hasBacking) return;
  } else if (looked.kind === "zero-plain" && !(image.extended && looked.zeros !== 0xffffffff)) return;
  const pointer = yield* sliceForWrite(image, at);
  const index = image.sliceIndex(at);
  const old = readEntry(image, pointer, index);
  const own = old.kind !== "compressed" && old.copied && (old.host !== 0 || image.hasDataFile);
  if (image.header.version < 3) {
    writeEntry(image, pointer, index, { host: 0, copied: false });
  } else if (own && image.options.discardNoUnref) {
    writeEntry(image, pointer, index, { host: old.host, copied: true, zero: true, allocated: 0, zeros: 0xffffffff });
    if (image.options.passDiscardRequest) yield* passToFile(image, old.host);
    return;
  } else {
    writeEntry(image, pointer, index, { host: 0, copied: false, zero: true, allocated: 0, zeros: 0xffffffff });
  }
  releaseEntry(image, old, "request");
  if (image.hasDataFile && own && image.options.passDiscardRequest) yield* passToFile(image, old.host);
}

function* passToFile(image: Qcow2, host: number): Op<void> {
  const length = Math.min(image.clusterSize, image.dataFile.size - host);
  if (length > 0) yield* discard(image.dataFile, host, length);
}
