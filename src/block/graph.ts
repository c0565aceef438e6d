/** Changing the graph while it is in use: draining and replacing nodes. */
import type { Child, Node, NodeUser } from "./node.js";
import type { Op } from "./op.js";

/** Everyone from whom requests can reach the node, directly or through its parents. */
function usersAbove(node: Node): Set<NodeUser> {
  const users = new Set<NodeUser>();
  const seen = new Set<Node>();
  const visit = (at: Node): void => {
    if (seen.has(at)) return;
    seen.add(at);
    for (const user of at.users) users.add(user);
    for (const edge of at.parents) visit(edge.parent);
  };
  visit(node);
  return users;
}

/** Whatever holds back requests of these users somewhere below them. */
function limitersBelow(node: Node): Set<Limiter> {
  const limiters = new Set<Limiter>();
  const seen = new Set<Node>();
  const visit = (at: Node, up: boolean): void => {
    if (!seen.has(at)) {
      seen.add(at);
      if (at.isOpen && at.impl.limiter !== undefined) limiters.add(at.impl.limiter);
      for (const child of at.children) visit(child.node, false);
    }
    if (up) for (const edge of at.parents) visit(edge.parent, true);
  };
  visit(node, true);
  return limiters;
}
type Limiter = NonNullable<Node["impl"]["limiter"]>;

/** Lets requests go that are held back on their way to the node; the result ends that. */
export function suspendLimits(node: Node): () => void {
  const limiters = limitersBelow(node);
  for (const limiter of limiters) limiter.suspend();
  return () => {
    for (const limiter of limiters) limiter.restore();
  };
}

/** Runs `work` while no request from above is in flight on the node. */
export function* drained<T>(node: Node, work: () => Op<T>): Op<T> {
  const users = usersAbove(node);
  for (const user of users) user.quiesce();
  const restoreLimits = suspendLimits(node);
  try {
    for (const user of users) yield* user.idle();
    return yield* work();
  } finally {
    restoreLimits();
    for (const user of users) user.resume();
  }
}

/**
 * Puts `to` in the place of `from` for every parent and user, except edges of `to` itself (a filter put on top) and those
 * that `keep` holds back. References move along. The node is drained by the caller.
 */
export function* replaceNode(from: Node, to: Node, keep: (edge: Child) => boolean = () => false): Op<void> {
  let moved = 0;
  for (const edge of [...from.parents]) {
    if (edge.parent === to || keep(edge)) continue;
    edge.parent.redirect(edge, to);
    to.ref();
    moved++;
  }
  for (const user of [...from.users]) {
    user.nodeReplaced(to);
    to.ref();
    moved++;
  }
  for (; moved > 0; moved--) yield* from.unref();
}

/** Nodes from `top` down its backing chain (through filters), top first. */
export function backingChain(top: Node): Node[] {
  const chain: Node[] = [];
  for (let node: Node | null = top; node !== null; node = below(node)) chain.push(node);
  return chain;
}

/** The next layer: the backing node, or what a filter filters. */
export function below(node: Node): Node | null {
  for (const child of node.children) if (child.role === "backing" || child.role === "filtered") return child.node;
  return null;
}

/** The first node that is not a filter. */
export function skipFilters(node: Node): Node {
  let at = node;
  for (;;) {
    const filtered = at.children.find((child) => child.role === "filtered");
    if (filtered === undefined) return at;
    at = filtered.node;
  }
}

/** The first node that the user knows of: filters that jobs made without a name are passed over. */
export function skipImplicit(node: Node): Node {
  let at = node;
  for (let next = below(at); at.implicit && next !== null; next = below(at)) at = next;
  return at;
}
