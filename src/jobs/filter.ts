/**
 * The node that a job keeps above what it works on, as QEMU does: requests pass through it, users see it in the graph under the
 * name they gave (`filter-node-name`), and it goes with the job.
 */
import type { Driver } from "../block/driver.js";
import { drained, replaceNode } from "../block/graph.js";
import { Node, type Child } from "../block/node.js";
import type { Op } from "../block/op.js";
import { exactFilename } from "../block/node-filename.js";
import { PassThrough } from "../block/pass-through.js";
import { ALL_PERMISSIONS, Permission, type Permissions } from "../block/permissions.js";

export type JobFilterName = "mirror_top" | "commit_top" | "copy-before-write" | "copy-on-read";

export interface JobFilterOptions {
  driver: JobFilterName;
  /** The node it is put above; drained while that happens. */
  above: Node;
  /** Chosen by the user; without it the node gets a name by itself and is `implicit`. */
  nodeName?: string | undefined;
  /** Where copy-before-write copies to. */
  target?: Node;
  /** In place of what such a filter does by itself. */
  permissions?: (usual: Permissions) => Permissions;
  /** What serves the requests; everything passes when absent. */
  serve?: (child: Child) => PassThrough;
}

const { consistentRead, write, writeUnchanged, resize } = Permission;

/** What a filter does with what is below it, where that is not just what is done with the filter. */
const RULES: Partial<Record<JobFilterName, (usual: Permissions, above: Permissions, edge: Child) => Permissions>> = {
  "copy-on-read": ({ needed, shared }) => ({ needed: needed | writeUnchanged, shared }),
  commit_top: () => ({ needed: 0, shared: ALL_PERMISSIONS }),
  // Copies what is about to change: nobody may change the source but through it, and it writes to its target.
  "copy-before-write": ({ needed, shared }, _above, { role }) =>
    role === "filtered"
      ? { needed, shared: shared & ~(write | resize) }
      : { needed: write, shared: consistentRead | write | writeUnchanged },
};

/** Puts a filter above a node. The caller owns a reference to it and ends it with `removeJobFilter`. */
export function* insertJobFilter(options: JobFilterOptions): Op<Node> {
  const { above, driver, nodeName, target } = options;
  const filter = new Node(
    above.environment,
    filterDriver(driver),
    { driver, ...(nodeName === undefined ? {} : { "node-name": nodeName }) },
    { ...above.flags },
  );
  filter.implicit = nodeName === undefined;
  const child = filter.attach(driver === "mirror_top" || driver === "commit_top" ? "backing" : "file", "filtered", above.ref());
  if (target !== undefined) filter.attach("target", "data", target.ref());
  const childPermissions = options.permissions ?? RULES[driver];
  const impl = options.serve?.(child) ?? new PassThrough(child);
  filter.impl = childPermissions === undefined ? impl : Object.assign(impl, { childPermissions });
  // The target may have the disk as its backing file: what is below the filter stays below it.
  yield* drained(above, () => replaceNode(above, filter, (edge) => isBelow(edge.parent, filter)));
  return filter;
}

function isBelow(node: Node, above: Node): boolean {
  return above.children.some((child) => child.node === node || isBelow(node, child.node));
}

/** Takes the filter out of the graph: those above it get what is below it. */
export function* removeJobFilter(filter: Node): Op<void> {
  const { below } = filter.impl as PassThrough;
  yield* drained(filter, () => replaceNode(filter, below));
  yield* filter.unref();
}

/** Nobody opens it: jobs make it. */
function filterDriver(name: JobFilterName): Driver {
  return {
    name,
    category: "filter",
    ...(name === "copy-on-read" ? {} : { exactFilename: (node) => exactFilename(node.children[0]!.node) }),
    // Those that stand for the job alone have the name of what they are above.
    ...(name === "mirror_top" || name === "commit_top" ? { exactFilename: (node: Node) => node.children[0]!.node.filename } : {}),
    open() {
      throw new Error(`Blockcore internal error: '${name}' nodes are made by jobs`);
    },
  };
}
