/**
 * Writing header, extensions and backing file name so that a crash leaves the old ones or the new ones, though media write only
 * sectors of 512 bytes whole.
 *
 * Mostly only fields in the first sector change, and one write of it does. When more changes (another backing file name), the new name
 * first goes to a place that nothing uses, then a first sector that is complete with it comes into force; behind its back the other
 * sectors get their final content, and the final first sector follows. That takes a cluster with room for it: in images with clusters
 * of 512 bytes the header is one sector anyway, and where two long names have no room beside each other (from about 390 bytes on with
 * clusters of 1 KiB, from about 900 on with 2 KiB) the new one is written as it is.
 */
import { allocate } from "../../base/allocate.js";
import { encodeText, readU64BE, viewOf } from "../../base/bytes.js";
import { alignUp } from "../../base/int.js";
import { readBytes, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import { encodeHeader, type Header } from "./header.js";
import { Extension, MAGIC, V2_HEADER_LENGTH } from "./layout.js";

const SECTOR = 512;

/** `barrier` makes everything written so far durable. */
export function* writeHeader(file: Node, header: Header, barrier: () => Op<void>): Op<void> {
  const clusterSize = 2 ** header.clusterBits;
  const used = encodeHeader(header);
  const bytes = allocate(alignUp(used.length, SECTOR));
  bytes.set(used);
  const old = yield* readBytes(file, 0, clusterSize < 65536 ? clusterSize : 65536);
  let same = SECTOR;
  while (same < used.length && old[same] === used[same]) same++;
  if (same >= used.length) {
    yield* writeGrow(file, bytes.subarray(0, SECTOR), 0);
    return;
  }
  const between = transition(header, used.length, old);
  if (between !== null) {
    const { first, name, nameAt } = between;
    if (name.length > 0) {
      yield* writeGrow(file, name, nameAt);
      yield* barrier();
    }
    yield* writeGrow(file, first, 0);
    yield* barrier();
    yield* writeGrow(file, bytes.subarray(SECTOR), SECTOR);
    yield* barrier();
    yield* writeGrow(file, bytes.subarray(0, SECTOR), 0);
    return;
  }
  yield* writeGrow(file, bytes, 0);
}

interface Transition {
  first: Uint8Array;
  name: Uint8Array;
  nameAt: number;
}

/** A header that is complete in its first sector but for the name, which lies where neither the old nor the new header has anything. */
function transition(header: Header, used: number, old: Uint8Array): Transition | null {
  const clusterSize = old.length;
  if (viewOf(old).getUint32(0) !== MAGIC) return null;
  const taken = Math.max(alignUp(used, SECTOR), usedBy(old));
  const nameAt = alignUp(taken, SECTOR);
  const backing = header.backingFile !== null && header.backingFile !== "";
  if (nameAt + encodeText(header.backingFile ?? "").length > clusterSize) return null;
  const all = encodeHeader(header, { backingAt: nameAt });
  const end = backing ? Number(viewOf(all).getUint32(12)) : all.length;
  // The name was pushed further by extensions, or they do not fit into the first sector.
  if (backing && end !== nameAt) return null;
  const extensions = extensionsEnd(all);
  if (extensions > SECTOR) return null;
  const first = new Uint8Array(SECTOR);
  first.set(all.subarray(0, Math.min(all.length, SECTOR)));
  return { first, name: backing ? all.slice(nameAt) : new Uint8Array(0), nameAt };
}

/** Where what the old header uses of its cluster ends. */
function usedBy(old: Uint8Array): number {
  const view = viewOf(old);
  const backing = readU64BE(view, 8);
  const name = backing === 0 ? 0 : backing + view.getUint32(16);
  return Math.max(extensionsEnd(old), Number.isFinite(name) ? name : old.length);
}

function extensionsEnd(bytes: Uint8Array): number {
  const view = viewOf(bytes);
  let at = view.getUint32(4) >= 3 ? view.getUint32(100) : V2_HEADER_LENGTH;
  const backing = readU64BE(view, 8);
  const limit = backing === 0 ? bytes.length : Math.min(bytes.length, backing);
  while (at + 8 <= limit) {
    const type = view.getUint32(at);
    const length = view.getUint32(at + 4);
    at += 8;
    if (type === Extension.end) return at;
    if (length > limit - at) return limit;
    at = alignUp(at + length, 8);
  }
  return Math.min(at, limit);
}
