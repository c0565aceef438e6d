/** Ranges of a node that are to read as zeros, and ranges that are not needed any more; the checks are in `io.ts`. */
import { BlockError, errnoError } from "../base/error.js";
import { alignDown, alignUp } from "../base/int.js";
import type { MappedImpl, WriteFlags } from "./driver.js";
import { ExtentKind } from "./extent.js";
import type { Node } from "./node.js";
import { storageCan, StorageRequest, type Op } from "./op.js";
import { giveList, readBytes, takeList } from "./read.js";
import { NO_FLAGS, writeLeased, writeUnchecked, ZERO_CHUNK, zeroChunk } from "./write.js";

export function* zeroUnchecked(node: Node, offset: number, length: number, flags: WriteFlags): Op<void> {
  const impl = node.impl;
  const unit = impl.shape === "mapped" ? (impl.zeroUnit ?? impl.allocationUnit) : 1;
  const can = impl.shape === "storage" ? storageCan(impl.storage, "writeZeroes") : impl.writeZeroes !== undefined;
  if (!can) {
    if (flags.noFallback) throw errnoError("ENOTSUP", undefined, { node: node.nodeName });
    yield* writeZeroBytes(node, offset, length);
  } else {
    const end = offset + length;
    const first = Math.min(alignUp(offset, unit), end);
    const last = end === node.size ? end : Math.max(first, alignDown(end, unit));
    if (first > offset) yield* zeroPart(node, offset, first - offset, flags);
    if (last > first) yield* zeroAligned(node, first, last - first, unit, flags);
    if (end > last) yield* zeroPart(node, last, end - last, flags);
  }
}

/** A piece smaller than the format's unit. When the rest of its unit is zero already the whole unit can become zero. */
function* zeroPart(node: Node, offset: number, length: number, flags: WriteFlags): Op<void> {
  const impl = node.impl;
  if (impl.shape !== "mapped") {
    if (flags.noFallback) throw errnoError("ENOTSUP", undefined, { node: node.nodeName });
    yield* writeZeroBytes(node, offset, length);
    return;
  }
  const unit = impl.zeroUnit ?? impl.allocationUnit;
  const start = alignDown(offset, unit);
  const end = Math.min(start + unit, node.size);
  // One lease from the look at the neighbours to the change: a write between them would be lost.
  const lease = yield* node.requests.acquire(start, end - start, Math.max(unit, impl.allocationUnit));
  try {
    if ((yield* isZeroRange(node, start, offset - start)) && (yield* isZeroRange(node, offset + length, end - offset - length))) {
      try {
        yield* impl.writeZeroes!(start, end - start, flags);
        return;
      } catch (error) {
        if (flags.noFallback || !(error instanceof BlockError) || error.code !== "ERR_UNSUPPORTED") throw error;
      }
    }
    if (flags.noFallback) throw errnoError("ENOTSUP", undefined, { node: node.nodeName });
    yield* writeZerosLeased(node, impl, offset, length);
  } finally {
    node.requests.release(lease);
  }
}

/** Zeros written as data by one who holds the lease of the range. */
function* writeZerosLeased(node: Node, impl: MappedImpl, offset: number, length: number): Op<void> {
  const unit = impl.transformUnit ?? 1;
  const start = alignDown(offset, unit);
  const end = Math.min(alignUp(offset + length, unit), alignUp(impl.size, unit));
  if (start !== offset || end !== offset + length) {
    const bounce = yield* readBytes(node, start, end - start);
    bounce.fill(0, offset - start, offset - start + length);
    yield* writeLeased(node, impl, bounce, start);
    return;
  }
  for (let at = 0; at < length;) {
    const n = Math.min(ZERO_CHUNK, length - at);
    yield* writeLeased(node, impl, zeroChunk(n), offset + at);
    at += n;
  }
}

/** Whether a range is known to read as zeros from the map alone (no data is read). */
function* isZeroRange(node: Node, offset: number, length: number): Op<boolean> {
  if (length <= 0) return true;
  const impl = node.impl;
  if (impl.shape !== "mapped") return false;
  const list = takeList();
  try {
    let at = offset;
    while (at < offset + length) {
      list.clear();
      const miss = impl.map(at, offset + length - at, list);
      for (let i = 0; i < list.count; i++) {
        const extent = list.at(i);
        if (extent.kind === ExtentKind.zero) continue;
        if (extent.kind !== ExtentKind.unallocated) return false;
        const backing = node.backing;
        if (backing === null || extent.start >= backing.size) continue;
        const inBacking = Math.min(extent.length, backing.size - extent.start);
        if (!(yield* isZeroRange(backing, extent.start, inBacking))) return false;
      }
      at = list.end < 0 ? at : list.end;
      if (miss !== null) yield* impl.load(miss);
    }
    return true;
  } finally {
    giveList(list);
  }
}

function* zeroAligned(node: Node, offset: number, length: number, unit: number, flags: WriteFlags): Op<void> {
  const impl = node.impl;
  try {
    if (impl.shape === "storage") {
      yield new StorageRequest(impl.storage, "writeZeroes", offset, length, undefined, {
        mayUnmap: flags.mayUnmap === true,
        noFallback: flags.noFallback === true,
      });
      if (offset + length > impl.size) impl.size = offset + length;
      return;
    }
    if (impl.shape === "intercept") {
      yield* impl.writeZeroes!(offset, length, flags);
      return;
    }
    const lease = yield* node.requests.acquire(offset, length, Math.max(unit, impl.allocationUnit));
    try {
      yield* impl.writeZeroes!(offset, length, flags);
    } finally {
      node.requests.release(lease);
    }
  } catch (error) {
    if (flags.noFallback || !(error instanceof BlockError) || error.code !== "ERR_UNSUPPORTED") throw error;
    yield* writeZeroBytes(node, offset, length);
  }
}

function* writeZeroBytes(node: Node, offset: number, length: number): Op<void> {
  for (let at = 0; at < length;) {
    const n = Math.min(ZERO_CHUNK, length - at);
    yield* writeUnchecked(node, zeroChunk(n), offset + at, NO_FLAGS);
    at += n;
  }
}

export function* discardUnchecked(node: Node, offset: number, length: number): Op<void> {
  const impl = node.impl;
  if (impl.shape === "storage") {
    if (!storageCan(impl.storage, "discard")) return;
    try {
      yield new StorageRequest(impl.storage, "discard", offset, length);
    } catch (error) {
      if (!(error instanceof BlockError) || error.code !== "ERR_UNSUPPORTED") throw error;
    }
    return;
  }
  if (impl.discard === undefined) return;
  if (impl.shape === "intercept") {
    yield* impl.discard(offset, length);
    return;
  }
  const unit = impl.discardUnit ?? impl.allocationUnit;
  const start = alignUp(offset, unit);
  const end = offset + length === node.size ? node.size : alignDown(offset + length, unit);
  if (end <= start) return;
  const lease = yield* node.requests.acquire(start, end - start, Math.max(unit, impl.allocationUnit));
  try {
    yield* impl.discard(start, end - start);
  } finally {
    node.requests.release(lease);
  }
}
