/**
 * What a node is while another process owns its image (live migration): open to be read, without locks, its bitmaps those of the image,
 * which are not here. How it comes to that and back is in `activation.ts`.
 */
import type { OpenFlags } from "./context.js";
import type { Node } from "./node.js";

/** Remembers how the node is meant to be open, and returns the flags for the time before it is. */
export function openInactive(node: Node): OpenFlags {
  const { write, forceShare, unmap } = node.flags;
  node.inactive = { write, forceShare, unmap };
  node.flags = { ...node.flags, write: false, forceShare: true, unmap: false, inactive: true };
  return node.flags;
}

/** Bitmaps that the image has, or will have when it is taken up again. */
export function dropStoredBitmaps(node: Node): void {
  for (const bitmap of [...node.bitmaps]) if (bitmap.persistent && !bitmap.skipStore) bitmap.release();
}
