/** Internal snapshots of an image by name, with the words and choices of qemu-img. */
import { BlockError, errnoError, prefixError, strerror } from "../base/error.js";
import type { SnapshotVerbs } from "../block/driver.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import type { SnapshotInfo } from "../block/types.js";

/** Snapshots of the image; none where the format has no such thing. */
export function listSnapshots(node: Node): SnapshotInfo[] {
  return verbsOf(node)?.list() ?? [];
}

function verbsOf(node: Node): SnapshotVerbs | undefined {
  const { impl } = node;
  return impl.shape === "mapped" ? impl.snapshots : undefined;
}

/** Takes a snapshot; names need not be unique. `now`: milliseconds since the epoch. */
export function* createSnapshot(node: Node, name: string, now: number): Op<void> {
  try {
    const verbs = verbsOf(node);
    if (verbs === undefined) throw errnoError("ENOTSUP", undefined, { node: node.nodeName });
    const dateSec = Math.floor(now / 1000);
    yield* verbs.create(name, {
      vmStateSize: 0,
      dateSec,
      dateNsec: (now - dateSec * 1000) * 1_000_000,
      vmClockNsec: 0,
      icount: 0,
    });
  } catch (error) {
    // qemu-img prints the number and the name of the error.
    if (!(error instanceof BlockError) || error.code === "ERR_READ_ONLY") throw error;
    const { errno } = error;
    throw new BlockError(error.code, `Could not create snapshot '${name}': ${-(NUMBERS[errno] ?? 5)} (${strerror(errno)})`, {
      errno,
      cause: error,
    });
  }
}

/** Linux numbers of the errors a snapshot meets. */
const NUMBERS: Partial<Record<string, number>> = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EINVAL: 22,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  ENOTSUP: 95,
};

/** Goes back to the snapshot with this ID or else this name. */
export function* applySnapshot(node: Node, idOrName: string): Op<void> {
  try {
    const verbs = verbsOf(node);
    if (verbs === undefined)
      throw new BlockError("ERR_UNSUPPORTED", "Block driver does not support snapshots", { node: node.nodeName });
    const list = verbs.list();
    const found = list.find(({ id }) => id === idOrName) ?? list.find(({ name }) => name === idOrName);
    if (found === undefined)
      throw new BlockError("ERR_NOT_FOUND", `Failed to load snapshot: ${strerror("ENOENT")}`, { node: node.nodeName });
    yield* verbs.apply(found);
  } catch (error) {
    throw prefixError(`Could not apply snapshot '${idOrName}': `, error);
  }
}

/** Deletes the first snapshot of this name. */
export function* removeSnapshot(node: Node, name: string): Op<void> {
  try {
    const verbs = verbsOf(node);
    const found = verbs?.list().find((snapshot) => snapshot.name === name);
    if (verbs === undefined || found === undefined)
      throw new BlockError("ERR_NOT_FOUND", "snapshot not found", { node: node.nodeName });
    yield* verbs.remove(found);
  } catch (error) {
    throw prefixError(`Could not delete snapshot '${name}': `, error);
  }
}
