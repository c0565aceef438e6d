/**
 * THE chokepoint: every read and write of every node passes here, whatever the caller (API, CLI, QMP, job, format above).
 *
 * A read of a mapped node goes straight down: map → extents → per extent fill zeros, one storage read into the caller's
 * buffer, the backing node, or the format's `readSpecial`. A write plans with the format, moves its bytes, and commits.
 */
import { allocate } from "../base/allocate.js";
import { BlockError, errnoError } from "../base/error.js";
import { alignDown, alignUp } from "../base/int.js";
import type { InterceptImpl, MappedImpl, StorageImpl, TruncateOptions, WriteFlags, WritePiece } from "./driver.js";
import { ExtentKind } from "./extent.js";
import type { Node } from "./node.js";
import { parallel, storageCan, StorageRequest, type Op } from "./op.js";
import { checkRange, giveList, readBytes, readPadded, takeList } from "./read.js";

export { read, readBytes, readPadded } from "./read.js";

const NO_FLAGS: WriteFlags = {};
/** Zeros are written from a buffer of this many bytes where a medium cannot do better. */
const ZERO_CHUNK = 256 * 1024;
/** Copy-on-write heads and tails are merged with the guest's bytes into one host write up to this many bytes. */
const MERGE_LIMIT = 256 * 1024;
/** Larger ones are copied in pieces of this many bytes: the largest cluster of qcow2. A block of Parallels or VHD may have 2 GiB. */
const COPY_CHUNK = 2 * 1024 * 1024;

let zeros: Uint8Array | undefined;
const zeroChunk = (length: number): Uint8Array => (zeros ??= new Uint8Array(ZERO_CHUNK)).subarray(0, length);

function checkWritable(node: Node, operation: string): void {
  if (node.inactive?.write === true) {
    throw new BlockError("ERR_READ_ONLY", `Block node '${node.nodeName}' is inactive: its image may belong to another process`, {
      errno: "EPERM",
      node: node.nodeName,
      operation,
    });
  }
  if (node.readOnly) {
    throw new BlockError("ERR_READ_ONLY", `Block node is read-only`, { errno: "EPERM", node: node.nodeName, operation });
  }
}

// ---- writing ------------------------------------------------------------------------------------------------------

/** Writes `from` at guest offset `offset`; the range must lie inside the node. */
export function* write(node: Node, from: Uint8Array, offset: number, flags: WriteFlags = NO_FLAGS): Op<void> {
  checkWritable(node, "write");
  checkRange(node, offset, from.length, "write");
  if (from.length === 0) return;
  if (node.detectZeroes !== "off" && !flags.compressed && isAllZero(from)) {
    yield* writeZeroes(node, offset, from.length, { ...flags, mayUnmap: node.detectZeroes === "unmap" });
    return;
  }
  noteWrite(node, offset + from.length);
  yield* observed(node, offset, from.length, writeUnchecked(node, from, offset, flags));
  if (flags.fua || node.flags.writethrough) yield* flush(node);
}

/** A change of guest data, with those who want to hear of it before and after. */
function* observed(node: Node, offset: number, length: number, change: Op<void>): Op<void> {
  if (node.beforeWrite.size > 0) for (const hook of [...node.beforeWrite]) yield* hook(offset, length);
  try {
    yield* change;
  } finally {
    // Also those who began to listen while the change was under way.
    for (const listener of node.writeListeners) listener(offset, length);
  }
}

/** A write that may reach behind the end of a growing file: how formats write their own metadata and new clusters. */
export function* writeGrow(node: Node, from: Uint8Array, offset: number): Op<void> {
  checkWritable(node, "write");
  if (from.length === 0) return;
  if (offset + from.length > node.size) yield* extend(node, offset + from.length);
  noteWrite(node, offset + from.length);
  yield* writeUnchecked(node, from, offset, NO_FLAGS);
}

/** Before a write is made, so that whoever hears of it may still make room; one that fails counts, too. */
function noteWrite(node: Node, end: number): void {
  if (end > node.highestWrite) node.highestWrite = end;
  const threshold = node.writeThreshold;
  if (threshold === 0 || end <= threshold) return;
  node.writeThreshold = 0;
  node.environment.onEvent?.("BLOCK_WRITE_THRESHOLD", {
    "node-name": node.nodeName,
    "amount-exceeded": end - threshold,
    "write-threshold": threshold,
  });
}

/** Makes a file at least `size` bytes long before something is written there. */
function* extend(node: Node, size: number): Op<void> {
  const impl = node.impl;
  // A plain storage grows by the write itself.
  if (impl.shape === "storage" ? !impl.storage.fixedSize : impl.shape === "intercept" && impl.grows === true) return;
  const isFixed = impl.shape === "intercept" && impl.fixedSize === true;
  if (impl.shape !== "storage" && impl.truncate !== undefined && !isFixed) {
    yield* growTo(node, impl, size);
    return;
  }
  throw new BlockError("ERR_NO_SPACE", `'${node.filename}' cannot grow beyond ${node.size} bytes`, {
    node: node.nodeName,
    offset: size,
  });
}

/** Grows a node that may be growing already for another writer: it never shrinks what that one made. */
function* growTo(node: Node, impl: MappedImpl | InterceptImpl, size: number): Op<void> {
  const lease = yield* node.requests.acquire(Math.min(node.size, size), Number.MAX_SAFE_INTEGER - size, 1);
  try {
    if (node.size < size) yield* impl.truncate!(size, { preallocation: "off" });
  } finally {
    node.requests.release(lease);
    for (const bitmap of node.bitmaps) bitmap.resize(node.size);
  }
}

function* writeUnchecked(node: Node, from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
  const impl = node.impl;
  switch (impl.shape) {
    case "storage":
      if (flags.compressed) throw compressionUnsupported(node);
      yield* writeStorage(node, impl, from, offset);
      return;
    case "intercept": {
      if (impl.write === undefined) throw errnoError("ENOTSUP", undefined, { node: node.nodeName });
      const unit = impl.alignment ?? 1;
      if (unit > 1) yield* writeInUnits(node, unit, from, offset, (bytes, at) => impl.write!(bytes, at, flags));
      else yield* impl.write(from, offset, flags);
      return;
    }
    case "mapped":
      if (impl.compressedOnly ?? flags.compressed) yield* writeCompressed(node, impl, from, offset);
      else yield* writeMapped(node, impl, from, offset);
      return;
  }
}

/**
 * A write to a medium that takes whole units only. What the first and the last unit hold besides is read and written back, while
 * no other write to these units is under way.
 */
function* writeInUnits(
  node: Node,
  unit: number,
  from: Uint8Array,
  offset: number,
  work: (bytes: Uint8Array, at: number) => Op<void>,
): Op<void> {
  const start = alignDown(offset, unit);
  const dataEnd = offset + from.length;
  const end = Math.min(alignUp(dataEnd, unit), Math.max(node.size, dataEnd));
  const lease = yield* node.requests.acquire(offset, from.length, unit);
  try {
    if (start === offset && end === dataEnd) {
      yield* work(from, offset);
      return;
    }
    const { debug } = node.impl;
    const bounce = allocate(end - start);
    if (start < offset) {
      if (debug !== undefined) yield* debug.event("pwritev_rmw_head");
      yield* readPadded(node, bounce.subarray(0, Math.min(unit, bounce.length)), start);
      if (debug !== undefined) yield* debug.event("pwritev_rmw_after_head");
    }
    const last = alignDown(dataEnd, unit);
    if (end > dataEnd && (last > start || start === offset)) {
      if (debug !== undefined) yield* debug.event("pwritev_rmw_tail");
      yield* readPadded(node, bounce.subarray(last - start), last);
      if (debug !== undefined) yield* debug.event("pwritev_rmw_after_tail");
    }
    bounce.set(from, offset - start);
    yield* work(bounce, start);
  } finally {
    node.requests.release(lease);
  }
}

function* writeStorage(node: Node, impl: StorageImpl, from: Uint8Array, offset: number): Op<void> {
  const alignment = impl.storage.alignment;
  if (alignment > 1) yield* writeInUnits(node, alignment, from, offset, (bytes, at) => putToStorage(impl, bytes, at));
  else yield* putToStorage(impl, from, offset);
}

function* putToStorage(impl: StorageImpl, from: Uint8Array, offset: number): Op<void> {
  yield new StorageRequest(impl.storage, "write", offset, from.length, from);
  if (offset + from.length > impl.size) impl.size = offset + from.length;
}

function* writeMapped(node: Node, impl: MappedImpl, from: Uint8Array, offset: number): Op<void> {
  if (impl.prepareWrite === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", `Driver '${node.driver.name}' cannot write`, { node: node.nodeName });
  }
  const unit = impl.transformUnit ?? 1;
  if (unit > 1 && (offset % unit !== 0 || from.length % unit !== 0)) {
    // Widened to whole sectors under the lease of the whole allocation unit, then written as an aligned request.
    const start = alignDown(offset, unit);
    const end = Math.min(alignUp(offset + from.length, unit), alignUp(impl.size, unit));
    const lease = yield* node.requests.acquire(start, end - start, impl.allocationUnit);
    try {
      const bounce = yield* readBytes(node, start, end - start);
      bounce.set(from, offset - start);
      yield* writeLeased(node, impl, bounce, start);
    } finally {
      node.requests.release(lease);
    }
    return;
  }
  const lease = yield* node.requests.acquire(offset, from.length, impl.allocationUnit);
  try {
    yield* writeLeased(node, impl, from, offset);
  } finally {
    node.requests.release(lease);
  }
}

/** A write whose range the caller has leased already: how a format falls back from a special write to a plain one. */
export function* writeLeased(node: Node, impl: MappedImpl, from: Uint8Array, offset: number): Op<void> {
  let at = offset;
  const end = offset + from.length;
  while (at < end) {
    const plan = yield* impl.prepareWrite!(at, end - at);
    try {
      const ops: Op<void>[] = [];
      for (const piece of plan.pieces) ops.push(writePiece(node, impl, piece, from, offset, at, at + plan.length));
      yield* parallel(ops);
    } catch (error) {
      if (impl.abortWrite !== undefined) yield* impl.abortWrite(plan);
      throw error;
    }
    if (impl.commitWrite !== undefined) yield* impl.commitWrite(plan);
    at += plan.length;
  }
}

/** Writes one planned piece: the guest's bytes in [from, to), and for fresh space the old content around them. */
function* writePiece(
  node: Node,
  impl: MappedImpl,
  piece: WritePiece,
  bytes: Uint8Array,
  base: number,
  from: number,
  to: number,
): Op<void> {
  const start = piece.start;
  const end = piece.start + piece.length;
  const dataStart = Math.max(start, from);
  const dataEnd = Math.min(end, to);
  if (dataStart === start && dataEnd === end) {
    yield* writeHost(impl, piece.file, bytes.subarray(start - base, end - base), start, piece.host, true);
    return;
  }
  const debug = piece.file.impl.debug;
  if (debug !== undefined) yield* debug.event("cow_read");
  if (piece.length <= MERGE_LIMIT) {
    const merged = allocate(piece.length);
    yield* readOld(node, merged, start, dataStart, dataEnd);
    merged.set(bytes.subarray(dataStart - base, dataEnd - base), dataStart - start);
    yield* writeHost(impl, piece.file, merged, start, piece.host, false);
    return;
  }
  yield* copyOld(node, impl, piece, start, dataStart);
  yield* writeHost(
    impl,
    piece.file,
    bytes.subarray(dataStart - base, dataEnd - base),
    dataStart,
    piece.host + (dataStart - start),
    true,
  );
  yield* copyOld(node, impl, piece, dataEnd, end);
}

/** Old content of guest range [from, to) into the fresh space of `piece`, however large that is, through a buffer of bounded size. */
function* copyOld(node: Node, impl: MappedImpl, piece: WritePiece, from: number, to: number): Op<void> {
  for (let at = from; at < to;) {
    const chunk = allocate(Math.min(COPY_CHUNK, to - at));
    yield* readPadded(node, chunk, at);
    yield* writeHost(impl, piece.file, chunk, at, piece.host + (at - piece.start), false, "cow_write");
    at += chunk.length;
  }
}

/** The content of the node before this write, for all of `into` except guest range [skipFrom, skipTo). */
function* readOld(node: Node, into: Uint8Array, start: number, skipFrom: number, skipTo: number): Op<void> {
  const end = start + into.length;
  if (skipFrom > start) yield* readPadded(node, into.subarray(0, skipFrom - start), start);
  if (skipTo < end) yield* readPadded(node, into.subarray(skipTo - start), skipTo);
}

function* writeHost(
  impl: MappedImpl,
  file: Node,
  bytes: Uint8Array,
  guest: number,
  host: number,
  isCallers: boolean,
  event = "write_aio",
): Op<void> {
  const debug = file.impl.debug;
  if (debug !== undefined) yield* debug.event(event);
  if (impl.encrypt !== undefined) {
    const copy = isCallers ? bytes.slice() : bytes;
    yield* impl.encrypt(copy, guest, host);
    yield* writeGrow(file, copy, host);
    return;
  }
  yield* writeGrow(file, bytes, host);
}

function compressionUnsupported(node: Node): BlockError {
  return new BlockError("ERR_UNSUPPORTED", "Compression not supported for this file format", {
    node: node.nodeName,
    errno: "ENOTSUP",
  });
}

function* writeCompressed(node: Node, impl: MappedImpl, from: Uint8Array, offset: number): Op<void> {
  if (impl.writeCompressed === undefined) {
    throw compressionUnsupported(node);
  }
  const unit = impl.allocationUnit;
  if (offset % unit !== 0 || (from.length % unit !== 0 && offset + from.length !== node.size)) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Compressed writes must cover whole clusters", { node: node.nodeName, offset });
  }
  const lease = yield* node.requests.acquire(offset, from.length, unit);
  try {
    const ops: Op<void>[] = [];
    let stored = 0; // the clusters from here on are to be stored as they are
    for (let at = 0; at < from.length; at += unit) {
      const cluster = from.subarray(at, Math.min(at + unit, from.length));
      if (impl.isIncompressible?.(cluster) === true) continue;
      if (stored < at) ops.push(writeLeased(node, impl, from.subarray(stored, at), offset + stored));
      ops.push(impl.writeCompressed(cluster, offset + at));
      stored = at + cluster.length;
    }
    if (stored < from.length) ops.push(writeLeased(node, impl, from.subarray(stored), offset + stored));
    yield* parallel(ops);
  } finally {
    node.requests.release(lease);
  }
}

// ---- zeros, discard, flush, size ----------------------------------------------------------------------------------

/** Makes a range read as zeros, as cheaply as the node can. */
export function* writeZeroes(node: Node, offset: number, length: number, flags: WriteFlags = NO_FLAGS): Op<void> {
  checkWritable(node, "write_zeroes");
  checkRange(node, offset, length, "write_zeroes");
  if (length === 0) return;
  if (flags.mayUnmap && !node.flags.unmap) flags = { ...flags, mayUnmap: false };
  noteWrite(node, offset + length);
  yield* observed(node, offset, length, zeroUnchecked(node, offset, length, flags));
  if (flags.fua || node.flags.writethrough) yield* flush(node);
}

function* zeroUnchecked(node: Node, offset: number, length: number, flags: WriteFlags): Op<void> {
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

/** Zeros in a file that may grow: how formats clear new tables. Always real zeros on the medium, never an unmap. */
export function* zeroGrow(node: Node, offset: number, length: number): Op<void> {
  for (let at = 0; at < length;) {
    const n = Math.min(ZERO_CHUNK, length - at);
    yield* writeGrow(node, zeroChunk(n), offset + at);
    at += n;
  }
}

/** Tells the node that the range is not needed any more. A hint: what cannot be given back stays. */
export function* discard(node: Node, offset: number, length: number): Op<void> {
  checkWritable(node, "discard");
  checkRange(node, offset, length, "discard");
  if (length === 0 || !node.flags.unmap) return;
  yield* observed(node, offset, length, discardUnchecked(node, offset, length));
}

function* discardUnchecked(node: Node, offset: number, length: number): Op<void> {
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

/** Everything written before is durable when this returns. */
export function* flush(node: Node): Op<void> {
  if (node.readOnly) return;
  const impl = node.impl;
  if (impl.shape === "storage") {
    if (!node.flags.noFlush) yield new StorageRequest(impl.storage, "flush");
    return;
  }
  const debug = node.child("file")?.impl.debug;
  if (debug !== undefined) {
    yield* debug.event("flush_to_os");
    if (impl.shape !== "mapped" || impl.tellsFlush !== true) yield* debug.event("flush_to_disk");
  }
  yield* impl.flush();
}

/** Changes the size of the node. */
export function* truncate(node: Node, size: number, options: TruncateOptions): Op<void> {
  checkWritable(node, "truncate");
  if (!Number.isSafeInteger(size) || size < 0)
    throw new BlockError("ERR_OUT_OF_RANGE", `Image size must be between 0 and 2^53-1 bytes`);
  const impl = node.impl;
  if (impl.shape === "storage") {
    yield* truncateStorage(node, impl, size, options);
    for (const bitmap of node.bitmaps) bitmap.resize(node.size);
    return;
  }
  if (impl.truncate === undefined) {
    throw new BlockError("ERR_UNSUPPORTED", "Image format driver does not support resize", {
      errno: "ENOTSUP",
      node: node.nodeName,
    });
  }
  const from = Math.min(size, node.size);
  const lease = yield* node.requests.acquire(
    from,
    Math.max(size, node.size) - from,
    impl.shape === "mapped" ? impl.allocationUnit : 1,
  );
  try {
    yield* impl.truncate(size, options);
  } finally {
    node.requests.release(lease);
    for (const bitmap of node.bitmaps) bitmap.resize(node.size);
  }
}

function* truncateStorage(node: Node, impl: StorageImpl, size: number, options: TruncateOptions): Op<void> {
  const old = impl.size;
  if (impl.storage.fixedSize) {
    if (size === old || (size < old && !options.exact)) return;
    throw new BlockError("ERR_UNSUPPORTED", size > old ? "Cannot grow device files" : "Cannot shrink device files", {
      errno: size > old ? "EINVAL" : "ENOTSUP",
      node: node.nodeName,
    });
  }
  if (options.preallocation !== "off" && size < old) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "Preallocation can't be used for shrinking files", { errno: "ENOTSUP" });
  }
  switch (options.preallocation) {
    case "off":
      yield new StorageRequest(impl.storage, "truncate", size);
      break;
    case "falloc":
      if (size > old) {
        yield* allocateGrow(node, impl, old, size - old);
      }
      break;
    case "full":
      yield* zeroGrow(node, old, size - old);
      yield* flush(node);
      break;
    case "metadata":
      throw new BlockError("ERR_UNSUPPORTED", "Unsupported preallocation mode 'metadata'", { errno: "ENOTSUP" });
  }
  impl.size = size;
}

/** Reserves space behind the end; where a file system or platform cannot, zeros are written there. */
function* allocateGrow(node: Node, impl: StorageImpl, offset: number, length: number): Op<void> {
  if (storageCan(impl.storage, "allocate")) {
    try {
      yield new StorageRequest(impl.storage, "allocate", offset, length);
      return;
    } catch (error) {
      if (!(error instanceof BlockError) || error.code !== "ERR_UNSUPPORTED") throw error;
    }
  }
  yield* zeroGrow(node, offset, length);
}

function isAllZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at++) if (bytes[at] !== 0) return false;
  return true;
}
