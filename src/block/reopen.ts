/** Changing a node between read-only and read-write while it is open: what commit does with its base. */
import { BlockError } from "../base/error.js";
import { flush } from "./io.js";
import type { Node } from "./node.js";
import { StorageRequest, type Op } from "./op.js";

/** Gives the node (and the files below it, not its backing chain) write access, or takes it away after a flush. */
export function* setWritable(node: Node, write: boolean): Op<void> {
  if (node.inactive !== null) node.inactive = { ...node.inactive, write };
  if (node.inactive !== null || node.flags.write === write) return;
  if (!write) yield* flush(node);
  const impl = node.impl;
  const files = node.children.filter((child) => child.role !== "backing").map((child) => child.node);
  if (write) for (const file of files) yield* setWritable(file, true);
  if (impl.shape === "storage") yield* reopenStorage(node, write);
  const before = node.flags;
  node.flags = { ...before, write, unmap: write && (before.unmap || impl.shape === "storage") };
  try {
    if (impl.accessChanging !== undefined) yield* impl.accessChanging(write);
  } catch (error) {
    node.flags = before;
    throw error;
  }
  node.resting = false;
  if (write) return;
  for (const file of files) {
    if (isWrittenByOthers(file, node) || file.readOnly) continue;
    yield* setWritable(file, false);
    // One that the user made by itself is not the node's to change for good.
    file.resting = file.describedBy === null;
  }
}

/** Whether the user has said that the file below is read-only: the node then can not be written even for a while. */
export function staysReadOnly(node: Node): boolean {
  return (
    node.readOnly &&
    node.children.some(
      (child) => child.role !== "backing" && (child.node.options["read-only"] === true || staysReadOnly(child.node)),
    )
  );
}

function isWrittenByOthers(file: Node, except: Node): boolean {
  return (
    file.users.size > 0 ||
    file.parents.some((edge) => edge.parent !== except && edge.role !== "backing" && edge.parent.flags.write)
  );
}

/** @param forceShare with locks or without, where that changes */
export function* reopenStorage(node: Node, write: boolean, forceShare?: boolean): Op<void> {
  const impl = node.impl;
  if (impl.shape !== "storage" || (impl.storage.readOnly === !write && forceShare === undefined)) return;
  const old = impl.storage;
  if (old.reopen === undefined) {
    if (!write || !old.readOnly) return; // it stays writable below; the node's flags keep everyone from writing
    throw new BlockError("ERR_READ_ONLY", `'${node.filename}' cannot be made writable`, { errno: "EACCES", node: node.nodeName });
  }
  impl.storage = old.reopen(!write, forceShare);
  yield new StorageRequest(old, "close");
}
