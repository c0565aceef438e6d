/**
 * What the users of a node do with it, and what they let others do: a format that writes its file must be the only one who does,
 * a backing file must not change below its overlay. Computed from the graph whenever something is put together.
 */
import { BlockError } from "../base/error.js";
import type { Child, Node } from "./node.js";

/** Bits, as QEMU counts them. */
export const Permission = { consistentRead: 1, write: 2, writeUnchanged: 4, resize: 8 } as const;
export const ALL_PERMISSIONS = 15;
const CHANGE: number = Permission.write | Permission.resize;
const NAMES: readonly (readonly [number, string])[] = [
  [Permission.consistentRead, "consistent read"],
  [Permission.write, "write"],
  [Permission.writeUnchanged, "write unchanged"],
  [Permission.resize, "resize"],
];

/** The bits of a set by the names of options, the last one first. */
export function permissionNames(bits: number): string[] {
  return Object.entries(PERMISSION_OPTIONS)
    .filter(([, bit]) => (bits & bit) !== 0)
    .map(([name]) => name)
    .reverse();
}

/** By the names that options use (`take-child-perms`). */
export const PERMISSION_OPTIONS: Readonly<Record<string, number>> = {
  "consistent-read": Permission.consistentRead,
  write: Permission.write,
  "write-unchanged": Permission.writeUnchanged,
  resize: Permission.resize,
};

export interface Permissions {
  needed: number;
  shared: number;
}

/** What somebody does with a node who sends no requests to it by way of it, and so is no `NodeUser`: a job. Stays at the node. */
export interface Claim {
  readonly permissions: Permissions;
  /** "stream job 'j'" */
  readonly description: string;
  /** What the node is to it: "intermediate node". */
  readonly name: string;
}

/** What all users of a node need together, and what all of them share. */
export function cumulativePermissions(node: Node): Permissions {
  const all: Permissions = { needed: 0, shared: ALL_PERMISSIONS };
  for (const { permissions } of uses(node)) {
    all.needed |= permissions.needed;
    all.shared &= permissions.shared;
  }
  return all;
}

/** What a node does with one of its children. */
export function edgePermissions(edge: Child): Permissions {
  const { parent, role } = edge;
  const above = cumulativePermissions(parent);
  const own = defaultPermissions(edge, above);
  // One that is being opened has nothing to say yet.
  const impl = parent.isOpen ? parent.impl : null;
  if (impl?.childPermissions === undefined || role === "backing") return own;
  return impl.childPermissions(own, above, edge);
}

function defaultPermissions({ parent, role }: Child, above: Permissions): Permissions {
  switch (role) {
    case "backing":
      return {
        needed: above.needed & Permission.consistentRead,
        shared: (above.shared & Permission.write ? CHANGE : 0) | Permission.consistentRead | Permission.writeUnchanged,
      };
    case "image":
    case "metadata":
      // Metadata changes even where the guest's data does not.
      return {
        needed: above.needed | Permission.consistentRead | (parent.flags.write ? CHANGE : 0),
        shared: (above.shared | Permission.writeUnchanged) & ~CHANGE,
      };
    default:
      return { needed: above.needed, shared: above.shared | Permission.writeUnchanged };
  }
}

interface Use {
  permissions: Permissions;
  /** The edge of a parent; null: someone outside the graph. */
  edge: Child | null;
  /** Goes along when another node takes the place of this one. */
  follows: boolean;
  /** "node 'a'", "stream job 'j'" */
  user: () => string;
  /** What the node is to it: 'file' child */
  name: string;
}

/** The newest first. */
function uses(node: Node): Use[] {
  const list: Use[] = [];
  for (const user of node.users) {
    if (user.permissions === undefined) continue;
    const describe = (): string => user.description ?? "an unnamed block device";
    list.push({ permissions: user.permissions, edge: null, follows: true, user: describe, name: "root" });
  }
  for (const edge of node.parents) {
    const describe = (): string => `node '${edge.parent.nodeName}'`;
    list.push({ permissions: edgePermissions(edge), edge, follows: true, user: describe, name: edge.name });
  }
  for (const { permissions, description, name } of node.claims)
    list.push({ permissions, edge: null, follows: false, user: () => description, name });
  return list.reverse();
}

/**
 * Checks a node and all that is below it.
 * @throws BlockError when one user needs what another one does not share
 */
export function checkPermissions(top: Node): void {
  const seen = new Set<Node>();
  const visit = (node: Node): void => {
    if (seen.has(node)) return;
    seen.add(node);
    checkNode(node);
    for (const child of node.children) visit(child.node);
  };
  visit(top);
}

export function checkNode(node: Node): void {
  checkUses(node, uses(node));
}

/**
 * Checks what the node would have to bear if it took the place of others.
 * @param keeps edges that stay where they are
 * @throws BlockError like `checkPermissions`
 */
export function checkReplacing(replaced: readonly Node[], by: Node, keeps: (edge: Child) => boolean): void {
  const moving = replaced.flatMap((node) => uses(node).filter(({ edge, follows }) => follows && (edge === null || !keeps(edge))));
  checkUses(by, [...moving, ...uses(by)]);
}

/** Whether somebody needs to read the node, beside one of its parents. */
export function isReadBeside(node: Node, parent: Node): boolean {
  return uses(node).some(
    ({ permissions, edge }) => edge?.parent !== parent && (permissions.needed & Permission.consistentRead) !== 0,
  );
}

function checkUses(node: Node, all: readonly Use[]): void {
  const describe = ({ user, name }: Use): string => `${user()} (uses node '${node.nodeName}' as '${name}' child)`;
  for (const a of all) {
    for (const b of all) {
      const missing = a === b ? 0 : b.permissions.needed & ~a.permissions.shared;
      if (missing === 0) continue;
      const names = NAMES.flatMap(([bit, name]) => (missing & bit ? [name] : [])).join(", ");
      throw new BlockError(
        "ERR_BUSY",
        `Permission conflict on node '${node.nodeName}': permissions '${names}' are both required by ${describe(b)} and unshared by ${describe(a)}.`,
        { errno: "EPERM", node: node.nodeName },
      );
    }
  }
}
