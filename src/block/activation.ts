/**
 * Handing images over from one process to another, as live migration does (QEMU: bdrv_inactivate_all, bdrv_activate).
 *
 * `inactivate` brings everything to the files, stored bitmaps included, and lets go of the locks; from then on nothing is written.
 * `activate` takes the locks and reads every image again, because another process may have written to it. In between the nodes can be
 * read, though what they show may be out of date.
 */
import { BlockError } from "../base/error.js";
import type { OpenFlags } from "./context.js";
import { drained } from "./graph.js";
import { dropStoredBitmaps, openInactive } from "./inactive.js";
import { flush } from "./io.js";
import type { Node } from "./node.js";
import { storageSize, type Op } from "./op.js";
import { checkNode } from "./permissions.js";
import { remake } from "./reopen-nodes.js";
import { reopenStorage } from "./reopen.js";

/**
 * All nodes given, those above before those below.
 * @throws BlockError EPERM when a job other than a mirror works on one of them; all are active then, as far as that can be
 */
export function* inactivate(nodes: readonly Node[]): Op<void> {
  for (const node of nodes) checkUnused(node);
  try {
    for (const node of parentsFirst(nodes)) if (node.inactive === null) yield* drained(node, () => inactivateNode(node));
  } catch (error) {
    yield* activate(nodes);
    throw error;
  }
}

/**
 * All nodes given, and those below them first.
 * @throws BlockError when an image cannot be locked or is not what it should be; its node stays inactive
 */
export function* activate(nodes: readonly Node[]): Op<void> {
  for (const node of parentsFirst(nodes).reverse()) {
    if (node.inactive === null) continue;
    const { inactive } = node;
    yield* drained(node, () => activateNode(node, inactive));
  }
}

/** A mirror only copies what guests write, and they write no more. */
const isMirror = (reason: string): boolean => reason.endsWith("block job: mirror");

function checkUnused(node: Node): void {
  for (const reason of node.blockers.values())
    if (!isMirror(reason))
      throw new BlockError("ERR_BUSY", `Node '${node.nodeName}' is busy: ${reason}`, { errno: "EPERM", node: node.nodeName });
}

/** With all that is below them. */
function parentsFirst(nodes: readonly Node[]): Node[] {
  const seen = new Set<Node>();
  const childrenFirst: Node[] = [];
  const visit = (node: Node): void => {
    if (seen.has(node)) return;
    seen.add(node);
    for (const child of node.children) visit(child.node);
    childrenFirst.push(node);
  };
  for (const node of nodes) visit(node);
  return childrenFirst.reverse();
}

function* inactivateNode(node: Node): Op<void> {
  const { impl } = node;
  if (node.flags.write) {
    yield* flush(node);
    if (impl.accessChanging !== undefined) yield* impl.accessChanging(false);
  }
  dropStoredBitmaps(node);
  openInactive(node);
  yield* reopenStorage(node, false, true);
}

function* activateNode(node: Node, wanted: Pick<OpenFlags, "write" | "forceShare" | "unmap">): Op<void> {
  const { impl, flags, inactive } = node;
  yield* reopenStorage(node, wanted.write, wanted.forceShare);
  // What was read before may be out of date. It has not been changed here: closing writes nothing.
  if (impl.shape === "mapped") yield* impl.close();
  node.flags = { ...flags, ...wanted, inactive: false };
  node.inactive = null;
  for (const bitmap of node.bitmaps) bitmap.skipStore = false;
  try {
    if (impl.shape === "mapped") yield* remake(node, node.options, node.flags);
    else if (impl.shape === "storage") impl.size = yield* storageSize(impl.storage);
    else if (wanted.write && impl.accessChanging !== undefined) yield* impl.accessChanging(true);
    checkNode(node);
  } catch (error) {
    Object.assign(node, { flags, inactive });
    yield* reopenStorage(node, false, true);
    if (impl.shape === "mapped") yield* remake(node, node.options, flags);
    throw error;
  }
}
