/** Saved VM state of the active layer: mapped like guest data, at offsets behind the guest disk. */
import { allocate } from "../../base/allocate.js";
import { alignDown, alignUp, divCeil } from "../../base/int.js";
import type { MappedImpl, Miss } from "../../block/driver.js";
import { ExtentKind, ExtentList } from "../../block/extent.js";
import { debugEvent } from "../../block/debug.js";
import { readPadded, writeLeased } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import type { Qcow2 } from "./image.js";
import { mapRange, loadMiss } from "./map.js";
import { dropBehind, growL1 } from "./resize.js";

/** Where VM state begins: at the first L1 entry that the guest disk does not use. */
export function vmStateOffset(image: Qcow2): number {
  return divCeil(image.size, image.l2Coverage) * image.l2Coverage;
}

/** Appends the extents of [offset, offset+length) of the VM state; they carry offsets behind the disk. */
export function mapVmState(image: Qcow2, offset: number, length: number, out: ExtentList): Miss | null {
  return mapRange(image, vmStateOffset(image) + offset, length, out);
}

/** Stores `bytes` at `offset` of the VM state, in whole clusters: what a snapshot shares is read before it is written anew. */
export function* writeVmState(image: Qcow2, impl: MappedImpl, bytes: Uint8Array, offset: number): Op<void> {
  const start = vmStateOffset(image);
  const from = alignDown(offset, image.clusterSize);
  const to = alignUp(offset + bytes.length, image.clusterSize);
  if (to === from) return;
  yield* debugEvent(image.file, "vmstate_save");
  const release = yield* image.lock.acquire();
  try {
    yield* image.markCorrupt();
    yield* image.beginModifying();
    yield* growL1(image, divCeil(start + to, image.l2Coverage));
  } finally {
    release();
  }
  const lease = yield* image.node.requests.acquire(start + from, to - from, image.clusterSize);
  try {
    const whole = allocate(to - from);
    if (offset > from) yield* readVmState(image, impl, whole.subarray(0, image.clusterSize), from);
    const last = to - image.clusterSize;
    if (offset + bytes.length < to && (last > from || offset === from))
      yield* readVmState(image, impl, whole.subarray(last - from), last);
    whole.set(bytes, offset - from);
    yield* writeLeased(image.node, impl, whole, start + from);
  } finally {
    image.node.requests.release(lease);
  }
}

function* readVmState(image: Qcow2, impl: MappedImpl, into: Uint8Array, offset: number): Op<void> {
  const list = new ExtentList();
  for (let at = 0; at < into.length;) {
    list.clear();
    const miss = mapVmState(image, offset + at, into.length - at, list);
    for (let i = 0; i < list.count; i++) {
      const { kind, file, host, length, start } = list.at(i);
      const part = into.subarray(at, at + length);
      if (kind === ExtentKind.data) {
        yield* readPadded(file!, part, host);
        if (impl.decrypt !== undefined) yield* impl.decrypt(part, start, host);
      } else {
        part.fill(0);
      }
      at += part.length;
    }
    if (miss !== null) yield* loadMiss(image, miss);
  }
}

/** Forgets the VM state of the active layer. */
export function* dropVmState(image: Qcow2): Op<void> {
  const release = yield* image.lock.acquire();
  try {
    yield* dropBehind(image, vmStateOffset(image));
    yield* image.flushLocked();
  } finally {
    release();
  }
}
