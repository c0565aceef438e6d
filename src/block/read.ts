/** The reading half of the chokepoint (`io.ts`): from a guest range down to the storages. */
import { allocate } from "../base/allocate.js";
import { BlockError } from "../base/error.js";
import { alignDown, alignUp } from "../base/int.js";
import type { InterceptImpl, MappedImpl, SpecialExtent, StorageImpl } from "./driver.js";
import { ExtentKind, ExtentList, type Extent } from "./extent.js";
import type { Node } from "./node.js";
import { parallel, StorageRequest, type Op } from "./op.js";

/** At most this many host reads of one request are under way together. */
const FAN_OUT = 16;

const lists: ExtentList[] = [];
export const takeList = (): ExtentList => lists.pop() ?? new ExtentList();
export function giveList(list: ExtentList): void {
  list.clear();
  lists.push(list);
}

/** Throws unless the range lies inside the node. */
export function checkRange(node: Node, offset: number, length: number, operation: string): void {
  const size = node.size;
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0 || offset > size - length) {
    throw new BlockError(
      "ERR_OUT_OF_RANGE",
      `${operation} of ${length} bytes at offset ${offset} is outside '${node.filename}' (${size} bytes)`,
      { errno: "EIO", node: node.nodeName, offset, operation },
    );
  }
}

/** Fills `into` from guest offset `offset`; the range must lie inside the node. */
export function* read(node: Node, into: Uint8Array, offset: number): Op<void> {
  checkRange(node, offset, into.length, "read");
  if (into.length === 0) return;
  const impl = node.impl;
  switch (impl.shape) {
    case "storage":
      yield* readStorage(node, impl, into, offset);
      return;
    case "mapped":
      yield* readMapped(node, impl, into, offset);
      return;
    case "intercept":
      yield* readIntercept(impl, into, offset);
      return;
  }
}

/** Like `read`, but bytes behind the end of the node are zeros: what a layer sees of a shorter backing image or a truncated file. */
export function* readPadded(node: Node, into: Uint8Array, offset: number): Op<void> {
  const inside = Math.max(0, Math.min(into.length, node.size - offset));
  if (inside > 0) yield* read(node, inside === into.length ? into : into.subarray(0, inside), offset);
  if (inside < into.length) into.fill(0, inside);
}

/** A new buffer with `length` bytes from `offset`, zero padded behind the end. For tables and headers, never for sizes an image claims unchecked. */
export function* readBytes(node: Node, offset: number, length: number): Op<Uint8Array> {
  const bytes = allocate(length);
  yield* readPadded(node, bytes, offset);
  return bytes;
}

function* readStorage(node: Node, impl: StorageImpl, into: Uint8Array, offset: number): Op<void> {
  const alignment = impl.storage.alignment;
  if (alignment > 1 && (offset % alignment !== 0 || into.length % alignment !== 0)) {
    const start = alignDown(offset, alignment);
    const bounce = allocate(alignUp(offset + into.length, alignment) - start);
    yield* fillFromStorage(node, impl, bounce, start);
    into.set(bounce.subarray(offset - start, offset - start + into.length));
    return;
  }
  yield* fillFromStorage(node, impl, into, offset);
}

function* fillFromStorage(node: Node, impl: StorageImpl, into: Uint8Array, offset: number): Op<void> {
  const before = impl.size;
  const got = (yield new StorageRequest(impl.storage, "read", offset, into.length, into)) as number;
  if (got === into.length) return;
  if (got < 0 || got > into.length) {
    throw new BlockError("ERR_IO", `Reading '${node.filename}' returned ${got} of ${into.length} bytes`, {
      node: node.nodeName,
      offset,
    });
  }
  // Only behind its end does a file read as zeros; it may have become shorter meanwhile.
  if (offset + got < Math.min(before, impl.size)) {
    throw new BlockError("ERR_IO", `Short read in '${node.filename}': ${got} of ${into.length} bytes`, {
      node: node.nodeName,
      offset,
    });
  }
  into.fill(0, got);
}

function* readIntercept(impl: InterceptImpl, into: Uint8Array, offset: number): Op<void> {
  const unit = impl.alignment ?? 1;
  if (unit > 1 && (offset % unit !== 0 || into.length % unit !== 0)) {
    const start = alignDown(offset, unit);
    const bounce = allocate(alignUp(offset + into.length, unit) - start);
    const inside = Math.min(bounce.length, impl.size - start);
    yield* impl.read(bounce.subarray(0, inside), start);
    into.set(bounce.subarray(offset - start, offset - start + into.length));
    return;
  }
  yield* impl.read(into, offset);
}

function* readMapped(node: Node, impl: MappedImpl, into: Uint8Array, offset: number): Op<void> {
  const unit = impl.transformUnit ?? 1;
  if (unit > 1 && (offset % unit !== 0 || into.length % unit !== 0)) {
    const start = alignDown(offset, unit);
    const bounce = allocate(alignUp(offset + into.length, unit) - start);
    // The last sector of an image of odd size is a whole one in the file: it is read as such.
    yield* readMappedUnits(node, impl, bounce, start);
    into.set(bounce.subarray(offset - start, offset - start + into.length));
    return;
  }
  yield* readMappedUnits(node, impl, into, offset);
}

/** A read in whole transform units; may reach behind the end of the image inside its last unit. */
function* readMappedUnits(node: Node, impl: MappedImpl, into: Uint8Array, offset: number): Op<void> {
  const epoch = node.requests.beginRead();
  const list = takeList();
  try {
    let at = offset;
    const end = offset + into.length;
    while (at < end) {
      list.clear();
      const miss = impl.map(at, end - at, list);
      if (list.count === 0) {
        if (miss === null) throw new Error(`driver ${node.driver.name} mapped nothing at ${at}`);
        yield* impl.load(miss);
        continue;
      }
      yield* readExtents(node, impl, list, into, offset);
      at = list.end;
      if (miss !== null && at < end) yield* impl.load(miss);
    }
  } finally {
    node.requests.endRead(epoch);
    giveList(list);
  }
}

function* readExtents(node: Node, impl: MappedImpl, list: ExtentList, into: Uint8Array, base: number): Op<void> {
  if (list.count === 1) {
    const extent = list.at(0);
    const part = into.length === extent.length ? into : into.subarray(extent.start - base, extent.start - base + extent.length);
    yield* readExtent(node, impl, extent, part);
    return;
  }
  // Zero fills happen at once; what needs I/O goes out together.
  let ops: Op<void>[] = [];
  const together: SpecialExtent[] = [];
  for (let i = 0; i < list.count; i++) {
    const extent = list.at(i);
    if (extent.kind === ExtentKind.special && impl.readSpecials !== undefined) {
      together.push(copyOf(extent));
      continue;
    }
    const part = into.subarray(extent.start - base, extent.start - base + extent.length);
    if (extent.kind === ExtentKind.zero || (extent.kind === ExtentKind.unallocated && node.backing === null)) part.fill(0);
    else ops.push(readExtent(node, impl, extent, part));
    if (ops.length === FAN_OUT) {
      yield* parallel(ops);
      ops = [];
    }
  }
  if (together.length > 0) ops.push(impl.readSpecials!(together, base, into));
  yield* parallel(ops);
}

/** A list is used again in its owner's next turn; formats get extents of their own. */
const copyOf = ({ start, length, host, aux, file }: Extent): SpecialExtent => ({ start, length, host, aux, file });

function* readExtent(node: Node, impl: MappedImpl, extent: Extent, part: Uint8Array): Op<void> {
  switch (extent.kind) {
    case ExtentKind.zero:
      part.fill(0);
      return;
    case ExtentKind.unallocated: {
      const backing = node.backing;
      if (backing === null) part.fill(0);
      else {
        const { start } = extent;
        const debug = node.child("file")?.impl.debug;
        if (debug !== undefined) yield* debug.event("read_backing_aio");
        yield* readPadded(backing, part, start);
      }
      return;
    }
    case ExtentKind.data: {
      const { start, host } = extent;
      const file = extent.file!;
      const debug = file.impl.debug;
      if (debug !== undefined) yield* debug.event("read_aio");
      yield* readPadded(file, part, host);
      if (impl.decrypt !== undefined) yield* impl.decrypt(part, start, host);
      return;
    }
    case ExtentKind.special: {
      const special = copyOf(extent);
      yield* impl.readSpecial!(special, special.start, part);
      return;
    }
  }
}
