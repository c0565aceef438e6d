/** The nodes of a graph by name, in the order in which they came: who may be found, listed and given a name. */
import { BlockError } from "../base/error.js";
import type { Node } from "../block/node.js";
import { isWellFormedId } from "../qapi/options.js";

export class NodeList {
  /** Nodes that the user added by themselves (blockdev-add): each holds one reference. */
  readonly owned: Set<Node> = new Set();
  /** Nodes that a command under way has made and nobody else holds yet. */
  readonly held: Set<Node> = new Set();
  #order: Node[] = [];
  readonly #anchors: () => Iterable<Node>;

  /** @param anchors nodes held by others: devices, exports, jobs */
  constructor(anchors: () => Iterable<Node>) {
    this.#anchors = anchors;
  }

  /** Every node there is, the oldest first. */
  all(): Node[] {
    const reachable = new Set<Node>();
    const visit = (node: Node): void => {
      if (reachable.has(node)) return;
      // Files come to be before what is in them, backing files after.
      for (const child of node.children) if (child.role !== "backing") visit(child.node);
      reachable.add(node);
      for (const child of node.children) if (child.role === "backing") visit(child.node);
    };
    for (const node of this.owned) visit(node);
    for (const node of this.#anchors()) visit(node);
    for (const node of this.held) visit(node);
    const known = new Set(this.#order);
    this.#order = [...this.#order.filter((node) => reachable.has(node)), ...[...reachable].filter((node) => !known.has(node))];
    return this.#order;
  }

  find(name: string): Node | null {
    return this.all().find((node) => node.nodeName === name) ?? null;
  }

  /** Refuses names that new nodes may not have. `options`: BlockdevOptions with children inside. */
  checkNames(options: object, isDevice: (name: string) => boolean): void {
    const seen = new Set<string>();
    const visit = (value: unknown): void => {
      if (typeof value !== "object" || value === null) return;
      const name = (value as { "node-name"?: unknown })["node-name"];
      if (typeof name === "string") {
        if (!isWellFormedId(name)) throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid node-name: '${name}'`);
        if (isDevice(name)) throw new BlockError("ERR_EXISTS", `node-name=${name} is conflicting with a device id`);
        if (name.length > 31) throw new BlockError("ERR_INVALID_ARGUMENT", "Node name too long");
        if (seen.has(name) || this.find(name) !== null)
          throw new BlockError("ERR_EXISTS", `Duplicate nodes with node-name='${name}'`);
        seen.add(name);
      }
      for (const child of Object.values(value)) visit(child);
    };
    visit(options);
  }
}
