/** The VM state area behind the guest disk (-b). */
import { errnoError } from "../../base/error.js";
import { ExtentKind, ExtentList } from "../../block/extent.js";
import { readPadded } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import type { IoSession } from "./session.js";

const PIECE = 1024 * 1024;

/** Offset and length of a VM state request must be whole sectors; says so when they are not. */
export function isSectorAligned(session: IoSession, offset: number, length: number): boolean {
  for (const [name, value] of [
    ["offset", offset],
    ["count", length],
  ] as const) {
    if (value % 512 === 0) continue;
    session.print(`${value} is not a sector-aligned value for '${name}'\n`);
    return false;
  }
  return true;
}

/** Reads the VM state of the active layer and shows it piece by piece. Throws ENOTSUP where the format has none. */
export function* readVmState(
  node: Node,
  offset: number,
  length: number,
  show: (bytes: Uint8Array, at: number) => void,
): Op<void> {
  const impl = node.impl;
  if (impl.shape !== "mapped" || impl.mapVmState === undefined) throw errnoError("ENOTSUP", undefined, { node: node.nodeName });
  const list = new ExtentList();
  // One piece when it is short, so that the caller can show it as a whole.
  const bytes = new Uint8Array(length <= 64 * PIECE ? length : PIECE);
  if (length === 0) show(bytes, offset);
  for (let done = 0; done < length; done += bytes.length) {
    const part = bytes.subarray(0, Math.min(bytes.length, length - done));
    for (let at = 0; at < part.length;) {
      list.clear();
      const miss = impl.mapVmState(offset + done + at, part.length - at, list);
      if (list.count === 0) {
        if (miss === null) throw errnoError("EIO", undefined, { node: node.nodeName, offset });
        yield* impl.load(miss);
        continue;
      }
      const base = list.at(0).start;
      for (let i = 0; i < list.count && at < part.length; i++) {
        const extent = list.at(i);
        const into = part.subarray(at, Math.min(part.length, at + extent.length));
        if (extent.kind === ExtentKind.data) {
          yield* readPadded(extent.file!, into, extent.host);
          if (impl.decrypt !== undefined) yield* impl.decrypt(into, extent.start, extent.host);
        } else if (extent.kind === ExtentKind.special) throw errnoError("EIO", undefined, { node: node.nodeName, offset: base });
        else into.fill(0);
        at += into.length;
      }
    }
    show(part, offset + done);
  }
}

/** Writes the VM state of the active layer. Throws ENOTSUP where the format has none that can be written. */
export function* writeVmState(
  node: Node,
  offset: number,
  length: number,
  fill: (bytes: Uint8Array, at: number) => void,
): Op<void> {
  const impl = node.impl;
  if (impl.shape !== "mapped" || impl.writeVmState === undefined) throw errnoError("ENOTSUP", undefined, { node: node.nodeName });
  for (let at = 0; at < length; at += PIECE) {
    const bytes = new Uint8Array(Math.min(PIECE, length - at));
    fill(bytes, at);
    yield* impl.writeVmState(bytes, offset + at);
  }
}
