/** How bytes get into a node of each shape; the checks, and those who want to hear of a change, are in `io.ts`. */
import { allocate } from "../base/allocate.js";
import { BlockError, errnoError } from "../base/error.js";
import { alignDown, alignUp } from "../base/int.js";
import type { InterceptImpl, MappedImpl, StorageImpl, WriteFlags, WritePiece } from "./driver.js";
import type { Node } from "./node.js";
import { parallel, StorageRequest, type Op } from "./op.js";
import { readBytes, readPadded } from "./read.js";

export const NO_FLAGS: WriteFlags = {};
/** Zeros are written from a buffer of this many bytes where a medium cannot do better. */
export const ZERO_CHUNK: number = 256 * 1024;
/** Copy-on-write heads and tails are merged with the guest's bytes into one host write up to this many bytes. */
const MERGE_LIMIT = 256 * 1024;
/** Larger ones are copied in pieces of this many bytes: the largest cluster of qcow2. A block of Parallels or VHD may have 2 GiB. */
const COPY_CHUNK = 2 * 1024 * 1024;

let zeros: Uint8Array | undefined;
/** At most ZERO_CHUNK zeros, shared: not to be written to. */
export const zeroChunk = (length: number): Uint8Array => (zeros ??= new Uint8Array(ZERO_CHUNK)).subarray(0, length);

/** @throws BlockError where the node may not be changed */
export function checkWritable(node: Node, operation: string): void {
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

/** Before a write is made, so that whoever hears of it may still make room; one that fails counts, too. */
export function noteWrite(node: Node, end: number): void {
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

/** A write that may reach behind the end of a growing file: how formats write their own metadata and new clusters. */
export function* writeGrow(node: Node, from: Uint8Array, offset: number): Op<void> {
  checkWritable(node, "write");
  if (from.length === 0) return;
  if (offset + from.length > node.size) yield* extend(node, offset + from.length);
  noteWrite(node, offset + from.length);
  yield* writeUnchecked(node, from, offset, NO_FLAGS);
}

/** Zeros in a file that may grow: how formats clear new tables. Always real zeros on the medium, never an unmap. */
export function* zeroGrow(node: Node, offset: number, length: number): Op<void> {
  for (let at = 0; at < length;) {
    const n = Math.min(ZERO_CHUNK, length - at);
    yield* writeGrow(node, zeroChunk(n), offset + at);
    at += n;
  }
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

/** A write whose range was checked, and is noted and heard of elsewhere. */
export function* writeUnchecked(node: Node, from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
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
