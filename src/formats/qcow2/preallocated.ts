/** Whether an image was made with preallocated metadata: its tables then point at clusters that are holes of the file. */
import type { Op } from "../../block/op.js";
import { storageCan, StorageRequest } from "../../block/op.js";
import type { Qcow2 } from "./image.js";
import { usesAtLeast } from "./refcount-survey.js";

/** As QEMU decides it: noticeably more clusters have a reference than the file occupies space for. */
export function* hasPreallocatedMetadata(image: Qcow2): Op<boolean> {
  const impl = image.file.impl;
  if (image.hasDataFile || impl.shape !== "storage" || !storageCan(impl.storage, "allocatedSize")) return false;
  const occupied = (yield new StorageRequest(impl.storage, "allocatedSize")) as number | null;
  if (occupied === null) return false;
  const clusters = Math.ceil(image.file.size / image.clusterSize);
  const real = Math.floor(occupied / image.clusterSize);
  const threshold = Math.max(Math.floor((real * 10) / 9), real + 2);
  if (clusters < threshold) return false;
  const release = yield* image.lock.acquire();
  try {
    return yield* usesAtLeast(image, threshold, clusters);
  } finally {
    release();
  }
}
