/** From version 2 to 3 and back. */
import { BlockError } from "../../base/error.js";
import { viewOf } from "../../base/bytes.js";
import type { Op } from "../../block/op.js";
import { expandZeroClusters, hasCompressedClusters } from "./expand-zeros.js";
import type { Qcow2 } from "./image.js";
import { Incompatible } from "./layout.js";
import type { Progress } from "./replace-refcounts.js";
import { encodeSnapshotTable, NEEDED_EXTRA, readSnapshotTable, WITH_EXTRA } from "./snapshot-table.js";
import { placeFresh, writeFresh } from "./snapshot-tables.js";

const FEATURELESS = { hi: 0, lo: 0 };

/** The lock is held and nothing is dirty. */
export function* upgrade(image: Qcow2): Op<void> {
  const { header } = image;
  const { snapshots } = yield* readSnapshotTable(image.file, header);
  if (snapshots.some((snapshot) => viewOf(snapshot.bytes).getUint32(36) < NEEDED_EXTRA)) {
    // Version 2 programs read the longer entries, too: the table may be there before the version is.
    const bytes = encodeSnapshotTable(snapshots, WITH_EXTRA);
    const old = { offset: header.snapshotsOffset, length: image.options.snapshotTableSize };
    const offset = yield* placeFresh(image, bytes.length);
    yield* writeFresh(image, offset, bytes);
    yield* image.allocator.writeBack();
    yield* image.barrier();
    yield* image.updateHeader({ snapshotsOffset: offset, version: 3 });
    // In force from here on, though the barrier should fail.
    image.options.snapshotTableSize = bytes.length;
    if (old.length > 0) image.allocator.free(old.offset, old.length, "other");
    yield* image.barrier();
  } else {
    yield* image.updateHeader({ version: 3 });
    yield* image.barrier();
  }
  yield* image.flushLocked();
}

/** Refuses what version 2 cannot say, turns zero clusters into data, drops features. The lock is held and nothing is dirty. */
export function* downgrade(image: Qcow2, progress: Progress): Op<void> {
  const { header } = image;
  const unsupported = (message: string): BlockError =>
    new BlockError("ERR_UNSUPPORTED", message, { errno: "ENOTSUP", node: image.node.nodeName });
  if (header.refcountOrder !== 4) throw unsupported("compat=0.10 requires refcount_bits=16");
  if (image.hasDataFile) throw unsupported("Cannot downgrade an image with a data file");
  for (const { diskSize, vmStateSize } of (yield* readSnapshotTable(image.file, header)).snapshots) {
    if (vmStateSize > 0xffffffff || diskSize !== image.size) throw unsupported("Internal snapshots prevent downgrade of image");
  }
  if (image.isDirty) yield* image.clearDirty();
  if (header.compressionType === "zstd" && (yield* hasCompressedClusters(image))) {
    throw unsupported("Cannot downgrade an image with zstd compression type and existing compressed clusters");
  }
  const { hi, lo } = header.incompatible;
  const left = (lo & ~Incompatible.compression) >>> 0;
  if (hi !== 0 || left !== 0) {
    const text = hi === 0 ? left.toString(16) : hi.toString(16) + left.toString(16).padStart(8, "0");
    throw unsupported(`Cannot downgrade an image with incompatible features 0x${text} set`);
  }
  if (image.bitmaps !== null && image.bitmaps.count > 0) {
    image.node.environment.warn("Persistent dirty bitmaps are removed: version 2 images cannot have them");
    yield* image.bitmaps.removeAll();
    yield* image.flushLocked();
  }
  yield* expandZeroClusters(image, progress);
  yield* image.flushLocked();
  yield* image.updateHeader({
    version: 2,
    incompatible: FEATURELESS,
    compatible: FEATURELESS,
    autoclear: FEATURELESS,
    compressionType: "zlib",
  });
  yield* image.barrier();
}
