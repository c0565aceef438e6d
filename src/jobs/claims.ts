/**
 * What jobs do with the nodes they work on, and what they let others do meanwhile: QEMU's permissions of each job, node by node.
 *
 * A job reads or writes through an unnamed block device of its own (`root`); besides, it keeps nodes as they are.
 */
import { below, skipFilters } from "../block/graph.js";
import type { Node } from "../block/node.js";
import { ALL_PERMISSIONS, Permission } from "../block/permissions.js";

const { consistentRead, write, writeUnchanged, resize } = Permission;
const QUIET = consistentRead | writeUnchanged;
/** Anything but another size, which jobs ask for only once. */
const SAME_SIZE: number = ALL_PERMISSIONS & ~resize;

export interface JobClaim {
  readonly node: Node;
  /** "root" of an unnamed block device; anything else is the job's. */
  readonly name: "root" | "main node" | "active node" | "intermediate node" | "base" | "source" | "target";
  readonly needed: number;
  readonly shared: number;
}

const claim = (node: Node, name: JobClaim["name"], needed: number, shared: number): JobClaim => ({ node, name, needed, shared });

/** The layers from `top` (with it) down to `base` (without it). */
function* between(top: Node, base: Node | null): Iterable<Node> {
  for (let at: Node | null = top; at !== null && at !== base; at = below(at)) yield at;
}

export function streamClaims(filter: Node, top: Node, base: Node | null): JobClaim[] {
  const [, ...intermediate] = between(top, base);
  return [
    claim(filter, "main node", 0, ALL_PERMISSIONS),
    claim(filter, "root", consistentRead, SAME_SIZE),
    claim(top, "active node", 0, SAME_SIZE),
    ...intermediate.map((node) => claim(node, "intermediate node", 0, QUIET)),
  ];
}

/** Layers that make no sense by themselves while they are being committed; filters on the base do. */
function vanishing(top: Node, base: Node): JobClaim[] {
  const image = skipFilters(base);
  return [...between(top, base)].map((node) =>
    claim(node, "intermediate node", 0, write | writeUnchanged | (skipFilters(node) === image ? consistentRead : 0)),
  );
}

/** Of a layer with others above it. */
export function commitClaims(active: Node, top: Node, base: Node): JobClaim[] {
  return [
    claim(active, "main node", 0, ALL_PERMISSIONS),
    claim(top, "root", 0, ALL_PERMISSIONS),
    claim(base, "root", consistentRead | write | growing(top, base), QUIET),
    claim(base, "base", 0, ALL_PERMISSIONS),
    ...vanishing(top, base),
  ];
}

/** @param isBelow the target is a layer of the source, as in a commit of the active layer */
export function mirrorClaims(filter: Node, source: Node, target: Node, isBelow: boolean): JobClaim[] {
  const under = below(source);
  return [
    claim(filter, "main node", consistentRead, SAME_SIZE),
    claim(source, "source", 0, SAME_SIZE),
    claim(target, "target", 0, ALL_PERMISSIONS),
    claim(
      target,
      "root",
      write | (isBelow ? growing(source, target) : 0),
      writeUnchanged | (isBelow ? consistentRead | write : 0),
    ),
    ...(isBelow && under !== null ? vanishing(under, target) : []),
  ];
}

/** What its filter does is the filter's affair. */
export function backupClaims(filter: Node, target: Node): JobClaim[] {
  return [claim(filter, "main node", 0, ALL_PERMISSIONS), claim(target, "target", 0, ALL_PERMISSIONS)];
}

const growing = (from: Node, to: Node): number => (to.size < from.size ? resize : 0);
